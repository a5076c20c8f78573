"""While nobody asks: pings that cost one rewrite at most, objects that end, nothing by itself."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from ifmem.clock import new_id
from ifmem.domain.ledger import CallState, LedgerRow
from ifmem.domain.model import (
    CacheRules,
    Caching,
    Completion,
    ModelCall,
    ModelCard,
    ModelRef,
    Purpose,
    Warming,
)
from ifmem.domain.price import Price, Rates, pico
from ifmem.domain.prompt import Prompt
from ifmem.engine.hotness import Heat, Hotness
from ifmem.errors import Unavailable
from ifmem.llm.anthropic_model import AnthropicModel
from ifmem.llm.metered import Metered
from ifmem.llm.port import LanguageModel
from ifmem.llm.registry import Models
from ifmem.model_settings import BudgetSettings
from ifmem.runtime.accounts import LedgerAccounts
from ifmem.runtime.keeping_hot import Keeper, Wanted, keep_hot
from ifmem.runtime.warming import KeepHot, Warmth
from ifmem.settings import Settings
from ifmem.store import ledger
from ifmem.store.database import Database
from ifmem.testing.anthropic_server import AnthropicServer
from ifmem.testing.scripted_model import BREAKPOINTS, ScriptedModel, card_with

NINE = datetime(2026, 1, 2, 9, tzinfo=UTC)
MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)
SHORT = 5 * MINUTE
DOCUMENTS = "the retry budget is three attempts a minute\n" * 400
OBJECT = CacheRules(
    caching=Caching.OBJECT,
    warming=Warming.CREATE,
    least_tokens=16,
    lifetimes=(SHORT, HOUR),
    read_extends=False,
)
PRICE = Price(
    rates=Rates(
        uncached=1_000_000,
        cache_write_5m=1_250_000,
        cache_write_1h=2_000_000,
        cache_write_other=1_000_000,
        cache_read=100_000,
        output=500_000,
        reasoning=500_000,
    ),
    storage=500_000,
    source="settings",
    as_of="2026-01-01",
)


@dataclass
class Moment:
    """The present, which a test sets."""

    at: datetime = NINE

    def now(self) -> datetime:
        return self.at


@dataclass
class Kept:
    """A space's account, warmth and keeper at a moment that a test sets."""

    path: Path
    database: Database
    moment: Moment = field(default_factory=Moment)
    budget: BudgetSettings = field(default_factory=BudgetSettings)
    documents: str = DOCUMENTS
    """Of shard 2, as they are now."""
    keep: KeepHot = "auto"
    rules: CacheRules = BREAKPOINTS
    prompted: int = 0
    """How often the keeper had a prompt made."""
    provider: ScriptedModel | None = None
    """Where an earlier process has asked before."""

    def __post_init__(self) -> None:
        now = self.moment.now
        self.accounts = LedgerAccounts(self.database, self.budget, now=now)
        self.warmth = Warmth(
            self.database,
            self.accounts,
            lambda name, at: PRICE,
            name="notes",
            keep_hot=self.keep,
            now=now,
        )
        self.scripted = self.provider or ScriptedModel(card_with(self.rules), now=now)
        self.model: LanguageModel = self.metered(self.scripted)
        self.keeper = Keeper(
            self.warmth,
            card=lambda name: self.model.card,
            model=self._model,
            prompt=self._prompt,
            pings=self.keep != "off",
        )

    async def _model(self, name: str) -> LanguageModel:
        return self.model

    async def _prompt(self, shard: int, card: ModelCard) -> Prompt | None:
        self.prompted += 1
        return prompt(self.documents)

    @property
    def at(self) -> datetime:
        return self.moment.at

    @at.setter
    def at(self, moment: datetime) -> None:
        self.moment.at = moment

    def metered(self, model: LanguageModel) -> LanguageModel:
        return Metered(model, self.accounts, lambda at: PRICE, now=self.moment.now)

    async def ask(self) -> None:
        await self.warmth.complete(self.model, call(self.documents))

    async def pass_time(self, duration: timedelta) -> None:
        """What the keeper does in this time, each thing at its moment."""
        end = self.at + duration
        for _ in range(1_000):
            moment = await self.keeper.look()
            if self.warmth.changed.is_set():
                self.warmth.changed.clear()
                moment = self.at if moment is None else moment
            if moment is None or moment >= end:
                break
            assert moment >= self.at
            self.at = moment
        else:
            pytest.fail("the keeper does not come to rest")
        self.at = end

    @property
    def known(self) -> Hotness:
        (known,) = self.warmth.kept()
        return known

    def rows(self, purpose: Purpose) -> list[LedgerRow]:
        rows = self.database.read(lambda connection: list(ledger.calls(connection)))
        return [row for _, row in rows if row.purpose is purpose]

    def cost(self, purpose: Purpose) -> int:
        return sum(row.cost for row in self.rows(purpose))

    def restarted(self, **changes: Any) -> Kept:
        self.database.close()
        self.database = Database(self.path)
        named = {"budget": self.budget, "rules": self.rules, "provider": self.scripted}
        if "rules" in changes:
            del named["provider"]
        return Kept(self.path, self.database, moment=self.moment, **{**named, **changes})


