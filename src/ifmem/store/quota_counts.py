"""What was used of a quota, and the steps that change it: each in a transaction of its caller."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from ifmem import clock
from ifmem.domain.quota import Allowance, Denied, Quota, Remaining, Reservation, Reset
from ifmem.engine.quotas import MINUTE, BackOff, Bounds, Day, Use, back_off, denied, left

Calendar = Callable[[datetime], Day]
"""The day of calls that holds a moment."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_KEPT_RESETS = 400
_SWEPT_EVERY = 64
"""Calls after which those that matter no more are removed."""


def reserve(
    connection: sqlite3.Connection,
    allowance: Allowance,
    *,
    reservation_id: str,
    now: datetime,
    calendar: Calendar,
) -> Reservation | Denied:
    """Charge one call of a metered librarian, or say why not and until when."""
    quota = _metered(allowance)
    day, use = _use(connection, allowance, quota, now=now, calendar=calendar)
    refusal = denied(_bounds(allowance, quota), use, now=now, day_ends=day.ends)
    if refusal is not None:
        return refusal
    begins = clock.stamp(day.begins)
    (number,) = connection.execute(
        "UPDATE pool SET used = used + 1, granted = granted + 1 WHERE pool = ? RETURNING granted",
        (quota.pool,),
    ).fetchone()
    connection.execute(
        "INSERT INTO share (pool, space, librarian, used) VALUES (?, ?, ?, 1) "
        "ON CONFLICT DO UPDATE SET used = used + 1",
        (quota.pool, allowance.space, allowance.librarian),
    )
    connection.execute(
        "INSERT INTO call (pool, number, reservation_id, space, librarian, day, at) "
        "VALUES (?, ?, ?, ?, ?, ?, ?)",
        (
            *(quota.pool, number, reservation_id, allowance.space, allowance.librarian),
            *(begins, _micros(now)),
        ),
    )
    if number % _SWEPT_EVERY == 0:
        _sweep(connection, quota.pool, begins, now)
    return Reservation(reservation_id, allowance, begins)


def settle(connection: sqlite3.Connection, reservation: Reservation) -> bool:
    """The call was served; False when its end was known before.

    A back-off ends with the first call served that was reserved after it began.
    """
    call = _end(connection, reservation)
    if call is None:
        return False
    connection.execute(
        "UPDATE pool SET waiting_began = NULL, waiting = 0, refusals = 0 "
        "WHERE pool = ? AND waiting_began <= ?",
        (call["pool"], call["at"]),
    )
    return True


def refund(connection: sqlite3.Connection, reservation: Reservation) -> bool:
    """The call failed before service; False when its end was known before, or its day is over."""
    call = _end(connection, reservation)
    if call is None:
        return False
    given_back = connection.execute(
        "UPDATE pool SET used = used - 1 WHERE pool = ? AND day = ?", (call["pool"], call["day"])
    )
    if given_back.rowcount:
        connection.execute(
            "UPDATE share SET used = used - 1 WHERE pool = ? AND space = ? AND librarian = ?",
            (call["pool"], call["space"], call["librarian"]),
        )
    return bool(given_back.rowcount)


