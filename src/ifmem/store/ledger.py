"""The account of model calls: a row for each, and what was spent of each limit, in one step."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass

from ifmem.domain.ledger import AskedQuestion, CallState, LedgerRow
from ifmem.domain.model import Completion
from ifmem.engine.budgets import Denied, Granted, Limits, Purse, Which, decide
from ifmem.errors import NotFound, Refused
from ifmem.store.ledger_rows import BUCKETS, COLUMNS, INSERT, row_of, values_of

Place = tuple[str, int]
"""Of a row in the order of time: its moment and its number."""

BEGINNING: Place = ("", 0)
_END = "~"
"""After every moment, as text that times are compared with."""

_SPAN = "WHERE at >= ? AND at <= ? AND (at, row) > (?, ?) ORDER BY at, row"
_CALLS = f"SELECT row, {COLUMNS} FROM model_call {_SPAN}"

_SETTLED = (
    *("state", *BUCKETS, "cost", "storage_token_hours"),
    *("reported_model", "first_token_ms", "total_ms", "request_id", "error", "settled_at"),
)
_SETTLE = f"UPDATE model_call SET {', '.join(f'{n} = ?' for n in _SETTLED)} WHERE call_id = ?"
_SPEND = (
    "INSERT INTO purse (kind, name, known, held) VALUES (?, ?, ?, ?) ON CONFLICT (kind, name) "
    "DO UPDATE SET known = known + excluded.known, held = held + excluded.held"
)
_ASKED = (
    *("question_id", "at", "question_tokens", "asked_tokens", "corpus_tokens"),
    *("retrieved_tokens", "model", "cached_answer"),
)
_QUESTIONS = f"SELECT row, {', '.join(_ASKED)} FROM asked_question {_SPAN}"


@dataclass(frozen=True, slots=True)
class Spent:
    """What was spent of a limit, in pico-dollars."""

    known: int
    """Costs of settled calls."""
    held: int
    """Bounds of calls that are under way or whose end was not seen."""

    @property
    def most(self) -> int:
        """What limits are checked against."""
        return self.known + self.held


def intend(connection: sqlite3.Connection, row: LedgerRow, limits: Limits) -> Granted | Denied:
    """Write a call with its bound, unless that would pass a limit: then nothing is written.

    Raises:
        Refused: a call has that id already; two calls under one would be counted once.
    """
    if _known(connection, row.call_id) is not None:
        raise Refused(
            f"the call {row.call_id} is in the account already: every attempt needs an id of its "
            "own",
            call_id=row.call_id,
        )
    decision = decide(_purses(connection, row, limits), row.bound)
    if isinstance(decision, Granted):
        connection.execute(INSERT, values_of(row))
        _spend(connection, row, held=row.bound)
    return decision


def settle(
    connection: sqlite3.Connection,
    call_id: str,
    completion: Completion,
    *,
    cost: int,
    at: str,
    storage_token_hours: int | None = None,
) -> bool:
    """Write what a call cost; False when its end was known before, and nothing is changed.

    A call that was lost and is reported late is settled then.

    Args:
        storage_token_hours: of a cache object that ended; None: as was intended.

    Raises:
        NotFound: there is no such call.
    """
    row = _open(connection, call_id)
    if row is None:
        return False
    connection.execute(
        _SETTLE,
        (
            CallState.SETTLED,
            *(getattr(completion.usage, bucket) for bucket in BUCKETS),
            cost,
            row.storage_token_hours if storage_token_hours is None else storage_token_hours,
            completion.model,
            completion.first_token_ms,
            completion.total_ms,
            completion.request_id,
            None,
            at,
            call_id,
        ),
    )
    _spend(connection, row, held=-row.bound, known=cost)
    return True


def fail(connection: sqlite3.Connection, call_id: str, *, error: str, at: str) -> bool:
    """A call ended without service and without cost; False when its end was known before.

    Raises:
        NotFound: there is no such call.
    """
    row = _open(connection, call_id)
    if row is None:
        return False
    _close(connection, call_id, CallState.FAILED, error, at)
    _spend(connection, row, held=-row.bound)
    return True


def lose(connection: sqlite3.Connection, call_id: str, *, error: str, at: str) -> bool:
    """A call's end was not seen: its bound stays held. False when it is no longer under way.

    Raises:
        NotFound: there is no such call.
    """
    row = _open(connection, call_id)
    if row is None or row.state is CallState.UNKNOWN:
        return False
    _close(connection, call_id, CallState.UNKNOWN, error, at)
    return True


def lose_all_intents(connection: sqlite3.Connection, *, error: str, at: str) -> int:
    """Nobody waits any more for the calls that were under way; how many there were."""
    return connection.execute(
        "UPDATE model_call SET state = 'unknown', error = ?, settled_at = ? WHERE state = 'intent'",
        (error, at),
    ).rowcount


def spent(connection: sqlite3.Connection, which: Which, name: str) -> Spent:
    """What was spent of a limit: ``name`` is the question's id, or the UTC day."""
    found = connection.execute(
        "SELECT known, held FROM purse WHERE kind = ? AND name = ?", (which, name)
    ).fetchone()
    return Spent(*found) if found else Spent(0, 0)


