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


COLUMNS = "sequence, finding_id, author, task_id, topic, said_at, tokens, body, run"
COLUMNS_OF_F = ", ".join(f"f.{name}" for name in COLUMNS.split(", "))
"""The same where ``finding`` is joined as ``f``."""


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
    finding = StoredFinding(number, finding_id, author, task_id, topic, said_at, tokens, body, run)
    insert(connection, "finding", number, finding)
    return number, True


def last_sequence(connection: sqlite3.Connection) -> int:
    """The highest sequence ever used, also by findings in quarantine and those forgotten."""
    (highest,) = connection.execute(
        "SELECT max(seq) FROM sqlite_sequence WHERE name IN ('finding', 'quarantined')"
    ).fetchone()
    return int(highest or 0)


def since(
    connection: sqlite3.Connection,
    *,
    sequence: int,
    limit: int,
    task_id: str | None = None,
    run: str | None = None,
) -> list[StoredFinding]:
    """Findings after a cursor, oldest first."""
    return after(connection, "finding", sequence=sequence, limit=limit, task_id=task_id, run=run)


def newest(connection: sqlite3.Connection, limit: int) -> list[StoredFinding]:
    """The newest findings, oldest of them first: what the bus keeps."""
    rows = connection.execute(
        f"SELECT {COLUMNS} FROM finding ORDER BY sequence DESC LIMIT ?", (limit,)
    ).fetchall()
    return [stored(row) for row in reversed(rows)]


def by_sequence(
    connection: sqlite3.Connection, sequences: Iterable[int]
) -> dict[int, StoredFinding]:
    """The findings with these sequences; a forgotten one is missing from the answer."""
    found = {}
    for sequence in sequences:
        row = connection.execute(
            f"SELECT {COLUMNS} FROM finding WHERE sequence = ?", (sequence,)
        ).fetchone()
        if row is not None:
            found[sequence] = stored(row)
    return found


def by_id(connection: sqlite3.Connection, finding_id: str) -> StoredFinding | None:
    """The finding of that id."""
    row = connection.execute(
        f"SELECT {COLUMNS} FROM finding WHERE finding_id = ?", (finding_id,)
    ).fetchone()
    return None if row is None else stored(row)


def delete(connection: sqlite3.Connection, finding_id: str, forgotten_at: str) -> int | None:
    """Remove a finding and remember that it was removed; its sequence, or None."""
    return remove(connection, "finding", finding_id, forgotten_at)


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


def insert(
    connection: sqlite3.Connection, table: str, sequence: int, finding: StoredFinding
) -> None:
    """Write a finding under a sequence that was never used."""
    connection.execute(
        f"INSERT INTO {table} ({COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            sequence,
            finding.finding_id,
            finding.author,
            finding.task_id,
            finding.topic,
            finding.said_at,
            finding.tokens,
            finding.body.decode(),
            finding.run,
        ),
    )


def remove(
    connection: sqlite3.Connection, table: str, finding_id: str, forgotten_at: str
) -> int | None:
    """Remove a finding from a table and remember that it was removed; its sequence, or None."""
    row = connection.execute(
        f"DELETE FROM {table} WHERE finding_id = ? RETURNING sequence", (finding_id,)
    ).fetchone()
    if row is None:
        return None
    connection.execute("INSERT OR REPLACE INTO forgotten VALUES (?, ?)", (finding_id, forgotten_at))
    return int(row[0])


def after(
    connection: sqlite3.Connection,
    table: str,
    *,
    sequence: int,
    limit: int,
    task_id: str | None,
    run: str | None,
) -> list[StoredFinding]:
    """The findings of a table after a cursor, oldest first."""
    wanted = [("task_id", task_id), ("run", run)]
    given = [(name, value) for name, value in wanted if value is not None]
    where = "".join(f"AND {name} = ? " for name, _ in given)
    if table == "quarantined":
        where += "AND released_at IS NULL "
    rows = connection.execute(
        f"SELECT {COLUMNS} FROM {table} WHERE sequence > ? {where}ORDER BY sequence LIMIT ?",
        (sequence, *(value for _, value in given), limit),
    )
    return [stored(row) for row in rows]


def stored(
    row: tuple[int, str, str, str | None, str | None, str, int, str, str | None],
) -> StoredFinding:
    """The finding that a row of ``COLUMNS`` is."""
    return StoredFinding(*row[:7], body=row[7].encode(), run=row[8])