@pytest.fixture
def kept(tmp_path: Path) -> Iterator[Kept]:
    path = tmp_path / "store.sqlite"
    made = Kept(path, Database(path))
    yield made
    made.database.close()


def prompt(documents: str) -> Prompt:
    return Prompt(name="p", version=1, rules="rules", documents=documents, question="how many?")


def call(documents: str, **changes: Any) -> ModelCall:
    made = ModelCall(
        call_id=new_id(),
        prompt=prompt(documents),
        purpose=Purpose.ANSWER,
        max_output=20,
        question_id=new_id(),
        shard=2,
        generation=1,
    )
    return replace(made, **changes)


def test_an_hour_of_silence_costs_one_rewrite_at_most_and_then_it_goes_cold(kept: Kept) -> None:
    async def main() -> None:
        await kept.ask()
        await kept.pass_time(HOUR + 10 * MINUTE)

    asyncio.run(main())
    rewrite = kept.known.prefix_tokens * PRICE.rates.cache_write_5m
    pings = kept.rows(Purpose.KEEP_ALIVE)
    assert rewrite * 0.9 < kept.cost(Purpose.KEEP_ALIVE) <= rewrite
    assert len(pings) == 12
    assert all(row.usage.cache_read and not row.usage.cache_write for row in pings)
    assert all(row.background for row in pings)
    assert kept.known.state(kept.at) is Heat.COLD


def test_a_question_within_that_time_is_read_and_starts_the_count_anew(kept: Kept) -> None:
    async def main() -> None:
        await kept.ask()
        for _ in range(4):
            await kept.pass_time(40 * MINUTE)
            assert kept.known.state(kept.at) is Heat.HOT
            await kept.ask()
            assert kept.known.pings == 0

    asyncio.run(main())
    written = [row for row in kept.rows(Purpose.ANSWER) if row.usage.cache_write]
    assert len(written) == 1


def test_after_a_restart_it_is_hot_until_its_end_and_kept_alive_from_there(kept: Kept) -> None:
    async def main() -> None:
        await kept.ask()
        await kept.pass_time(9 * MINUTE)
        again = kept.restarted()
        assert again.warmth.changed.is_set()
        assert again.known == kept.known
        assert again.known.state(again.at) is Heat.HOT
        await again.pass_time(2 * HOUR)
        assert again.cost(Purpose.KEEP_ALIVE) <= (
            again.known.prefix_tokens * PRICE.rates.cache_write_5m
        )
        assert len(again.rows(Purpose.KEEP_ALIVE)) == 12

    asyncio.run(main())


def test_nothing_is_pinged_where_that_is_left_to_the_provider(kept: Kept) -> None:
    async def main() -> None:
        left = kept.restarted(keep="off")
        await left.ask()
        await left.pass_time(2 * HOUR)
        assert left.rows(Purpose.KEEP_ALIVE) == []

    asyncio.run(main())


def test_a_shard_that_changed_is_not_pinged(kept: Kept) -> None:
    async def main() -> None:
        await kept.ask()
        kept.documents += "and a fourth on Sundays\n"
        await kept.pass_time(2 * HOUR)

    asyncio.run(main())
    assert kept.rows(Purpose.KEEP_ALIVE) == []


