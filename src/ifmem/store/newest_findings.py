"""The newest findings of the log, and names to complete: each read is bounded."""

from __future__ import annotations

import sqlite3

from ifmem.store.findings import COLUMNS, StoredFinding, stored

_AFTER_ALL = 2**63 - 1
_BEYOND_IDS = "g"
"""Follows every hexadecimal digit and the hyphen."""


def newest_before(
    connection: sqlite3.Connection,
    *,
    before: int | None,
    limit: int,
    task_id: str | None = None,
) -> list[StoredFinding]:
    """Findings before a cursor, or of all, newest first."""
    where, values = ("AND task_id = ? ", [task_id]) if task_id is not None else ("", [])
    rows = connection.execute(
        f"SELECT {COLUMNS} FROM finding WHERE sequence < ? {where}ORDER BY sequence DESC LIMIT ?",
        (_AFTER_ALL if before is None else before, *values, limit),
    )
    return [stored(row) for row in rows]


def ids_beginning(connection: sqlite3.Connection, prefix: str, limit: int) -> list[str]:
    """Ids of findings that begin so, in order."""
    rows = connection.execute(
        "SELECT finding_id FROM finding WHERE finding_id >= ? AND finding_id < ? "
        "ORDER BY finding_id LIMIT ?",
        (prefix, prefix + _BEYOND_IDS, limit),
    )
    return [str(row[0]) for row in rows]


def newest_topics(connection: sqlite3.Connection, looked_at: int) -> list[str]:
    """The topics of so many of the newest findings, the one last spoken of first."""
    rows = connection.execute(
        "SELECT topic FROM (SELECT topic, sequence FROM finding ORDER BY sequence DESC LIMIT ?) "
        "WHERE topic IS NOT NULL GROUP BY topic ORDER BY max(sequence) DESC",
        (looked_at,),
    )
    return [str(row[0]) for row in rows]
