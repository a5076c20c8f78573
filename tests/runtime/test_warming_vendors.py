"""Every vendor's way to a hot prefix, through all wrappers, against its own rules."""

from __future__ import annotations

import asyncio
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from ifmem.clock import new_id, now
from ifmem.domain.ledger import CallState, LedgerRow
from ifmem.domain.model import Completion, ModelCall, Purpose
from ifmem.domain.prompt import Prompt
from ifmem.engine.hotness import CACHE_NOT_TOLD, Heat, Hotness
from ifmem.llm.registry import Models
from ifmem.model_settings import BudgetSettings, PriceEntry, ProviderEntry
from ifmem.runtime.accounts import LedgerAccounts
from ifmem.runtime.warming import Warmth
from ifmem.settings import Settings
from ifmem.store import ledger
from ifmem.store.database import Database

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)
    from ifmem.testing.anthropic_server import AnthropicServer
    from ifmem.testing.deepseek_server import DeepSeekServer
    from ifmem.testing.gemini_server import GeminiServer
    from ifmem.testing.openai_server import OpenAIServer
    from ifmem.testing.plain_openai_server import PlainOpenAIServer

pytest.importorskip("anthropic", reason="the extra `anthropic` is not installed")
pytest.importorskip("openai", reason="the extra `openai` is not installed")
pytest.importorskip("google.genai", reason="the extra `gemini` is not installed")

DOCUMENTS = "the retry budget of the courier is three attempts a minute\n" * 500
SERVERS: dict[str, tuple[str, Callable[[], AbstractContextManager[Any]]]] = {
    "anthropic": ("anthropic:claude-haiku-5-5", AnthropicServer),
    "openai": ("openai:gpt-6-luna", OpenAIServer),
    "deepseek": ("deepseek:deepseek-flash", DeepSeekServer),
    "gemini": ("gemini:gemini-3.8-flash", GeminiServer),
}


@dataclass
class Shard:
    """A shard's documents at one vendor."""

    model: str
    models: Models
    accounts: LedgerAccounts
    warmth: Warmth
    database: Database
    server: Any

    async def ask(self, question: str) -> Completion:
        model = await self.models.model(self.model, self.accounts)
        return await self.warmth.complete(model, call(question))

    async def warm(self) -> Completion:
        model = await self.models.model(self.model, self.accounts)
        warming = call("", purpose=Purpose.WARM, question_id=None, max_output=0)
        return await self.warmth.warm(model, warming)

    @property
    def known(self) -> Hotness:
        (known,) = self.warmth.kept()
        return known

    def rows(self) -> list[LedgerRow]:
        return [row for _, row in self.database.read(lambda c: list(ledger.calls(c)))]


def call(question: str, **changes: Any) -> ModelCall:
    named = {
        "purpose": Purpose.ANSWER,
        "question_id": new_id(),
        "max_output": 50,
        **changes,
    }
    prompt = Prompt(
        name="p", version=1, rules="Answer from these.", documents=DOCUMENTS, question=question
    )
    return ModelCall(call_id=new_id(), prompt=prompt, shard=2, generation=1, **named)


@pytest.fixture
def at(tmp_path: Path) -> Iterator[Callable[[str], Shard]]:
    """A shard at a vendor's server."""
    opened: list[tuple[Database, AbstractContextManager[Any]]] = []

    def make(
        vendor: str,
        model: str = "",
        serve: Callable[[], AbstractContextManager[Any]] | None = None,
    ) -> Shard:
        known_model, known_serve = SERVERS.get(vendor, (model, AnthropicServer))
        server = (serve or known_serve)()
        running = server.__enter__()
        database = Database(tmp_path / "store.sqlite")
        opened.append((database, server))
        base = running.url
        name = model or known_model
        settings = Settings(
            providers=(
                ProviderEntry(
                    name=vendor, protocol="openai" if vendor == "own" else None, base_url=base
                ),
            ),
            prices=(
                PriceEntry(
                    model=name,
                    input="0.75",
                    output="3",
                    cache_read="0.075",
                    storage_hour="0.50" if vendor == "gemini" else "0",
                    as_of="2026-11-01",
                ),
            ),
        )
        keys = {f"{one.upper()}_API_KEY": _key(running) for one in SERVERS}
        models = Models(settings, keys, directory=tmp_path)
        accounts = LedgerAccounts(database, BudgetSettings())
        warmth = Warmth(database, accounts, models.price, name="notes")
        return Shard(name, models, accounts, warmth, database, running)

    yield make
    for database, server in opened:
        database.close()
        server.__exit__(None, None, None)


