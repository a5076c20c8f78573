"""The quotas of a home: `quotas.db`, in which every process counts the same calls."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from ifmem import clock
from ifmem.errors import Failed, IfMemError, NotPermitted
from ifmem.store.database import BUSY_TIMEOUT_MS

T = TypeVar("T")
Work = Callable[[sqlite3.Connection], T]

_VERSION = 1
_MOST_TOGETHER = 128
_LOOKED_AGAIN_MS = 3
_SCHEMA = """
-- A key of a provider. Moments are microseconds since 1970.
CREATE TABLE pool (
    pool     TEXT    PRIMARY KEY,
    day      TEXT    NOT NULL,  -- the day of calls that is counted: when it began
    used     INTEGER NOT NULL DEFAULT 0 CHECK (used >= 0),
    granted  INTEGER NOT NULL DEFAULT 0,  -- calls ever granted: the number of the last one
    waiting_began INTEGER,  -- of the back-off; NULL for none since a call was served
    waiting       INTEGER NOT NULL DEFAULT 0,
    refusals      INTEGER NOT NULL DEFAULT 0  -- in a row
) STRICT, WITHOUT ROWID;

CREATE TABLE share (
    pool      TEXT    NOT NULL REFERENCES pool,
    space     TEXT    NOT NULL,
    librarian INTEGER NOT NULL,
    used      INTEGER NOT NULL CHECK (used >= 0),  -- on the pool's day
    PRIMARY KEY (pool, space, librarian)
) STRICT, WITHOUT ROWID;

-- A call that was granted: as long as its minute lasts, and its end may still be told.
CREATE TABLE call (
    pool           TEXT    NOT NULL REFERENCES pool,
    number         INTEGER NOT NULL,
    reservation_id TEXT    NOT NULL UNIQUE,
    space          TEXT    NOT NULL,
    librarian      INTEGER NOT NULL,
    day            TEXT    NOT NULL,  -- that it is charged to
    at             INTEGER NOT NULL,  -- never falls from one number to the next
    is_open        INTEGER NOT NULL DEFAULT 1,
    PRIMARY KEY (pool, number)
) STRICT, WITHOUT ROWID;
CREATE INDEX call_at ON call (pool, at);