def get(connection: sqlite3.Connection, call_id: str) -> LedgerRow | None:
    """A call's row."""
    return _known(connection, call_id)


def calls(
    connection: sqlite3.Connection,
    *,
    since: str = "",
    until: str | None = None,
    after: Place = BEGINNING,
) -> Iterator[tuple[Place, LedgerRow]]:
    """The calls begun from ``since`` to ``until``, both included, in the order of time.

    Each comes with its place; ``after`` leaves out those up to one.
    """
    for number, *values in connection.execute(_CALLS, (since, until or _END, *after)):
        row = row_of(values)
        yield (row.at, number), row


def questions(
    connection: sqlite3.Connection,
    *,
    since: str = "",
    until: str | None = None,
    after: Place = BEGINNING,
) -> Iterator[tuple[Place, AskedQuestion]]:
    """The questions asked in that time, as ``calls``."""
    for number, *values in connection.execute(_QUESTIONS, (since, until or _END, *after)):
        *others, cached_answer = values
        named = dict(zip(_ASKED[:-1], others, strict=True))
        question = AskedQuestion(**named, cached_answer=bool(cached_answer))
        yield (question.at, number), question


def record_question(connection: sqlite3.Connection, question: AskedQuestion) -> None:
    """Remember what a question would have cost; the same one again changes nothing."""
    connection.execute(
        f"INSERT OR IGNORE INTO asked_question ({', '.join(_ASKED)}) "
        f"VALUES ({', '.join('?' * len(_ASKED))})",
        tuple(getattr(question, name) for name in _ASKED),
    )


def _purses(connection: sqlite3.Connection, row: LedgerRow, limits: Limits) -> list[Purse]:
    """The limits that a call is held against, narrowest first."""
    day = _day(row)
    allowed = limits.background if day is Which.BACKGROUND else limits.day
    of_day = Purse(which=day, limit=allowed, spent=spent(connection, day, row.at[:10]).most)
    if limits.question is None:
        return [of_day]
    # A call that names no question has the limit to itself.
    so_far = spent(connection, Which.QUESTION, row.question_id).most if row.question_id else 0
    return [Purse(which=Which.QUESTION, limit=limits.question, spent=so_far), of_day]


def _spend(connection: sqlite3.Connection, row: LedgerRow, *, held: int, known: int = 0) -> None:
    names = [(_day(row), row.at[:10])]
    if row.question_id:
        names.append((Which.QUESTION, row.question_id))
    connection.executemany(_SPEND, [(kind, name, known, held) for kind, name in names])


def _day(row: LedgerRow) -> Which:
    return Which.BACKGROUND if row.background else Which.DAY


def _open(connection: sqlite3.Connection, call_id: str) -> LedgerRow | None:
    """The call, unless its cost is known."""
    row = _known(connection, call_id)
    if row is None:
        raise NotFound(f"the account has no call {call_id}", call_id=call_id)
    return row if row.state in {CallState.INTENT, CallState.UNKNOWN} else None


def _close(
    connection: sqlite3.Connection, call_id: str, state: CallState, error: str, at: str
) -> None:
    connection.execute(
        "UPDATE model_call SET state = ?, error = ?, settled_at = ? WHERE call_id = ?",
        (state, error, at, call_id),
    )


def _known(connection: sqlite3.Connection, call_id: str) -> LedgerRow | None:
    found = connection.execute(
        f"SELECT {COLUMNS} FROM model_call WHERE call_id = ?", (call_id,)
    ).fetchone()
    return None if found is None else row_of(found)