def test_when_the_days_limit_for_it_is_spent_it_stops_until_tomorrow(kept: Kept) -> None:
    async def main() -> None:
        # A ping costs about $0.00044, and may cost $0.0066: no cache is sure to be read.
        poor = kept.restarted(budget=BudgetSettings(background_per_day="0.008"))
        await poor.ask()
        await poor.pass_time(3 * HOUR)
        spent = poor.cost(Purpose.KEEP_ALIVE)
        assert 0 < spent <= pico("0.008")
        before = len(poor.rows(Purpose.KEEP_ALIVE))
        assert before < 12
        tried = poor.prompted
        await poor.ask()
        await poor.pass_time(HOUR)
        assert len(poor.rows(Purpose.KEEP_ALIVE)) == before
        assert poor.prompted == tried
        poor.at = NINE + timedelta(days=1)
        await poor.ask()
        await poor.pass_time(20 * MINUTE)
        assert len(poor.rows(Purpose.KEEP_ALIVE)) > before

    asyncio.run(main())


def test_a_provider_that_is_away_is_not_asked_again_and_again(kept: Kept) -> None:
    async def main() -> None:
        await kept.ask()
        kept.scripted.script = [Unavailable("503")] * 99
        kept.at += 4.6 * MINUTE
        for _ in range(5):
            # Whatever else is reported makes it look.
            await kept.keeper.look()
        assert len(kept.scripted.calls) == 2
        await kept.pass_time(2 * HOUR)
        assert len(kept.scripted.calls) == 2

    asyncio.run(main())


def test_a_ping_that_finds_it_gone_is_the_last(kept: Kept) -> None:
    async def main() -> None:
        await kept.ask()
        await kept.pass_time(6 * MINUTE)
        kept.scripted.cache.evict()
        await kept.pass_time(2 * HOUR)
        written = [row for row in kept.rows(Purpose.KEEP_ALIVE) if row.usage.cache_write]
        assert len(written) == 1
        assert kept.rows(Purpose.KEEP_ALIVE)[-1] == written[0]

    asyncio.run(main())


def test_an_object_without_questions_is_given_up_when_holding_has_cost_making_it(
    kept: Kept,
) -> None:
    async def main() -> None:
        held = kept.restarted(rules=OBJECT)
        await held.warmth.warm(held.model, call(DOCUMENTS, purpose=Purpose.WARM))
        await held.pass_time(9 * HOUR)
        # 1,000,000 a token to make, 500,000 a token and hour to hold.
        assert held.scripted.dropped == ["caches/1"]
        assert held.known.state(held.at) is Heat.COLD
        assert held.known.why_cold(held.at) == "no questions came"
        rows = held.rows(Purpose.STORAGE)
        assert {row.state for row in rows} == {CallState.SETTLED}
        tokens = held.known.prefix_tokens
        assert sum(row.storage_token_hours for row in rows) == pytest.approx(2 * tokens, abs=3)
        assert held.cost(Purpose.STORAGE) == PRICE.storage * sum(
            row.storage_token_hours for row in rows
        )

    asyncio.run(main())


def test_an_object_that_ended_while_nothing_ran_is_accounted_for_and_not_deleted(
    kept: Kept,
) -> None:
    async def main() -> None:
        held = kept.restarted(rules=OBJECT)
        await held.warmth.warm(held.model, call(DOCUMENTS, purpose=Purpose.WARM))
        held.at += 5 * HOUR
        again = held.restarted()
        await again.accounts.lose_all_intents()
        assert again.warmth.changed.is_set()
        await again.pass_time(MINUTE)
        (row,) = again.rows(Purpose.STORAGE)
        assert (row.state, row.storage_token_hours) == (
            CallState.SETTLED,
            again.known.prefix_tokens,
        )
        assert again.scripted.dropped == []
        assert again.known.why_cold(again.at) == "its hour ended"

    asyncio.run(main())


def test_the_object_of_a_shard_that_changed_is_deleted_and_accounted_for(kept: Kept) -> None:
    async def main() -> None:
        held = kept.restarted(rules=OBJECT)
        await held.warmth.warm(held.model, call(DOCUMENTS, purpose=Purpose.WARM))
        held.at += 6 * MINUTE
        held.documents += "and a fourth on Sundays\n"
        await held.ask()
        await held.keeper.look()
        assert held.scripted.dropped == ["caches/1"]
        (row,) = held.rows(Purpose.STORAGE)
        assert row.state is CallState.SETTLED
        assert 0 < row.storage_token_hours < row.prefix_tokens

    asyncio.run(main())


