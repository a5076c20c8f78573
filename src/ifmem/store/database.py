"""One SQLite file: a single writer thread with group commit, and readers beside it."""

from __future__ import annotations

import contextlib
import queue
import re
import sqlite3
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, TypeVar

from ifmem.errors import Failed, IfMemError, NotPermitted
from ifmem.store.audit_chain import last_row
from ifmem.store.audit_sealing import Sealing

BUSY_TIMEOUT_MS = 10_000
_JOBS_PER_COMMIT = 128
_CHECKPOINT_MS = 200

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _Job:
    work: Callable[[sqlite3.Connection], Any]
    outcome: Future[Any]
    alone: bool = False
    """Outside any transaction, after the commit of those before it."""


class Database:
    """The store of one space.

    Guarantees:
        durability: the future of ``write`` resolves after the transaction that holds its work
            is on disk (WAL, ``synchronous=FULL``).
        isolation: the works of one commit run one after the other; one that raises is undone
            alone, the rest of the commit stands.
        reads: see every write whose future has resolved.
        audit: rows of ``store/audit.py`` are sealed as they are added, and anchored beside the
            file after the commit that holds them.
    """

    def __init__(self, path: Path) -> None:
        """Open or create the store and bring its schema up to date.

        Raises:
            Failed: the file is damaged, cannot be written, or was made by a newer ifmem.
        """
        self.path = path
        try:
            writer = _opened(path)
            self._sealing = _sealed(writer, path)
        except (sqlite3.Error, OSError) as error:
            raise _translated(error, path) from error
        self._closed = False
        self._local = threading.local()
        self._readers: list[sqlite3.Connection] = []
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._thread = threading.Thread(
            target=self._run, args=(writer,), name=f"store-writer:{path.parent.name}", daemon=True
        )
        self._thread.start()

    def write(self, work: Callable[[sqlite3.Connection], T]) -> Future[T]:
        """Run ``work`` in a transaction on the writer thread.

        The future fails with what ``work`` raised, or with ``Failed`` when the disk refused.
        """
        outcome: Future[T] = Future()
        if self._closed:
            outcome.set_exception(Failed(f"the store {self.path} is closed: nothing was stored"))
        else:
            self._jobs.put(_Job(work, outcome))
        return outcome

    def truncate_log(self) -> Future[bool]:
        """Empty the write-ahead log into the store; False while a reader still needs it."""
        outcome: Future[bool] = Future()
        if self._closed:
            # Closing does the same.
            outcome.set_result(True)
        else:
            self._jobs.put(_Job(_truncated, outcome, alone=True))
        return outcome

    def read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """What ``work`` returns on this thread's read-only connection."""
        connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            connection = _connect(self.path)
            connection.execute("PRAGMA query_only = ON")
            self._local.connection = connection
            self._readers.append(connection)
        try:
            return work(connection)
        except sqlite3.Error as error:
            raise _translated(error, self.path) from error

    def read_together(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """As ``read``, with every statement of ``work`` seeing the same moment."""

        def in_transaction(connection: sqlite3.Connection) -> T:
            connection.execute("BEGIN")
            try:
                return work(connection)
            finally:
                connection.execute("COMMIT")

        return self.read(in_transaction)

    def bytes_on_disk(self) -> int:
        """Size of the store and its write-ahead log."""
        names = (self.path, self.path.with_name(self.path.name + "-wal"))
        return sum(name.stat().st_size for name in names if name.exists())

    def close(self) -> None:
        """Finish the queued writes and close; afterwards nothing may be written."""
        self._closed = True
        self._jobs.put(None)
        self._thread.join()
        for reader in self._readers:
            reader.close()

    def _run(self, connection: sqlite3.Connection) -> None:
        with contextlib.closing(connection):
            while (jobs := self._next_jobs()) is not None:
                if together := [job for job in jobs if not job.alone]:
                    self._commit(connection, together)
                for job in jobs:
                    if job.alone and job.outcome.set_running_or_notify_cancel():
                        job.outcome.set_result(job.work(connection))
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def _next_jobs(self) -> list[_Job] | None:
        first = self._jobs.get()
        if first is None:
            return None
        jobs = [first]
        while len(jobs) < _JOBS_PER_COMMIT:
            try:
                job = self._jobs.get_nowait()
            except queue.Empty:
                break
            if job is None:
                self._jobs.put(None)
                break
            jobs.append(job)
        return jobs

    def _commit(self, connection: sqlite3.Connection, jobs: list[_Job]) -> None:
        done: list[tuple[Future[Any], Any]] = []
        try:
            connection.execute("BEGIN IMMEDIATE")
            self._sealing.begin(connection)
            for job in jobs:
                if not job.outcome.set_running_or_notify_cancel():
                    continue
                with _undone_alone(connection, job.outcome, self.path):
                    done.append((job.outcome, job.work(connection)))
            head = last_row(connection)
            connection.execute("COMMIT")
        except Exception as error:
            # A statement may already have rolled the transaction back (disk full). Whatever it
            # was, the writer lives on and every caller is told.
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            failure = _translated(error, self.path)
            failure.__cause__ = error
            for job in jobs:
                if not job.outcome.done():
                    job.outcome.set_exception(failure)
            return
        self._sealing.committed(head)
        for outcome, result in done:
            outcome.set_result(result)


def _truncated(connection: sqlite3.Connection) -> bool:
    try:
        # Whoever writes next waits behind this: readers are not waited for here.
        connection.execute(f"PRAGMA busy_timeout = {_CHECKPOINT_MS}")
        (busy, _, _) = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    except sqlite3.Error:
        return False
    finally:
        connection.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}")
    return not busy


