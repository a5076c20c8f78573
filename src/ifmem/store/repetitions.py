"""Which findings make the same claim, by a mark of what they say."""

from __future__ import annotations

import sqlite3

from ifmem.store import findings
from ifmem.store.findings import COLUMNS_OF_F, StoredFinding


def add(connection: sqlite3.Connection, sequence: int, mark: int) -> None:
    """Remember what a finding says."""
    connection.execute("INSERT OR IGNORE INTO claim_mark VALUES (?, ?)", (sequence, mark))


def first_of(connection: sqlite3.Connection, mark: int) -> int | None:
    """The first current finding that says this."""
    row = connection.execute(
        "SELECT sequence FROM claim_mark JOIN finding USING (sequence) "
        "WHERE mark = ? AND superseded_at IS NULL ORDER BY sequence LIMIT 1",
        (mark,),
    ).fetchone()
    return None if row is None else int(row[0])


def of_the_same(
    connection: sqlite3.Connection, finding_id: str, *, limit: int
) -> list[StoredFinding]:
    """The findings that say what this one says, itself among them, oldest first."""
    rows = connection.execute(
        f"SELECT {COLUMNS_OF_F} FROM finding AS one JOIN claim_mark AS mine USING (sequence) "
        "JOIN claim_mark AS theirs ON theirs.mark = mine.mark "
        "JOIN finding AS f ON f.sequence = theirs.sequence "
        "WHERE one.finding_id = ? ORDER BY theirs.sequence LIMIT ?",
        (finding_id, limit),
    )
    return [findings.stored(row) for row in rows]


def count_of(connection: sqlite3.Connection, finding_id: str) -> int:
    """How many findings say what this one says."""
    (number,) = connection.execute(
        "SELECT count(*) FROM claim_mark WHERE mark = (SELECT mark FROM claim_mark "
        "JOIN finding USING (sequence) WHERE finding_id = ?)",
        (finding_id,),
    ).fetchone()
    return int(number)
