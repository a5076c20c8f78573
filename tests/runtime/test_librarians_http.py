"""Librarians against a server on the loopback: refusals, failures, the limit of a minute."""

from __future__ import annotations

import asyncio
import json
import re
import warnings
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

with warnings.catch_warnings():
    # The tokeniser opens its vocabulary in a way that Python 3.11 and 3.12 deprecate.
    warnings.simplefilter("ignore", DeprecationWarning)
    from ifmem.testing.chat_protocol import Chat, Script
    from ifmem.testing.exchanges import Answer as Fault
    from ifmem.testing.exchanges import HangUp
    from ifmem.testing.plain_openai_server import PlainOpenAIServer

from ifmem import clock
from ifmem.archive_settings import ArchiveSettings, LibrarianEntry, QuotaEntry
from ifmem.errors import QuotaExhausted
from ifmem.llm.registry import Models
from ifmem.model_settings import ModelSettings, PriceEntry, ProviderEntry
from ifmem.runtime.indexing import reconcile
from ifmem.runtime.librarian_asking import ask_archive
from ifmem.runtime.librarians import catch_up, settled
from ifmem.runtime.quotas import Quotas
from ifmem.wire.calls import AskCall

pytest.importorskip("openai", reason="the extra `openai` is not installed")

Open = Callable[..., AbstractAsyncContextManager[Any]]

CLAIM = "The retry budget of the Courier is 3 attempts."
QUESTION = "What is the retry budget of the Courier?"


def says(chat: Chat) -> Script:
    """A model that quotes the claim wherever it reads it."""
    prompt = "\n".join(part.text for part in chat.parts)
    shown = re.search(r"<document (\d+) [^\n]*>\n" + re.escape(CLAIM), prompt)
    quotes = [{"document": int(shown[1]), "quote": CLAIM, "claim": CLAIM}] if shown else []
    told = {"found": bool(quotes), "quotes": quotes, "answer": CLAIM, "confidence": 1}
    return Script(text=json.dumps({**told, "missing": ""}))


@pytest.fixture
def own() -> Iterator[PlainOpenAIServer]:
    with PlainOpenAIServer(models={"honest": 60_000}) as server:
        server.script = says
        yield server


class Clock:
    def __init__(self) -> None:
        self.at = datetime(2026, 11, 20, 12, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.at


@asynccontextmanager
async def library(
    desk: Open, own: PlainOpenAIServer, *, count: int = 2, per_minute: int = 15
) -> AsyncIterator[tuple[Any, Clock]]:
    """The first librarian asks the server, the others are extractive; the clock stands."""
    settings = {
        "librarians": (LibrarianEntry(1, "own:honest"),),
        "providers": (
            ProviderEntry(
                name="own",
                protocol="openai",
                vendor="vllm",
                base_url=f"{own.url}/v1",
                key_env="SOME_OWN_KEY",
                structured=True,
                window=60_000,
            ),
        ),
        "prices": (PriceEntry("own:honest", "1.00", "5.00", "2026-11-01"),),
        "quotas": (QuotaEntry("pool", "own", daily=100, per_minute=per_minute),),
        "archive": ArchiveSettings(librarians=count),
    }
    async with desk(ModelSettings(default="extractive", keep_hot="off"), **settings) as here:
        space, time = here.space, Clock()
        space.models = connected(here, own)
        space.quotas = Quotas(space.directory / "quotas.db", here.service.settings, now=time)
        space.desk.now = time
        finding = {"finding_id": clock.new_id(), "claim": CLAIM, "session_id": "earlier"}
        await here.call("remember", finding=finding)
        await space.write(lambda c: c.execute("UPDATE finding SET archived = 1").rowcount)
        reconcile(space, space.archive, archived=True)
        try:
            yield here, time
        finally:
            await space.models.aclose()
            await space.quotas.aclose()


def connected(here: Any, own: PlainOpenAIServer) -> Models:
    environment = {"SOME_OWN_KEY": own.key or "none"}
    return Models(here.service.settings, environment, directory=here.space.directory)


async def left(here: Any) -> int:
    calls: int = (await here.space.quotas.remaining(here.space.name))[0].calls
    return calls


def test_a_served_call_is_charged_and_its_quote_is_cited(
    desk: Open, own: PlainOpenAIServer
) -> None:
    async def run() -> None:
        async with library(desk, own) as (here, _):
            answer = await ask_archive(here.space, AskCall(QUESTION), None)
            assert (answer.librarian, answer.model) == (1, "own:honest")
            assert [one.quote for one in answer.citations] == [CLAIM]
            assert answer.cost > 0
            assert await left(here) == 99

    asyncio.run(run())


def test_after_a_429_the_librarian_is_skipped_until_the_provider_said_and_then_asked_again(
    desk: Open, own: PlainOpenAIServer
) -> None:
    async def run() -> None:
        async with library(desk, own) as (here, time):
            own.fail_next(Fault(429, {"error": {"message": "slow"}}, {"retry-after": "40"}))
            first = await ask_archive(here.space, AskCall(QUESTION), None)
            assert (first.librarian, first.model) == (2, "extractive")
            assert await left(here) == 100
            assert len(own.requests) == 1
            time.at += timedelta(seconds=39)
            second = await ask_archive(here.space, AskCall(QUESTION), None)
            assert (second.librarian, len(own.requests)) == (2, 1)
            assert second.passed_over[0].resets_at == "2026-11-20T12:00:40.000Z"
            time.at += timedelta(seconds=2)
            # Turns at a provider are taken by the real clock, and it asked for 40 seconds of it.
            await here.space.models.aclose()
            here.space.models = connected(here, own)
            third = await ask_archive(here.space, AskCall(QUESTION), None)
            assert (third.librarian, len(own.requests)) == (1, 2)
            assert await left(here) == 99

    asyncio.run(run())


@pytest.mark.parametrize(
    ("fault", "charged"),
    [(Fault(503, {"error": {"message": "overloaded"}}), 0), (HangUp(), 1)],
)
def test_a_failure_before_service_is_not_charged_and_a_lost_answer_is(
    desk: Open, own: PlainOpenAIServer, fault: Any, charged: int
) -> None:
    async def run() -> None:
        async with library(desk, own) as (here, _):
            own.fail_next(fault)
            answer = await ask_archive(here.space, AskCall(QUESTION), None)
            assert (answer.found, answer.librarian) == (True, 2)
            assert len(own.requests) == 1
            assert await left(here) == 100 - charged

    asyncio.run(run())


def test_no_more_calls_than_allowed_are_made_in_a_minute(
    desk: Open, own: PlainOpenAIServer
) -> None:
    async def run() -> None:
        async with library(desk, own, count=1, per_minute=3) as (here, time):
            for _ in range(3):
                await ask_archive(here.space, AskCall(QUESTION), None)
            with pytest.raises(QuotaExhausted) as told:
                await ask_archive(here.space, AskCall(QUESTION), None)
            assert told.value.facts["resets_at"] == "2026-11-20T12:01:00.000Z"
            assert len(own.requests) == 3
            time.at += timedelta(seconds=60)
            await catch_up(here.space)
            await ask_archive(here.space, AskCall(QUESTION), None)
            await settled(here.space)
            kept = await here.call("archive_answer", query_id=told.value.facts["query_id"])
            assert (kept.librarian, len(own.requests)) == (1, 5)

    asyncio.run(run())
