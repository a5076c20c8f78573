"""Findings in quarantine: kept beside the log in its order, until released or forgotten."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass

from ifmem.store import findings
from ifmem.store.findings import StoredFinding


@dataclass(frozen=True, slots=True)
class Release:
    """A quarantined finding, and the id under which it is said again."""

    finding: StoredFinding
    released_as: str
    is_done: bool
    """That finding was stored."""


def append(connection: sqlite3.Connection, finding: StoredFinding) -> int:
    """Put a finding into quarantine unless its id is there: its sequence.

    Args:
        finding: its ``sequence`` is what the bus gave it, as in ``findings.append``.
    """
    known = sequence_of(connection, finding.finding_id)
    if known is not None:
        return known
    number = max(finding.sequence, findings.last_sequence(connection) + 1)
    findings.insert(connection, "quarantined", number, finding)
    return number


def sequence_of(connection: sqlite3.Connection, finding_id: str) -> int | None:
    """The sequence of a finding that is, or was, in quarantine."""
    row = connection.execute(
        "SELECT sequence FROM quarantined WHERE finding_id = ?", (finding_id,)
    ).fetchone()
    return None if row is None else int(row[0])


def since(
    connection: sqlite3.Connection,
    *,
    sequence: int,
    limit: int,
    task_id: str | None = None,
    run: str | None = None,
) -> list[StoredFinding]:
    """The findings after a cursor that nobody has released, oldest first."""
    return findings.after(
        connection, "quarantined", sequence=sequence, limit=limit, task_id=task_id, run=run
    )


def delete(connection: sqlite3.Connection, finding_id: str, forgotten_at: str) -> int | None:
    """Remove a finding and remember that it was removed; its sequence, or None."""
    return findings.remove(connection, "quarantined", finding_id, forgotten_at)


def begin_release(connection: sqlite3.Connection, finding_id: str, new_id: str) -> Release | None:
    """Choose under which id a finding is said again, once and for all; None when it is not here."""
    connection.execute(
        "UPDATE quarantined SET released_as = coalesce(released_as, ?) WHERE finding_id = ?",
        (new_id, finding_id),
    )
    row = connection.execute(
        f"SELECT {findings.COLUMNS}, released_as, released_at FROM quarantined "
        "WHERE finding_id = ?",
        (finding_id,),
    ).fetchone()
    if row is None:
        return None
    return Release(findings.stored(row[:-2]), row[-2], is_done=row[-1] is not None)


def end_release(connection: sqlite3.Connection, finding_id: str, at: str) -> bool:
    """Note that the finding which says it again is stored; False when that was noted before."""
    done = connection.execute(
        "UPDATE quarantined SET released_at = ? WHERE finding_id = ? AND released_at IS NULL",
        (at, finding_id),
    )
    return done.rowcount > 0
