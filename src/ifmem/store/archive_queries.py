"""The durable queue of questions to the archive, and their answers."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from ifmem import clock
from ifmem.engine import archive_queries as rules
from ifmem.engine.archive_queries import QueryState, Standing
from ifmem.errors import NotFound, Refused
from ifmem.store import audit
from ifmem.store.archive_query_rows import COLUMNS, ArchiveQuery, query_of, values_of


@dataclass(frozen=True, slots=True, kw_only=True)
class NewQuery:
    """A question as it was asked; its texts are masked by the caller."""

    query_id: str
    sender: str
    question: str
    params: str
    """Filters, model and limits, as JSON."""
    asked_at: datetime
    expires_at: datetime
    hint: int | None = None


_OPEN = "state IN ('waiting', 'leased', 'kept')"


def put(
    connection: sqlite3.Connection,
    query: NewQuery,
    *,
    holder: str | None = None,
    lease: timedelta = timedelta(0),
    most_open: int = rules.MOST_OPEN,
) -> tuple[ArchiveQuery, bool]:
    """Queue a question: it, and whether it is new. The same id again changes nothing.

    Args:
        holder: who asks and answers in one breath; it has the first lease.

    Raises:
        Refused: the id is of another question, or too many wait.
    """
    known = get(connection, query.query_id)
    if known is not None:
        if known.question != query.question:
            raise Refused(
                f"{query.query_id[:60]} is the id of another question: ask with a new one",
                query_id=query.query_id,
            )
        return known, False
    (open_now,) = connection.execute(f"SELECT count(*) FROM archive_query WHERE {_OPEN}").fetchone()
    if open_now >= most_open:
        raise Refused(
            f"{open_now:,} questions wait for the librarians, and no more than {most_open:,} may: "
            "ask again a little later",
            open=open_now,
            limit=most_open,
        )
    standing = Standing(state=QueryState.WAITING, expires_at=query.expires_at)
    if holder is not None:
        standing = rules.claimed(standing, holder, query.asked_at, lease, attempts=1)
    at = clock.stamp(query.asked_at)
    cursor = connection.execute(
        "INSERT INTO archive_query (query_id, asked_at, sender, question, hint, params, state, "
        "attempts, holder, fence, lease_until, not_before, expires_at, reason) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            query.query_id,
            at,
            query.sender,
            query.question,
            query.hint,
            query.params,
            *values_of(standing),
        ),
    )
    _note(connection, query.query_id, "asked", at, audit.WRITE, audit.INFO, query.sender, "-")
    assert cursor.lastrowid is not None
    return (
        ArchiveQuery(
            number=cursor.lastrowid,
            query_id=query.query_id,
            asked_at=at,
            sender=query.sender,
            question=query.question,
            params=query.params,
            hint=query.hint,
            librarian=None,
            answered_at=None,
            response=None,
            standing=standing,
        ),
        True,
    )


def get(connection: sqlite3.Connection, query_id: str) -> ArchiveQuery | None:
    """The question of that id."""
    row = connection.execute(
        f"SELECT {COLUMNS} FROM archive_query WHERE query_id = ?", (query_id,)
    ).fetchone()
    return None if row is None else query_of(row)


def claim(
    connection: sqlite3.Connection,
    *,
    holder: str,
    now: datetime,
    lease: timedelta,
    attempts: int,
) -> ArchiveQuery | None:
    """Lease the oldest question that may be taken; None when there is none."""
    at = clock.stamp(now)
    for row in connection.execute(
        f"SELECT {COLUMNS} FROM archive_query WHERE {_OPEN} AND (state = 'waiting' "
        "OR (state = 'leased' AND lease_until <= ?) OR (state = 'kept' AND not_before <= ?)) "
        "AND expires_at > ? ORDER BY number",
        (at, at, at),
    ).fetchall():
        query = query_of(row)
        after = rules.claimed(query.standing, holder, now, lease, attempts=attempts)
        if after == query.standing:
            continue
        _save(connection, query.query_id, after, ended_at=at if after.has_ended else None)
        if after.state is QueryState.LEASED:
            return replace(query, standing=after)
        _note_end(connection, query.query_id, after, at)
    return None


def renew(
    connection: sqlite3.Connection,
    held: Iterable[tuple[str, int]],
    *,
    now: datetime,
    lease: timedelta,
) -> None:
    """Prolong leases, given as ids and fences; those that are lost stay lost."""
    for query_id, fence in held:
        query = get(connection, query_id)
        if query is not None and query.standing.is_held(fence):
            after = rules.renewed(query.standing, fence, now, lease)
            _save(connection, query_id, after)


def answer(
    connection: sqlite3.Connection,
    query_id: str,
    *,
    fence: int,
    librarian: int,
    response: bytes,
    now: datetime,
) -> bool:
    """Keep the answer of whoever holds the question; False for one that comes too late, which the
    audit tells."""
    at = clock.stamp(now)
    actor = f"librarian-{librarian}"
    query = get(connection, query_id)
    after = None if query is None else rules.answered(query.standing, fence, now)
    if after is None:
        reason = "gone" if query is None else f"it is {query.standing.state}"
        _note(
            connection,
            query_id,
            f"late:{fence}:{librarian}",
            at,
            audit.REFUSAL,
            audit.WARNING,
            actor,
            f"a late answer with fence {fence}: {reason}",
        )
        return False
    connection.execute(
        "UPDATE archive_query SET state = ?, lease_until = NULL, librarian = ?, response = ?, "
        "answered_at = ?, reason = NULL WHERE query_id = ?",
        (after.state, librarian, response.decode(), at, query_id),
    )
    _note(connection, query_id, "answered", at, audit.DECISION, audit.INFO, actor, f"fence {fence}")
    return True


def keep(
    connection: sqlite3.Connection,
    query_id: str,
    *,
    fence: int,
    until: datetime,
    kept_seconds: float,
    reason: str,
    now: datetime,
) -> bool:
    """Let a question wait for a quota; False when it is not held by that lease."""
    query = get(connection, query_id)
    if query is None:
        return False
    expires_at = max(until, now) + timedelta(seconds=kept_seconds)
    after = rules.kept(query.standing, fence, until=until, expires_at=expires_at, reason=reason)
    if after is None:
        return False
    at = clock.stamp(now)
    _save(connection, query_id, after)
    _note(
        connection,
        query_id,
        f"kept:{fence}",
        at,
        audit.DECISION,
        audit.WARNING,
        query.standing.holder or "-",
        reason,
    )
    return True


def give_back(
    connection: sqlite3.Connection,
    query_id: str,
    *,
    fence: int,
    reason: str,
    attempts: int,
    now: datetime,
) -> Standing | None:
    """Let others have a question; None when it is not held by that lease."""
    query = get(connection, query_id)
    if query is None:
        return None
    after = rules.given_back(query.standing, fence, reason=reason, attempts=attempts)
    if after is not None:
        at = clock.stamp(now)
        _save(connection, query_id, after, ended_at=at if after.has_ended else None)
        _note_end(connection, query_id, after, at)
    return after


def release_dead(
    connection: sqlite3.Connection, *, prefix: str, holder: str, now: datetime
) -> None:
    """End the leases of holders of an earlier life of ours, who are known to be gone."""
    connection.execute(
        "UPDATE archive_query SET lease_until = ? WHERE state = 'leased' "
        "AND substr(holder, 1, ?) = ? AND holder <> ?",
        (clock.stamp(now), len(prefix), prefix, holder),
    )


def sweep(
    connection: sqlite3.Connection, *, now: datetime, attempts: int, kept_seconds: float
) -> datetime | None:
    """Do what time has done; when to look again, or None while nothing is open."""
    at = clock.stamp(now)
    gone = clock.stamp(now - timedelta(seconds=kept_seconds))
    connection.execute("DELETE FROM archive_query WHERE answered_at <= ?", (gone,))
    due: datetime | None = None
    for row in connection.execute(
        f"SELECT {COLUMNS} FROM archive_query WHERE {_OPEN} ORDER BY number"
    ).fetchall():
        query = query_of(row)
        after = rules.swept(query.standing, now, attempts=attempts)
        if after != query.standing:
            _save(connection, query.query_id, after, ended_at=at if after.has_ended else None)
            _note_end(connection, query.query_id, after, at)
        next_due = now if after.state is QueryState.WAITING else rules.due_at(after)
        due = min((one for one in (due, next_due) if one is not None), default=None)
    return due


def open_count(connection: sqlite3.Connection) -> int:
    """How many questions wait or are worked on."""
    (number,) = connection.execute(f"SELECT count(*) FROM archive_query WHERE {_OPEN}").fetchone()
    return int(number)


def require(connection: sqlite3.Connection, query_id: str) -> ArchiveQuery:
    """The question of that id, or ``NotFound``."""
    query = get(connection, query_id)
    if query is None:
        raise NotFound(
            f"there is no question {query_id[:60]!r}: answers are kept for a while only, see "
            "archive.kept_seconds",
            query_id=query_id[:100],
        )
    return query


def _save(
    connection: sqlite3.Connection,
    query_id: str,
    standing: Standing,
    *,
    ended_at: str | None = None,
) -> None:
    connection.execute(
        "UPDATE archive_query SET state = ?, attempts = ?, holder = ?, fence = ?, "
        "lease_until = ?, not_before = ?, expires_at = ?, reason = ?, answered_at = ? "
        "WHERE query_id = ?",
        (*values_of(standing), ended_at, query_id),
    )


def _note_end(connection: sqlite3.Connection, query_id: str, standing: Standing, at: str) -> None:
    """The audit row of a question that has ended without an answer, or was lost by its holder."""
    step = standing.state if standing.has_ended else f"lost:{standing.fence}"
    reason = standing.reason or "-"
    _note(connection, query_id, step, at, audit.DECISION, audit.WARNING, "archive", reason)


def _note(
    connection: sqlite3.Connection,
    query_id: str,
    step: str,
    at: str,
    type: audit.Type,
    severity: audit.Severity,
    actor: str,
    reason: str,
) -> None:
    audit.note(
        connection,
        entry=f"archive_query:{query_id}:{step}",
        at=at,
        action=f"archive_{step.partition(':')[0]}",
        actor=actor,
        subject=query_id,
        reason=reason[:500],
        type=type,
        severity=severity,
    )