def refuse(
    connection: sqlite3.Connection,
    reservation: Reservation,
    *,
    retry_after_s: float | None,
    now: datetime,
) -> BackOff | None:
    """Refund the call and have its pool wait; None when the call's end was known before."""
    call = _call(connection, reservation)
    if call is None or not call["is_open"]:
        return None
    refund(connection, reservation)
    pool = connection.execute("SELECT * FROM pool WHERE pool = ?", (call["pool"],)).fetchone()
    wait = back_off(_back_off(pool), reserved=_moment(call["at"]), now=now, told_s=retry_after_s)
    connection.execute(
        "UPDATE pool SET waiting_began = ?, waiting = ?, refusals = ? WHERE pool = ?",
        (_micros(wait.began), wait.duration // _MICROSECOND, wait.streak, call["pool"]),
    )
    return wait


def look(
    connection: sqlite3.Connection, allowance: Allowance, *, now: datetime, calendar: Calendar
) -> Remaining:
    """What a metered librarian may still do."""
    quota = _metered(allowance)
    day, use = _use(connection, allowance, quota, now=now, calendar=calendar)
    bounds = _bounds(allowance, quota)
    return Remaining(
        allowance.librarian,
        left(bounds, use),
        day.ends,
        denied(bounds, use, now=now, day_ends=day.ends),
    )


def resets(connection: sqlite3.Connection, pool: str) -> list[Reset]:
    """The days that a pool has begun, newest first."""
    rows = connection.execute(
        "SELECT pool, day, at, used FROM reset WHERE pool = ? ORDER BY day DESC", (pool,)
    )
    return [Reset(*row) for row in rows]


def _use(
    connection: sqlite3.Connection,
    allowance: Allowance,
    quota: Quota,
    *,
    now: datetime,
    calendar: Calendar,
) -> tuple[Day, Use]:
    """The day that is counted and what was used of it, after it has begun where that is due."""
    day = calendar(now)
    pool = _pool(connection, quota, day, now)
    counted = datetime.fromisoformat(pool["day"])
    if counted != day.begins:
        # The clock has gone back: the day that had begun goes on until its own end.
        day = Day(counted, calendar(counted).ends)
    share = connection.execute(
        "SELECT used FROM share WHERE pool = ? AND space = ? AND librarian = ?",
        (quota.pool, allowance.space, allowance.librarian),
    ).fetchone()
    return day, Use(
        pool=pool["used"],
        librarian=0 if share is None else share["used"],
        minute_until=_minute_until(connection, quota, pool["granted"]),
        back_off=_back_off(pool),
    )


def _pool(connection: sqlite3.Connection, quota: Quota, day: Day, now: datetime) -> sqlite3.Row:
    begins = clock.stamp(day.begins)
    connection.execute(
        "INSERT INTO pool (pool, day) VALUES (?, ?) ON CONFLICT DO NOTHING", (quota.pool, begins)
    )
    # A clock that was ahead must not keep the minute full, or a back-off going, until it is there.
    for later in (
        "UPDATE call SET at = ? WHERE pool = ? AND at > ?",
        "UPDATE pool SET waiting_began = ? WHERE pool = ? AND waiting_began > ?",
    ):
        connection.execute(later, (_micros(now), quota.pool, _micros(now)))
    pool = _pool_row(connection, quota)
    if begins > pool["day"]:
        _begin(connection, pool, begins, now)
        pool = _pool_row(connection, quota)
    return pool


def _begin(connection: sqlite3.Connection, pool: sqlite3.Row, begins: str, now: datetime) -> None:
    """Begin a day; whoever holds the transaction is the only one to find it due."""
    name = pool["pool"]
    connection.execute("UPDATE pool SET day = ?, used = 0 WHERE pool = ?", (begins, name))
    connection.execute("DELETE FROM share WHERE pool = ?", (name,))
    connection.execute(
        "INSERT INTO reset (pool, day, at, used) VALUES (?, ?, ?, ?)",
        (name, begins, clock.stamp(now), pool["used"]),
    )
    connection.execute(
        "DELETE FROM reset WHERE pool = ? AND day NOT IN "
        "(SELECT day FROM reset WHERE pool = ? ORDER BY day DESC LIMIT ?)",
        (name, name, _KEPT_RESETS),
    )
    _sweep(connection, name, begins, now)


def _sweep(connection: sqlite3.Connection, pool: str, begins: str, now: datetime) -> None:
    """Remove calls whose minute is over and whose end is told, or is of a day that is over."""
    connection.execute(
        "DELETE FROM call WHERE pool = ? AND at <= ? AND (is_open = 0 OR day <> ?)",
        (pool, _micros(now - MINUTE), begins),
    )


def _minute_until(connection: sqlite3.Connection, quota: Quota, granted: int) -> datetime | None:
    """When there is room: a minute after the call that was granted ``per_minute`` calls ago."""
    row = connection.execute(
        "SELECT at FROM call WHERE pool = ? AND number = ?",
        (quota.pool, granted - quota.per_minute + 1),
    ).fetchone()
    return None if row is None else _moment(row["at"]) + MINUTE


def _back_off(pool: sqlite3.Row) -> BackOff | None:
    if pool["waiting_began"] is None:
        return None
    return BackOff(
        began=_moment(pool["waiting_began"]),
        duration=pool["waiting"] * _MICROSECOND,
        streak=pool["refusals"],
    )


def _end(connection: sqlite3.Connection, reservation: Reservation) -> sqlite3.Row | None:
    """Close a call that is open; None when there is none."""
    call = _call(connection, reservation)
    if call is None or not call["is_open"]:
        return None
    connection.execute(
        "UPDATE call SET is_open = 0 WHERE pool = ? AND number = ?", (call["pool"], call["number"])
    )
    return call


def _call(connection: sqlite3.Connection, reservation: Reservation) -> sqlite3.Row | None:
    row: sqlite3.Row | None = connection.execute(
        "SELECT * FROM call WHERE reservation_id = ?", (reservation.reservation_id,)
    ).fetchone()
    return row


def _pool_row(connection: sqlite3.Connection, quota: Quota) -> sqlite3.Row:
    row: sqlite3.Row = connection.execute(
        "SELECT * FROM pool WHERE pool = ?", (quota.pool,)
    ).fetchone()
    return row


def _bounds(allowance: Allowance, quota: Quota) -> Bounds:
    return Bounds(pool=quota.daily, librarian=allowance.daily)


def _metered(allowance: Allowance) -> Quota:
    assert allowance.quota is not None, "an unmetered librarian has nothing to count"
    return allowance.quota


def _micros(moment: datetime) -> int:
    return (moment - _EPOCH) // _MICROSECOND


def _moment(micros: int) -> datetime:
    return _EPOCH + timedelta(microseconds=micros)
