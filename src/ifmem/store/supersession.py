"""Which findings are no longer believed, since when, and by which newer one."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Sequence

from ifmem.store import findings
from ifmem.store.chunks import in_chunks
from ifmem.store.findings import COLUMNS, StoredFinding

_LONGEST_CHAIN = 1_000


def supersede(connection: sqlite3.Connection, finding_id: str, *, by: int, at: str) -> int | None:
    """Mark a finding as superseded by the one with this sequence; its own sequence.

    None when there is no such finding or another superseded it before: the link stays in the
    newer one all the same.
    """
    row = connection.execute(
        "UPDATE finding SET superseded_by = ?, superseded_at = ? "
        "WHERE finding_id = ? AND superseded_at IS NULL AND sequence <> ? RETURNING sequence",
        (by, at, finding_id, by),
    ).fetchone()
    if row is None:
        return None
    connection.execute("DELETE FROM stated WHERE sequence = ?", row)
    return int(row[0])


def leads_to(connection: sqlite3.Connection, start: str, target: str) -> bool:
    """Whether a finding supersedes, by itself or through others, the one of that id."""
    wanted: str | None = start
    for _ in range(_LONGEST_CHAIN):
        if wanted is None or wanted == target:
            break
        row = connection.execute(
            "SELECT json_extract(body, '$.supersedes') FROM finding WHERE finding_id = ?", (wanted,)
        ).fetchone()
        wanted = None if row is None else row[0]
    return wanted == target


def trust_of(connection: sqlite3.Connection, finding_id: str) -> str | None:
    """How far the author of a finding is trusted; None when there is no such finding."""
    row = connection.execute(
        "SELECT ifnull(json_extract(body, '$.trust'), 'agent') FROM finding WHERE finding_id = ?",
        (finding_id,),
    ).fetchone()
    return None if row is None else str(row[0])


def superseded(connection: sqlite3.Connection) -> set[int]:
    """The sequence of every finding that is no longer believed."""
    rows = connection.execute("SELECT sequence FROM finding WHERE superseded_at IS NOT NULL")
    return {row[0] for row in rows}


def superseded_among(
    connection: sqlite3.Connection, sequences: Collection[int]
) -> dict[int, str | None]:
    """Those of these findings that are superseded, each with the id of its successor."""
    found: dict[int, str | None] = {}
    for some, marks in in_chunks(list(sequences)):
        rows = connection.execute(
            "SELECT old.sequence, new.finding_id FROM finding AS old "
            "LEFT JOIN finding AS new ON new.sequence = old.superseded_by "
            "WHERE old.superseded_at IS NOT NULL "
            f"AND old.sequence IN ({marks})",
            some,
        )
        found |= dict(rows.fetchall())
    return found


def believed_at(
    connection: sqlite3.Connection,
    at: str,
    *,
    sequence: int,
    limit: int,
    task_id: str | None = None,
    run: str | None = None,
) -> list[StoredFinding]:
    """Findings after a cursor that were said by a moment and superseded later or never."""
    rows = connection.execute(
        f"SELECT {COLUMNS} FROM finding WHERE sequence > ? AND said_at <= ? "
        "AND (superseded_at IS NULL OR superseded_at > ?) "
        "AND (? IS NULL OR task_id = ?) AND (? IS NULL OR run = ?) ORDER BY sequence LIMIT ?",
        (sequence, at, at, task_id, task_id, run, run, limit),
    )
    return [findings.stored(row) for row in rows]


def believed_then(
    connection: sqlite3.Connection, at: str, *, limit: int
) -> Sequence[StoredFinding]:
    """The newest of those that were believed at a moment and are not any more."""
    rows = connection.execute(
        f"SELECT {COLUMNS} FROM finding WHERE superseded_at > ? AND said_at <= ? "
        "ORDER BY sequence DESC LIMIT ?",
        (at, at, limit),
    )
    return [findings.stored(row) for row in rows]
