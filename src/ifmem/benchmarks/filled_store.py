"""A store with many findings in it, written by its own functions, without a bus and in bulk."""

from __future__ import annotations

import sqlite3
import uuid
from collections.abc import Callable
from pathlib import Path

from ifmem import tokens
from ifmem.archive_settings import TrustSettings
from ifmem.domain.finding import Finding
from ifmem.runtime.opening import STORE
from ifmem.runtime.storing import on_stored
from ifmem.store import findings
from ifmem.store.database import Database
from ifmem.wire import finding_json

BATCH = 10_000
"""Findings of one transaction."""
PER_TASK = 100
"""Findings that name the same task, whatever the count."""
_AUTHORS = 50
_SAID = "2026-01-02T03:04:05.678Z"
_REMARK = (
    "It was weighed twice on the small scale beside the loading door, written down by hand, "
    "and compared with the bill of lading before the gate was closed for the night."
)


def fill(
    home: Path,
    count: int,
    note: Callable[[str], None] = lambda _: None,
    *,
    run: str | None = None,
) -> int:
    """Put so many findings into the default space of a home without a daemon; bytes of JSON.

    The ids are those of ``finding_id``, and the sequences 1 to ``count`` in a new store.

    Args:
        home: the home.
        count: how many.
        note: hears how far it is.
        run: the session they are of; with one, each is stored with all that follows from it. None:
            of none, in bulk.
    """
    directory = home / "spaces" / "default"
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    home.chmod(0o700)
    database = Database(directory / STORE)
    try:
        size = 0
        for first in range(0, count, BATCH):
            size += database.write(_batch(first, min(count, first + BATCH), count, run)).result()
            if first and first % (10 * BATCH) == 0:
                note(f"filling the store: {first:,} of {count:,}")
        return size
    finally:
        database.close()


def finding_id(number: int) -> str:
    """Of the finding with this number, counted from 0."""
    return str(uuid.UUID(int=number))


def task_of(number: int, count: int) -> str:
    """The task that a finding names: ``PER_TASK`` findings spread over the whole log share one."""
    return f"task-{number % max(1, count // PER_TASK)}"


def _batch(
    first: int, end: int, count: int, run: str | None
) -> Callable[[sqlite3.Connection], int]:
    def work(connection: sqlite3.Connection) -> int:
        size = 0
        for number in range(first, end):
            claim = f"Crate c{number} of row {number % 97} weighs {number % 53} pounds. {_REMARK}"
            finding = Finding(
                finding_id=finding_id(number),
                worker_id=f"worker-{number % _AUTHORS}",
                timestamp=_SAID,
                claim=claim,
                task_id=task_of(number, count),
                session_id=run,
                tokens=tokens.count(claim),
            )
            body = finding_json.as_durable(finding_json.to_json(finding))
            size += len(body)
            sequence, _ = findings.append(
                connection,
                finding_id=finding.finding_id,
                author=finding.worker_id,
                task_id=finding.task_id,
                topic=None,
                said_at=finding.timestamp,
                tokens=finding.tokens,
                body=body,
                run=run,
            )
            if run is not None:
                stored = findings.by_sequence(connection, [sequence])[sequence]
                on_stored(connection, finding, stored, TrustSettings())
        return size

    return work
