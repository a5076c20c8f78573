"""The account behind the port: limits are told in numbers, and endings outlive their callers."""

from __future__ import annotations

import asyncio
import functools
import sqlite3
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from ifmem import clock
from ifmem.domain.ledger import AskedQuestion, CallState, LedgerRow
from ifmem.domain.model import Completion, Purpose, Stop
from ifmem.domain.price import Price, Rates, pico
from ifmem.domain.usage import TokenUsage
from ifmem.errors import BudgetExceeded, OutcomeUnknown, Refused, Unavailable
from ifmem.model_settings import BudgetSettings
from ifmem.runtime.accounts import LedgerAccounts
from ifmem.store import ledger
from ifmem.store.database import Database

EVENING = datetime(2026, 1, 2, 23, 30, tzinfo=UTC)
MIDNIGHT = "2026-01-03T00:00:00.000Z"
BUDGET = BudgetSettings(per_question="0.50", per_day="1", background_per_day="0.25")
RATES = Rates(
    uncached=1,
    cache_write_5m=1,
    cache_write_1h=1,
    cache_write_other=1,
    cache_read=1,
    output=1,
    reasoning=1,
)


def in_a_loop(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Runs an async test in an event loop of its own."""

    @functools.wraps(test)
    def run(*given: Any, **named: Any) -> None:
        asyncio.run(test(*given, **named))

    return run


class WallClock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.at = EVENING

    def __call__(self) -> datetime:
        return self.at


@pytest.fixture
def wall() -> WallClock:
    return WallClock()


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    with closing(Database(tmp_path / "store.sqlite")) as opened:
        yield opened


@pytest.fixture
def accounts(database: Database, wall: WallClock) -> LedgerAccounts:
    return LedgerAccounts(database, BUDGET, now=wall)


def call(name: str = "a", dollars: str = "0.20", **given: Any) -> LedgerRow:
    fields: dict[str, Any] = {
        "call_id": name,
        "at": clock.stamp(EVENING),
        "state": CallState.INTENT,
        "purpose": Purpose.ANSWER,
        "model": "vendor:model",
        "question_id": "q",
        "shard": 1,
        "generation": 1,
        "prompt_name": "shard_answer",
        "prompt_version": 1,
        "prefix_sha256": "aa",
        "prefix_tokens": 10,
        "question_tokens": 1,
        "bound": pico(dollars),
        "price": Price(rates=RATES, source="test", as_of="2026-01-01"),
    }
    return LedgerRow(**{**fields, **given})


def completion() -> Completion:
    return Completion(
        text="yes",
        stop=Stop.END,
        usage=TokenUsage(uncached=5),
        model="model",
        first_token_ms=None,
        total_ms=1.0,
    )


def row_of(database: Database, name: str) -> LedgerRow:
    found = database.read(lambda connection: ledger.get(connection, name))
    assert found is not None
    return found


@in_a_loop
async def test_a_question_over_its_limit_is_told_all_the_numbers(
    accounts: LedgerAccounts,
) -> None:
    await accounts.intend(call("a"), limit=None)
    await accounts.settle("a", completion(), cost=pico("0.15"))
    await accounts.intend(call("b"), limit=None)
    with pytest.raises(BudgetExceeded) as caught:
        await accounts.intend(call("c"), limit=None)
    assert caught.value.facts == {
        "which": "question",
        "limit_usd": "0.5",
        "spent_usd": "0.35",
        "needed_usd": "0.2",
        "resets_at": None,
    }
    assert caught.value.message.endswith("raise budget.per_question")


@in_a_loop
async def test_a_limit_that_the_caller_gives_goes_before_the_setting(
    accounts: LedgerAccounts,
) -> None:
    await accounts.intend(call("a", "0.40"), limit=pico("0.90"))
    await accounts.intend(call("b", "0.40"), limit=pico("0.90"))
    with pytest.raises(BudgetExceeded):
        await accounts.intend(call("c", "0.11"), limit=pico("0.90"))
    with pytest.raises(BudgetExceeded, match="--max-cost"):
        await accounts.intend(call("d", "0.02", question_id="other"), limit=pico("0.01"))


@in_a_loop
async def test_the_day_over_its_limit_says_when_the_next_one_begins(
    accounts: LedgerAccounts, wall: WallClock
) -> None:
    for name in ("1", "2"):
        await accounts.intend(call(name, "0.45", question_id=name), limit=None)
    with pytest.raises(BudgetExceeded) as caught:
        await accounts.intend(call("3", "0.45", question_id="3"), limit=None)
    assert (caught.value.facts["which"], caught.value.facts["resets_at"]) == ("day", MIDNIGHT)
    assert MIDNIGHT in caught.value.message
    assert (await accounts.left_today()).questions.left == pico("0.10")
    wall.at = EVENING + timedelta(minutes=30)
    assert (await accounts.left_today()).questions.left == pico("1")
    tomorrow = call("3", "0.45", question_id="3", at=clock.stamp(wall.at))
    await accounts.intend(tomorrow, limit=None)


@in_a_loop
async def test_the_background_has_its_own_limit_and_no_question(accounts: LedgerAccounts) -> None:
    ping = call("ping", "0.20", purpose=Purpose.KEEP_ALIVE, question_id=None)
    await accounts.intend(ping, limit=None)
    with pytest.raises(BudgetExceeded) as caught:
        await accounts.intend(replace(ping, call_id="again"), limit=None)
    assert caught.value.facts["which"] == "background"
    left = await accounts.left_today()
    assert (left.background.left, left.questions.left) == (pico("0.05"), pico("1"))
    assert clock.stamp(left.resets_at) == MIDNIGHT


@in_a_loop
async def test_what_a_question_spent_is_an_interval_while_a_call_is_unknown(
    accounts: LedgerAccounts, database: Database
) -> None:
    await accounts.intend(call("a"), limit=None)
    await accounts.intend(call("b"), limit=None)
    await accounts.settle("a", completion(), cost=pico("0.15"))
    await accounts.lose("b", OutcomeUnknown("the stream was cut"))
    spent = await accounts.spent_on("q")
    assert (spent.known, spent.most) == (pico("0.15"), pico("0.35"))
    assert row_of(database, "b").error == "OutcomeUnknown: the stream was cut"
    await accounts.settle("b", completion(), cost=pico("0.01"))
    await accounts.settle("b", completion(), cost=pico("0.19"))
    assert (await accounts.spent_on("q")).most == pico("0.16")


@in_a_loop
async def test_a_failed_call_is_written_with_its_reason_and_without_credentials(
    accounts: LedgerAccounts, database: Database
) -> None:
    key = "sk-ant-" + "api03-" + "q7Rt2Lw9" * 11 + "AA"
    await accounts.intend(call("a"), limit=None)
    await accounts.fail("a", Unavailable(f"the server said: {key} is overloaded"))
    row = row_of(database, "a")
    assert row.state is CallState.FAILED
    assert row.error is not None
    assert row.error.startswith("Unavailable: the server said: [masked:")
    assert key not in row.error
    assert (await accounts.spent_on("q")).most == 0


@in_a_loop
async def test_a_start_finds_what_a_crash_left_and_calls_it_unknown(
    accounts: LedgerAccounts, database: Database
) -> None:
    await accounts.intend(call("a"), limit=None)
    assert await accounts.lose_all_intents() == 1
    assert await accounts.lose_all_intents() == 0
    assert row_of(database, "a").state is CallState.UNKNOWN
    assert (await accounts.spent_on("q")).most == pico("0.20")


@in_a_loop
async def test_a_settlement_is_written_although_its_caller_was_cancelled(
    accounts: LedgerAccounts, database: Database
) -> None:
    await accounts.intend(call("a"), limit=None)
    with held(database):
        settling = asyncio.ensure_future(accounts.settle("a", completion(), cost=7))
        await asyncio.sleep(0)
        settling.cancel()
        with pytest.raises(asyncio.CancelledError):
            await settling
    await written(database)
    assert (row_of(database, "a").state, row_of(database, "a").cost) == (CallState.SETTLED, 7)


@in_a_loop
async def test_a_caller_that_goes_away_before_the_call_costs_nothing(
    accounts: LedgerAccounts, database: Database
) -> None:
    with held(database):
        intending = asyncio.ensure_future(accounts.intend(call("a"), limit=None))
        await asyncio.sleep(0)
        intending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await intending
    await written(database)
    assert row_of(database, "a").state is CallState.FAILED
    assert (await accounts.spent_on("q")).most == 0


@in_a_loop
async def test_a_cache_object_is_settled_by_the_time_it_was_held(
    accounts: LedgerAccounts, database: Database
) -> None:
    whole = call("a", purpose=Purpose.STORAGE, question_id=None, storage_token_hours=40)
    await accounts.intend(whole, limit=None)
    await accounts.settle("a", completion(), cost=15, storage_token_hours=15)
    assert row_of(database, "a").storage_token_hours == 15


@in_a_loop
async def test_two_calls_cannot_share_an_id(accounts: LedgerAccounts) -> None:
    await accounts.intend(call("a"), limit=None)
    with pytest.raises(Refused, match="id of its own"):
        await accounts.intend(call("a"), limit=None)


@in_a_loop
async def test_a_question_is_recorded_for_the_baselines(
    accounts: LedgerAccounts, database: Database
) -> None:
    question = AskedQuestion(
        question_id="q",
        at=clock.stamp(EVENING),
        question_tokens=3,
        asked_tokens=100,
        corpus_tokens=400,
        retrieved_tokens=20,
        model="vendor:model",
    )
    await accounts.record_question(question)
    kept = database.read(lambda connection: [one for _, one in ledger.questions(connection)])
    assert kept == [question]


@contextmanager
def held(database: Database) -> Iterator[None]:
    """Keeps the writer of a store busy, so that what is written waits."""
    begun, go_on = threading.Event(), threading.Event()

    def wait(_: sqlite3.Connection) -> None:
        begun.set()
        assert go_on.wait(30)

    database.write(wait)
    assert begun.wait(30)
    try:
        yield
    finally:
        go_on.set()


async def written(database: Database) -> None:
    """Wait until all that was queued for a store is written."""
    await asyncio.wrap_future(database.write(lambda _: None))
