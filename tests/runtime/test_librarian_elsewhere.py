"""A librarian's model called by another process: lent once, verified and charged here."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import pytest

from ifmem import clock
from ifmem.archive_settings import ArchiveSettings, LibrarianEntry, QuotaEntry
from ifmem.errors import Invalid, RateLimited, Refused, to_wire
from ifmem.model_settings import ModelSettings, ProviderEntry
from ifmem.runtime.indexing import reconcile
from ifmem.runtime.librarian_asking import ask_archive
from ifmem.wire.calls import AskCall
from ifmem.wire.librarian_calls import LibrarianTask

Open = Callable[..., AbstractAsyncContextManager[Any]]

CLAIM = "The retry budget of the Courier is 3 attempts."
QUESTION = "What is the retry budget of the Courier?"
WAIT_S = 20.0


@asynccontextmanager
async def library(desk: Open, **archive: Any) -> AsyncIterator[Any]:
    """The first librarian's key is not here; the second is extractive."""
    settings = {
        "librarians": (LibrarianEntry(1, "rule:a"),),
        "providers": (
            ProviderEntry(name="rule", protocol="openai", base_url="http://127.0.0.1:9"),
        ),
        "quotas": (QuotaEntry("pool", "rule", daily=10),),
        "archive": ArchiveSettings(librarians=2, **archive),
    }
    async with desk(ModelSettings(default="extractive", keep_hot="off"), **settings) as here:
        finding = {"finding_id": clock.new_id(), "claim": CLAIM, "session_id": "earlier"}
        await here.call("remember", finding=finding)
        await here.space.write(lambda c: c.execute("UPDATE finding SET archived = 1").rowcount)
        reconcile(here.space, here.space.archive, archived=True)
        yield here


async def left(here: Any) -> int:
    calls: int = (await here.space.quotas.remaining(here.space.name))[0].calls
    return calls


async def claimed(here: Any, worker: str = "w-1") -> LibrarianTask:
    answer = await here.call("librarian_claim", worker=worker, librarians=[1], wait_seconds=WAIT_S)
    assert answer.task is not None
    task: LibrarianTask = answer.task
    return task


async def waiting(here: Any) -> None:
    """Until somebody waits for a call."""
    elsewhere = here.space.desk.elsewhere
    async with asyncio.timeout(WAIT_S):
        while not elsewhere.hands:
            await elsewhere.came.wait()


def said(quote: str = CLAIM) -> dict[str, Any]:
    told = {"document": 1, "quote": quote, "claim": quote}
    text = {"found": True, "quotes": [told], "answer": quote, "confidence": 1, "missing": ""}
    usage = {"uncached": 100, "output": 20}
    return {
        "text": json.dumps(text),
        "stop": "end",
        "model": "rule",
        "usage": usage,
        "total_ms": 5.0,
    }


def test_a_call_is_made_elsewhere_and_its_quotes_are_verified_and_charged_here(desk: Open) -> None:
    async def run() -> None:
        async with library(desk) as here, asyncio.TaskGroup() as group:
            claim = group.create_task(claimed(here))
            await waiting(here)
            asking = group.create_task(ask_archive(here.space, AskCall(QUESTION), None))
            task = await claim
            assert (task.librarian, task.model) == (1, "rule:a")
            assert CLAIM in task.documents
            assert CLAIM not in task.rules
            await here.call("librarian_answer", worker="w-1", call_id=task.call_id, said=said())
            answer = await asking
            assert (answer.librarian, answer.model, answer.found) == (1, "rule:a", True)
            assert [one.quote for one in answer.citations] == [CLAIM]
            assert (answer.usage.uncached, answer.cost > 0) == (100, True)
            assert await left(here) == 9
            with pytest.raises(Refused):
                await here.call(
                    "librarian_answer", worker="w-1", call_id=task.call_id, said=said("Other.")
                )

    asyncio.run(run())


def test_what_somebody_elsewhere_makes_up_is_not_believed(desk: Open) -> None:
    async def run() -> None:
        async with library(desk) as here, asyncio.TaskGroup() as group:
            claim = group.create_task(claimed(here))
            await waiting(here)
            asking = group.create_task(ask_archive(here.space, AskCall(QUESTION), None))
            task = await claim
            lie = said("The retry budget of the Courier is 77 attempts.")
            await here.call("librarian_answer", worker="w-1", call_id=task.call_id, said=lie)
            answer = await asking
            assert (answer.found, answer.unverified) == (False, 1)

    asyncio.run(run())


def test_a_process_that_dies_with_a_call_loses_it_and_another_librarian_answers_once(
    desk: Open,
) -> None:
    async def run() -> None:
        async with library(desk, lease_seconds=0.2) as here, asyncio.TaskGroup() as group:
            claim = group.create_task(claimed(here))
            await waiting(here)
            asking = group.create_task(ask_archive(here.space, AskCall(QUESTION), None))
            task = await claim
            answer = await asking
            assert (answer.librarian, answer.found) == (2, True)
            assert "w-1" in answer.passed_over[0].reason
            # Nobody heard the end of that call: it stays charged.
            assert await left(here) == 9
            with pytest.raises(Refused):
                await here.call("librarian_answer", worker="w-1", call_id=task.call_id, said=said())
            kept = await here.call("archive_answer", query_id=answer.query_id)
            assert kept.librarian == 2

    asyncio.run(run())


def test_a_refusal_that_was_met_elsewhere_counts_as_one_met_here(desk: Open) -> None:
    async def run() -> None:
        async with library(desk) as here, asyncio.TaskGroup() as group:
            claim = group.create_task(claimed(here))
            await waiting(here)
            asking = group.create_task(ask_archive(here.space, AskCall(QUESTION), None))
            task = await claim
            refusal = to_wire(RateLimited("slow down", retry_after_s=60.0))
            await here.call("librarian_answer", worker="w-1", call_id=task.call_id, error=refusal)
            answer = await asking
            assert answer.librarian == 2
            assert answer.passed_over[0].resets_at is not None
            assert await left(here) == 10

    asyncio.run(run())


def test_a_call_is_not_taken_from_the_process_that_has_it(desk: Open) -> None:
    async def run() -> None:
        async with library(desk) as here, asyncio.TaskGroup() as group:
            claim = group.create_task(claimed(here))
            await waiting(here)
            asking = group.create_task(ask_archive(here.space, AskCall(QUESTION), None))
            task = await claim
            with pytest.raises(Refused):
                await here.call("librarian_answer", worker="w-2", call_id=task.call_id, said=said())
            await here.call("librarian_answer", worker="w-1", call_id=task.call_id, said=said())
            assert (await asking).found

    asyncio.run(run())


def test_only_librarians_with_a_model_are_served_elsewhere(desk: Open) -> None:
    async def run() -> None:
        async with library(desk) as here:
            for numbers in ([2], [1, 9]):
                with pytest.raises(Invalid):
                    await here.call("librarian_claim", worker="w-1", librarians=numbers)
            nothing = await here.call("librarian_claim", worker="w-1")
            assert nothing.task is None

    asyncio.run(run())
