"""What was refused: appended in log order, read by whoever asks why."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass

from ifmem import clock
from ifmem.wire.log_entries import Entry


@dataclass(frozen=True, slots=True)
class AuditRow:
    """One refusal."""

    row: int
    at: str
    action: str
    actor: str
    subject: str
    reason: str


def append(connection: sqlite3.Connection, entry: Entry) -> None:
    """Remember a refusal that the bus logged; the same entry again adds nothing.

    Raises:
        Invalid: the entry lacks a field.
    """
    connection.execute(
        "INSERT OR IGNORE INTO audit (entry, at, action, actor, subject, reason) "
        "VALUES (?, ?, ?, ?, ?, ?)",
        (
            entry.id,
            clock.stamp_of_ms(entry.at_ms),
            entry.text("action"),
            entry.text("actor"),
            entry.text("subject"),
            entry.text("reason"),
        ),
    )


def note(
    connection: sqlite3.Connection,
    *,
    entry: str,
    at: str,
    action: str,
    actor: str,
    subject: str,
    reason: str,
) -> None:
    """Remember what was refused before it came to the bus; ``entry`` is any id of its own."""
    connection.execute(
        "INSERT INTO audit (entry, at, action, actor, subject, reason) VALUES (?, ?, ?, ?, ?, ?)",
        (entry, at, action, actor, subject, reason),
    )


def newest(connection: sqlite3.Connection, limit: int) -> list[AuditRow]:
    """The latest refusals, newest first."""
    rows = connection.execute(
        "SELECT row, at, action, actor, subject, reason FROM audit ORDER BY row DESC LIMIT ?",
        (limit,),
    )
    return [AuditRow(*row) for row in rows]