def test_warming_ahead_warms_what_is_not_hot_once(kept: Kept) -> None:
    async def main() -> None:
        wanted = [Wanted(2, 1, "scripted:model")]
        await kept.keeper.warm(wanted)
        await kept.keeper.warm(wanted)
        (row,) = kept.rows(Purpose.WARM)
        assert (row.question_id, row.shard, row.background) == (None, 2, True)
        kept.documents = "packed anew\n" * 400
        await kept.keeper.warm([Wanted(2, 2, "scripted:model")])
        assert len(kept.rows(Purpose.REPACK)) == 1
        await kept.ask()
        assert kept.known.read_tokens > 0

    asyncio.run(main())


def test_documents_that_come_wake_the_keeper_only_where_shards_are_warmed_ahead(
    kept: Kept,
) -> None:
    for keep, woken in (("auto", False), ("off", False), ("ahead", True)):
        one = kept.restarted(keep=keep)
        one.warmth.stir()
        assert one.warmth.changed.is_set() is woken


class Watched(Warmth):
    """Says how often the keeper looked."""

    looks = 0

    def kept(self) -> list[Hotness]:
        self.looks += 1
        return super().kept()


class Untouched:
    """A space of which a keeper without work may look at nothing else."""

    name = "notes"
    settings = Settings()

    def __init__(self, warmth: Warmth) -> None:
        self.warmth = warmth
        self.models = Models(self.settings, {}, directory=Path())


def test_where_no_model_was_used_the_keeper_does_not_run(kept: Kept) -> None:
    async def main() -> None:
        warmth = Watched(kept.database, kept.accounts, lambda name, at: PRICE, name="notes")
        warmth.looks = 0
        running = asyncio.ensure_future(keep_hot(Untouched(warmth)))  # type: ignore[arg-type]
        warmth.stir()
        for _ in range(50):
            await asyncio.sleep(0)
        assert warmth.looks == 0
        warmth.changed.set()
        async with asyncio.timeout(10):
            while not warmth.looks:  # noqa: ASYNC110 - what is waited for sets no event
                await asyncio.sleep(0)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running

    asyncio.run(main())


class Unpromised:
    """The vendor's adapter without its own clock: the lifetime is counted by the test's."""

    def __init__(self, model: LanguageModel) -> None:
        self._model = model

    @property
    def card(self) -> ModelCard:
        return self._model.card

    async def complete(self, call: ModelCall) -> Completion:
        return replace(await self._model.complete(call), cached_until=None)

    async def warm(self, call: ModelCall) -> Completion:
        return replace(await self._model.warm(call), cached_until=None)

    async def count(self, text: str) -> int:
        return await self._model.count(text)

    async def drop(self, handle: str) -> None:
        await self._model.drop(handle)

    async def aclose(self) -> None:
        await self._model.aclose()


def test_against_the_vendors_own_rules_silence_costs_one_rewrite_at_most(kept: Kept) -> None:
    pytest.importorskip("anthropic", reason="needs the extra anthropic")
    card = ModelCard(
        ref=ModelRef("anthropic", "claude-haiku-5-5"),
        window=100_000,
        max_output=1_000,
        cache=replace(BREAKPOINTS, least_tokens=512),
        tokens_per_o200k=1.0,
        structured=False,
    )

    async def main(server: AnthropicServer) -> None:
        vendor = AnthropicModel(card, api_key=server.key, base_url=server.url)
        kept.model = kept.metered(Unpromised(vendor))
        await kept.ask()
        await kept.pass_time(3 * HOUR)
        await kept.ask()
        await vendor.aclose()

    with AnthropicServer(clock=kept.moment.now) as server:
        asyncio.run(main(server))
    rewrite = kept.known.prefix_tokens * PRICE.rates.cache_write_5m
    assert rewrite * 0.9 < kept.cost(Purpose.KEEP_ALIVE) <= rewrite
    assert len(kept.rows(Purpose.KEEP_ALIVE)) == 12
    assert all(not row.usage.cache_write for row in kept.rows(Purpose.KEEP_ALIVE))
    written = [bool(row.usage.cache_write) for row in kept.rows(Purpose.ANSWER)]
    assert written == [True, True]
    assert kept.known.why_missed == "lapsed 2 h ago"