@contextlib.contextmanager
def _undone_alone(
    connection: sqlite3.Connection, outcome: Future[Any], path: Path
) -> Iterator[None]:
    connection.execute("SAVEPOINT job")
    try:
        yield
    except Exception as error:
        if not connection.in_transaction:
            raise
        connection.execute("ROLLBACK TO job")
        connection.execute("RELEASE job")
        told = _translated(error, path) if isinstance(error, sqlite3.Error) else error
        outcome.set_exception(told)
    else:
        connection.execute("RELEASE job")


def _opened(path: Path) -> sqlite3.Connection:
    """The writer's connection, its schema up to date."""
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    try:
        # Before the first pragma that writes: a file of a newer ifmem stays as it is.
        version = _known_version(connection, path)
        _configure(connection)
        for number, script in _migrations():
            if number > version:
                connection.executescript(
                    f"BEGIN IMMEDIATE;\n{script}\nPRAGMA user_version = {number};\nCOMMIT;"
                )
    except BaseException:
        connection.close()
        raise
    return connection


def _sealed(writer: sqlite3.Connection, path: Path) -> Sealing:
    try:
        return Sealing(path, writer)
    except BaseException:
        writer.close()
        raise


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    _configure(connection)
    return connection


def _configure(connection: sqlite3.Connection) -> None:
    connection.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute("PRAGMA temp_store = MEMORY")
    # What is deleted is overwritten. Measured: nothing for a load, a fifth more for a removal.
    connection.execute("PRAGMA secure_delete = ON")


def _known_version(connection: sqlite3.Connection, path: Path) -> int:
    """The number of the last migration applied."""
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    newest, _ = _migrations()[-1]
    if version > newest:
        raise Failed(
            f"{path} has schema {version}; this ifmem knows up to {newest}: "
            "update ifmem, or use another --home",
            schema=version,
            known=newest,
        )
    return int(version)


def _migrations() -> list[tuple[int, str]]:
    folder = resources.files("ifmem.store") / "migrations"
    found = []
    for entry in folder.iterdir():
        match = re.fullmatch(r"(\d{4})_\w+\.sql", entry.name)
        if match:
            found.append((int(match[1]), entry.read_text(encoding="utf-8")))
    return sorted(found)


def _translated(error: Exception, path: Path) -> IfMemError:
    if isinstance(error, IfMemError):
        return error
    text = str(error)
    if "full" in text:
        return Failed(f"no space is left for {path}: free some and repeat; nothing was stored")
    if isinstance(error, OSError) and error.filename is not None:
        # Such as the key of the audit, which lies beside the store.
        return NotPermitted(
            f"{error.filename} cannot be written or read: check its owner, or use another --home"
        )
    if isinstance(error, OSError) or "readonly" in text or "unable to open" in text:
        return NotPermitted(f"{path} cannot be written: check its owner, or use another --home")
    if "malformed" in text or "not a database" in text:
        return Failed(f"{path} is damaged: restore it from a copy, or move it away and load again")
    return Failed(f"the store {path} refused: {text}")