CREATE TABLE reset (
    pool TEXT    NOT NULL,
    day  TEXT    NOT NULL,
    at   TEXT    NOT NULL,
    used INTEGER NOT NULL,  -- on the day before
    PRIMARY KEY (pool, day)
) STRICT, WITHOUT ROWID;
"""


class QuotaFile:
    """``quotas.db``, readable by its owner only, made when it is first needed.

    Guarantees:
        durability: a future resolves after the transaction that holds its work is on disk.
        isolation: works run one after the other, whatever process they are of; one that raises is
            undone alone.

    Raises (in the futures):
        Failed: the file is damaged, or was made by a newer ifmem, or the disk refused.
        NotPermitted: it cannot be written.
    """

    def __init__(self, path: Path) -> None:
        """Of the file at ``path``; nothing is opened yet."""
        self.path = path
        self._connection: sqlite3.Connection | None = None
        self._waiting: deque[tuple[Work[Any], Future[Any]]] = deque()
        self._writer = ThreadPoolExecutor(max_workers=1, thread_name_prefix="quotas")

    def do(self, work: Work[T]) -> Future[T]:
        """Run ``work`` in a transaction, with those that wait already."""
        outcome: Future[T] = Future()
        self._waiting.append((work, outcome))
        try:
            self._writer.submit(self._do_waiting)
        except RuntimeError:
            outcome.set_exception(Failed(f"{self.path} is closed: nothing was reserved"))
        return outcome

    def close(self) -> None:
        """Finish what waits and close the file; a second time does nothing."""
        with contextlib.suppress(RuntimeError):
            self._writer.submit(self._close)
        self._writer.shutdown(wait=True)

    def _do_waiting(self) -> None:
        some = [self._waiting.popleft() for _ in range(min(_MOST_TOGETHER, len(self._waiting)))]
        jobs = [job for job in some if job[1].set_running_or_notify_cancel()]
        # Each job has asked for a run: those of jobs that were done together find nothing.
        if not jobs:
            return
        done: list[tuple[Future[Any], Any]] = []
        try:
            connection = self._opened()
            _insist(connection, "BEGIN IMMEDIATE")
            for work, outcome in jobs:
                try:
                    done.append((outcome, _undone_alone(connection, work)))
                except IfMemError as error:
                    outcome.set_exception(error)
            connection.execute("COMMIT")
        except Exception as error:
            self._give_up(jobs, error)
        else:
            for outcome, result in done:
                outcome.set_result(result)

    def _give_up(self, jobs: list[tuple[Work[Any], Future[Any]]], error: Exception) -> None:
        if self._connection is not None and self._connection.in_transaction:
            self._connection.execute("ROLLBACK")
        told = _translated(error, self.path)
        told.__cause__ = error
        for _, outcome in jobs:
            if not outcome.done():
                outcome.set_exception(told)

    def _opened(self) -> sqlite3.Connection:
        if self._connection is None:
            # Made before SQLite makes it: nobody else can have opened it while it was readable.
            flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
            os.close(os.open(self.path, flags, 0o600))
            self.path.chmod(0o600)
            self._connection = _connected(self.path)
        return self._connection

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.close()


def _insist(connection: sqlite3.Connection, statement: str) -> sqlite3.Cursor:
    """Do a statement once no other process is in its way.

    Asked anew every few milliseconds: SQLite's own waiting grows to a tenth of a second between
    two looks, and whoever waits longest is then served last. It does not wait at all where two who
    wait could wait for each other: when several that come first change the journal.
    """
    deadline = clock.monotonic() + BUSY_TIMEOUT_MS / 1_000
    while True:
        try:
            return connection.execute(statement)
        except sqlite3.OperationalError as error:
            # The lowest byte: after a crash it says that another process recovers the file.
            is_busy = error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY
            if not is_busy or clock.monotonic() >= deadline:
                raise


def _undone_alone(connection: sqlite3.Connection, work: Work[T]) -> T:
    connection.execute("SAVEPOINT job")
    try:
        result = work(connection)
    except Exception:
        if connection.in_transaction:
            connection.execute("ROLLBACK TO job")
            connection.execute("RELEASE job")
        raise
    connection.execute("RELEASE job")
    return result


def _connected(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    try:
        connection.row_factory = sqlite3.Row
        connection.execute(f"PRAGMA busy_timeout = {_LOOKED_AGAIN_MS}")
        # Before the first pragma that writes: a file of a newer ifmem stays as it is.
        _require_known(connection, path)
        _insist(connection, "PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        # Of several that come first, one makes the tables.
        _insist(connection, "BEGIN IMMEDIATE")
        if _require_known(connection, path) < _VERSION:
            for statement in _SCHEMA.split(";\n"):
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {_VERSION}")
        connection.execute("COMMIT")
    except BaseException:
        connection.close()
        raise
    return connection


def _require_known(connection: sqlite3.Connection, path: Path) -> int:
    """The number of the schema, which is none of a newer ifmem."""
    (version,) = _insist(connection, "PRAGMA user_version").fetchone()
    if version > _VERSION:
        raise Failed(
            f"{path} has schema {version}; this ifmem knows up to {_VERSION}: update ifmem, or use "
            "another --home",
            schema=version,
            known=_VERSION,
        )
    return int(version)


def _translated(error: Exception, path: Path) -> IfMemError:
    if isinstance(error, IfMemError):
        return error
    text = str(error)
    if isinstance(error, OSError) or "readonly" in text or "unable to open" in text:
        return NotPermitted(
            f"{path} cannot be opened and written: check its owner, or use another --home"
        )
    if "malformed" in text or "not a database" in text or "no such" in text:
        return Failed(
            f"{path} is damaged: restore it, or run `ifmem down` and move it away; calls of today "
            "are then counted from 0"
        )
    if "full" in text:
        return Failed(f"no space is left for {path}: free some and repeat; no call was reserved")
    if "locked" in text:
        seconds = BUSY_TIMEOUT_MS // 1_000
        return Failed(
            f"another process has held {path} for {seconds} seconds: look for one that hangs"
        )
    return Failed(f"{path} refused: {text}")