def _key(server: Any) -> str:
    return str(getattr(server, "key", "fake-" + "key"))


def run(shard: Shard, step: Callable[[], Any]) -> None:
    async def main() -> None:
        try:
            await step()
        finally:
            await shard.models.aclose()

    asyncio.run(main())


@pytest.mark.parametrize("vendor", SERVERS)
def test_after_warming_the_first_question_reads_the_prefix(
    at: Callable[[str], Shard], vendor: str
) -> None:
    shard = at(vendor)

    async def main() -> None:
        await shard.warm()
        completion = await shard.ask("how many?")
        assert completion.usage.cache_read >= 0.9 * shard.known.prefix_tokens > 5_000
        assert shard.known.state(now()) is Heat.HOT

    run(shard, main)
    calls = [row for row in shard.rows() if row.purpose is not Purpose.STORAGE]
    assert {row.state for row in calls} == {CallState.SETTLED}
    assert all(row.cost <= row.bound for row in calls)


@pytest.mark.parametrize("vendor", ["anthropic", "openai", "deepseek"])
def test_questions_that_come_together_do_not_each_pay_for_the_whole(
    at: Callable[[str], Shard], vendor: str
) -> None:
    shard = at(vendor)
    paid: list[bool] = []

    async def ask(number: int) -> None:
        completion = await shard.ask(f"{number} is the number, how many?")
        paid.append(completion.usage.cache_read < 5_000)

    async def main() -> None:
        async with asyncio.TaskGroup() as group:
            for number in range(6):
                group.create_task(ask(number))

    run(shard, main)
    assert sum(paid) == (2 if vendor == "deepseek" else 1)


def test_a_cache_object_is_made_once_questions_come_often(at: Callable[[str], Shard]) -> None:
    shard = at("gemini")

    async def main() -> None:
        for number in range(4):
            await shard.ask(f"{number} is the number, how many?")
            # What is found again without an object is found by chance.
            shard.server.cache.evict()

    run(shard, main)
    assert shard.known.is_object
    purposes = [row.purpose for row in shard.rows()]
    assert purposes == [
        *(Purpose.ANSWER, Purpose.ANSWER),
        *(Purpose.STORAGE, Purpose.WARM),
        *(Purpose.ANSWER, Purpose.ANSWER),
    ]
    answers = [row for row in shard.rows() if row.purpose is Purpose.ANSWER]
    assert [row.usage.cache_read > 5_000 for row in answers] == [False, False, True, True]


def test_no_object_is_made_where_the_provider_finds_the_prefix_again_by_itself(
    at: Callable[[str], Shard],
) -> None:
    shard = at("gemini")

    async def main() -> None:
        for number in range(4):
            await shard.ask(f"{number} is the number, how many?")

    run(shard, main)
    assert [row.purpose for row in shard.rows()] == [Purpose.ANSWER] * 4
    assert shard.known.state(now()) is Heat.HOT


def test_a_server_that_says_nothing_of_its_cache_is_asked_by_all_after_the_first(
    at: Callable[..., Shard],
) -> None:
    shard = at("own", "own:smol", partial(PlainOpenAIServer, reports_cache=False))

    async def main() -> None:
        for number in range(2):
            await shard.ask(f"{number} is the number, how many?")
        assert shard.known.state(now()) is Heat.UNKNOWN
        assert shard.known.why_cold(now()) == CACHE_NOT_TOLD

    run(shard, main)
