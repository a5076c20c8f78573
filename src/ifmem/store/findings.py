"""The durable log of findings: appended, read in order, forgotten on request."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class StoredFinding:
    """A finding as the log has it."""

    sequence: int
    """The cursor: grows with each finding, never used again."""
    finding_id: str
    author: str
    task_id: str | None
    topic: str | None
    said_at: str
    tokens: int
    body: bytes
    """The finding as JSON."""
    run: str | None = None
    """The session it was found in."""


_COLUMNS = "sequence, finding_id, author, task_id, topic, said_at, tokens, body, run"


def append(
    connection: sqlite3.Connection,
    *,
    finding_id: str,
    author: str,
    task_id: str | None,
    topic: str | None,
    said_at: str,
    tokens: int,
    body: bytes,
    run: str | None = None,
    sequence: int = 0,
) -> tuple[int, bool]:
    """Append a finding unless its id is there: its sequence, and whether it was new.

    Args:
        sequence: what the bus gave it; taken unless it is not above all that were ever used.
    """
    row = connection.execute(
        "SELECT sequence FROM finding WHERE finding_id = ?", (finding_id,)
    ).fetchone()
    if row is not None:
        return int(row[0]), False
    number = max(sequence, last_sequence(connection) + 1)
    connection.execute(
        f"INSERT INTO finding ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (number, finding_id, author, task_id, topic, said_at, tokens, body.decode(), run),
    )
    return number, True


def last_sequence(connection: sqlite3.Connection) -> int:
    """The highest sequence ever used, also by findings that were forgotten."""
    row = connection.execute("SELECT seq FROM sqlite_sequence WHERE name = 'finding'").fetchone()
    return 0 if row is None else int(row[0])


def since(
    connection: sqlite3.Connection,
    *,
    sequence: int,
    limit: int,
    task_id: str | None = None,
    run: str | None = None,
) -> list[StoredFinding]:
    """Findings after a cursor, oldest first."""
    wanted = [("task_id", task_id), ("run", run)]
    given = [(name, value) for name, value in wanted if value is not None]
    where = "".join(f"AND {name} = ? " for name, _ in given)
    rows = connection.execute(
        f"SELECT {_COLUMNS} FROM finding WHERE sequence > ? {where}ORDER BY sequence LIMIT ?",
        (sequence, *(value for _, value in given), limit),
    )
    return [_stored(row) for row in rows]


def newest(connection: sqlite3.Connection, limit: int) -> list[StoredFinding]:
    """The newest findings, oldest of them first: what the bus keeps."""
    rows = connection.execute(
        f"SELECT {_COLUMNS} FROM finding ORDER BY sequence DESC LIMIT ?", (limit,)
    ).fetchall()
    return [_stored(row) for row in reversed(rows)]


def by_sequence(
    connection: sqlite3.Connection, sequences: Iterable[int]
) -> dict[int, StoredFinding]:
    """The findings with these sequences; a forgotten one is missing from the answer."""
    found = {}
    for sequence in sequences:
        row = connection.execute(
            f"SELECT {_COLUMNS} FROM finding WHERE sequence = ?", (sequence,)
        ).fetchone()
        if row is not None:
            found[sequence] = _stored(row)
    return found


def by_id(connection: sqlite3.Connection, finding_id: str) -> StoredFinding | None:
    """The finding of that id."""
    row = connection.execute(
        f"SELECT {_COLUMNS} FROM finding WHERE finding_id = ?", (finding_id,)
    ).fetchone()
    return None if row is None else _stored(row)


def delete(connection: sqlite3.Connection, finding_id: str, forgotten_at: str) -> int | None:
    """Remove a finding and remember that it was removed; its sequence, or None."""
    row = connection.execute(
        "DELETE FROM finding WHERE finding_id = ? RETURNING sequence", (finding_id,)
    ).fetchone()
    if row is None:
        return None
    connection.execute("INSERT OR REPLACE INTO forgotten VALUES (?, ?)", (finding_id, forgotten_at))
    return int(row[0])


def was_forgotten(connection: sqlite3.Connection, identifier: str) -> bool:
    """True when something of that id was removed on request."""
    row = connection.execute("SELECT 1 FROM forgotten WHERE id = ?", (identifier,)).fetchone()
    return row is not None


def sequences(connection: sqlite3.Connection) -> set[int]:
    """The sequence of every finding."""
    return {row[0] for row in connection.execute("SELECT sequence FROM finding")}


def count(connection: sqlite3.Connection) -> int:
    """How many findings the log holds. Reads an index from end to end: once, at a start."""
    (number,) = connection.execute("SELECT count(*) FROM finding").fetchone()
    return int(number)


def _stored(
    row: tuple[int, str, str, str | None, str | None, str, int, str, str | None],
) -> StoredFinding:
    return StoredFinding(*row[:7], body=row[7].encode(), run=row[8])
