"""The durable queue of questions to the archive: every step committed, audited, and done once."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import pytest

from ifmem.engine.archive_queries import QueryState
from ifmem.errors import NotFound, Refused
from ifmem.store import archive_queries as queue
from ifmem.store.archive_queries import NewQuery
from ifmem.store.database import Database

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
LEASE = timedelta(seconds=60)
T = TypeVar("T")


@pytest.fixture
def do(database: Database) -> Callable[[Callable[[sqlite3.Connection], Any]], Any]:
    return lambda work: database.write(work).result()


def at(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


def new(query_id: str = "q-1", question: str = "Why?", asked: float = 0) -> NewQuery:
    return NewQuery(
        query_id=query_id,
        sender="agent",
        question=question,
        params="{}",
        asked_at=at(asked),
        expires_at=at(asked + 300),
    )


def claim(seconds: float, holder: str = "one", attempts: int = 3) -> Callable[..., Any]:
    return lambda c: queue.claim(c, holder=holder, now=at(seconds), lease=LEASE, attempts=attempts)


def sweep(seconds: float) -> Callable[..., Any]:
    return lambda c: queue.sweep(c, now=at(seconds), attempts=3, kept_seconds=1_000)


def answer(seconds: float, fence: int = 1) -> Callable[..., Any]:
    return lambda c: queue.answer(
        c, "q-1", fence=fence, librarian=2, response=b'{"a":1}', now=at(seconds)
    )


def actions(c: sqlite3.Connection) -> list[str]:
    return [row[0] for row in c.execute("SELECT action FROM audit ORDER BY row")]


def state(c: sqlite3.Connection) -> QueryState:
    return queue.require(c, "q-1").standing.state


def test_questions_are_taken_in_the_order_in_which_they_were_asked(do: Any) -> None:
    do(lambda c: [queue.put(c, new(f"q-{n}", asked=n)) for n in range(3)])
    assert [do(claim(5)).query_id for _ in range(3)] == ["q-0", "q-1", "q-2"]
    assert do(claim(5)) is None


def test_who_asks_and_answers_in_one_breath_has_the_first_lease(do: Any) -> None:
    query, is_new = do(lambda c: queue.put(c, new(), holder="bridge:1", lease=LEASE))
    assert is_new
    assert (query.standing.state, query.standing.fence) == (QueryState.LEASED, 1)
    assert do(claim(1)) is None
    assert do(answer(1))
    stored = do(lambda c: queue.require(c, "q-1"))
    assert (stored.response, stored.librarian) == (b'{"a":1}', 2)
    assert do(actions) == ["archive_asked", "archive_answered"]


def test_the_same_id_again_changes_nothing_and_another_question_under_it_is_refused(
    do: Any,
) -> None:
    first, _ = do(lambda c: queue.put(c, new()))
    again, is_new = do(lambda c: queue.put(c, new(asked=9)))
    assert not is_new
    assert again.asked_at == first.asked_at
    with pytest.raises(Refused):
        do(lambda c: queue.put(c, new(question="Who?")))
    assert do(queue.open_count) == 1


def test_more_open_questions_than_allowed_are_refused_and_ended_ones_make_room(do: Any) -> None:
    do(lambda c: queue.put(c, new(), holder="one", lease=LEASE, most_open=1))
    with pytest.raises(Refused) as told:
        do(lambda c: queue.put(c, new("q-2"), most_open=1))
    assert told.value.facts["limit"] == 1
    assert do(answer(1))
    do(lambda c: queue.put(c, new("q-2"), most_open=1))


def test_a_lease_that_ends_is_delivered_again_and_the_late_answer_is_refused_and_audited(
    do: Any,
) -> None:
    do(lambda c: queue.put(c, new()))
    do(claim(0))
    again = do(claim(60, "two"))
    assert (again.standing.fence, again.standing.attempts) == (2, 1)
    assert not do(answer(61, fence=1))
    assert do(answer(62, fence=2))
    assert not do(answer(63, fence=2))
    assert do(actions).count("archive_late") == 2
    (reason,) = do(
        lambda c: c.execute("SELECT reason FROM audit WHERE entry LIKE '%late:1:%'").fetchone()
    )
    assert "leased" in reason


def test_a_question_lost_too_often_has_failed_and_says_by_whom(do: Any) -> None:
    do(lambda c: queue.put(c, new()))
    for n in range(3):
        assert do(claim(60 * n, f"holder-{n}"))
    assert do(claim(180)) is None
    stored = do(lambda c: queue.require(c, "q-1"))
    assert stored.standing.state is QueryState.FAILED
    assert stored.answered_at is not None
    assert "holder-0" in stored.standing.reason
    assert "holder-2" in stored.standing.reason


def test_a_renewed_lease_is_kept_and_a_lost_one_stays_lost(do: Any) -> None:
    do(lambda c: queue.put(c, new()))
    do(claim(0))
    do(lambda c: queue.renew(c, [("q-1", 1), ("gone", 4)], now=at(50), lease=LEASE))
    assert do(claim(100)) is None
    assert do(claim(110, "two")).standing.fence == 2
    do(lambda c: queue.renew(c, [("q-1", 1)], now=at(120), lease=LEASE))
    assert do(claim(170, "three")).standing.fence == 3


def test_an_old_question_expires_and_what_has_ended_is_removed_after_a_while(do: Any) -> None:
    do(lambda c: queue.put(c, new()))
    assert do(sweep(10)) is not None
    assert do(sweep(300)) is None
    assert do(state) is QueryState.EXPIRED
    do(sweep(1_299))
    do(lambda c: queue.require(c, "q-1"))
    do(sweep(1_300))
    with pytest.raises(NotFound):
        do(lambda c: queue.require(c, "q-1"))


def test_a_kept_question_is_due_at_the_reset(do: Any) -> None:
    do(lambda c: queue.put(c, new(), holder="one", lease=LEASE))
    assert do(
        lambda c: queue.keep(
            c, "q-1", fence=1, until=at(900), kept_seconds=500, reason="exhausted", now=at(1)
        )
    )
    assert do(sweep(301)) == at(900)
    assert do(claim(899)) is None
    assert do(claim(900)).standing.attempts == 0


def test_what_an_earlier_life_held_is_free_at_once_and_what_others_hold_is_not(do: Any) -> None:
    do(lambda c: queue.put(c, new("q-0"), holder="bridge:old", lease=LEASE))
    do(lambda c: queue.put(c, new("q-1"), holder="worker-7", lease=LEASE))
    do(lambda c: queue.put(c, new("q-2"), holder="bridge:new", lease=LEASE))
    do(lambda c: queue.release_dead(c, prefix="bridge:", holder="bridge:new", now=at(1)))
    assert do(claim(1)).query_id == "q-0"
    assert do(claim(1)) is None


def test_a_question_given_back_is_waiting_again(do: Any) -> None:
    do(lambda c: queue.put(c, new(), holder="one", lease=LEASE))

    def back(c: sqlite3.Connection) -> Any:
        return queue.give_back(c, "q-1", fence=1, reason="crash", attempts=3, now=at(2))

    assert do(back).state is QueryState.WAITING
    assert do(back) is None
    assert do(sweep(3)) == at(3)
    assert "archive_lost" in do(actions)
