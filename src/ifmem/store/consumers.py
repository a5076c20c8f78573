"""How far each named consumer of the findings has come."""

from __future__ import annotations

import sqlite3


def cursor_of(connection: sqlite3.Connection, name: str) -> int | None:
    """The sequence that a consumer has acknowledged; None for one that never followed."""
    row = connection.execute("SELECT cursor FROM consumer WHERE name = ?", (name,)).fetchone()
    return None if row is None else int(row[0])


def begin(connection: sqlite3.Connection, name: str, *, cursor: int, at: str) -> int:
    """Note where a new consumer begins; where it is, when it is known already."""
    connection.execute("INSERT OR IGNORE INTO consumer VALUES (?, ?, ?)", (name, cursor, at))
    known = cursor_of(connection, name)
    assert known is not None
    return known


def acknowledge(connection: sqlite3.Connection, name: str, *, cursor: int, at: str) -> int:
    """Advance a consumer, which never goes back; where it is now."""
    connection.execute(
        "INSERT INTO consumer VALUES (?, ?, ?) ON CONFLICT (name) DO UPDATE "
        "SET cursor = excluded.cursor, at = excluded.at WHERE excluded.cursor > cursor",
        (name, cursor, at),
    )
    known = cursor_of(connection, name)
    assert known is not None
    return known
