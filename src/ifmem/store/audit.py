"""The audit: every write, refusal, grant and decision, in the transaction of what it tells."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from typing import Final, Literal

from ifmem import clock
from ifmem.wire.log_entries import Entry

Type = Literal["write", "refusal", "grant", "decision"]
Severity = Literal["info", "warning", "critical"]
WRITE: Final = "write"
REFUSAL: Final = "refusal"
GRANT: Final = "grant"
DECISION: Final = "decision"
INFO: Final = "info"
WARNING: Final = "warning"
CRITICAL: Final = "critical"


@dataclass(frozen=True, slots=True)
class AuditRow:
    """One row."""

    row: int
    at: str
    type: str
    severity: str
    action: str
    actor: str
    subject: str
    reason: str
    task_id: str | None


def append(connection: sqlite3.Connection, entry: Entry) -> None:
    """Remember a refusal that the bus logged; the same entry again adds nothing.

    Raises:
        Invalid: the entry lacks a field.
    """
    note(
        connection,
        entry=entry.id,
        at=clock.stamp_of_ms(entry.at_ms),
        action=entry.text("action"),
        actor=entry.text("actor"),
        subject=entry.text("subject"),
        reason=entry.text("reason"),
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
    type: Type = REFUSAL,
    severity: Severity = WARNING,
    task_id: str | None = None,
) -> None:
    """Add a row; the same ``entry`` again adds nothing.

    Args:
        connection: of the transaction that does what the row tells.
        entry: any id of its own: what is done again after a crash has the same.
        at: when, as the store writes moments.
        action: the verb.
        actor: who did it, or tried to.
        subject: the id of what it was done to; never content.
        reason: why, or how; masked by the caller, never content.
        type: what kind of row.
        severity: how much it matters to who reads the audit.
        task_id: the task it belongs to.
    """
    connection.execute(
        "INSERT OR IGNORE INTO audit "
        "(entry, at, type, severity, action, actor, subject, reason, task_id) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (entry, at, type, severity, action, actor, subject, reason, task_id),
    )


def newest(connection: sqlite3.Connection, limit: int) -> list[AuditRow]:
    """The latest rows, newest first."""
    rows = connection.execute(
        "SELECT row, at, type, severity, action, actor, subject, reason, task_id "
        "FROM audit ORDER BY row DESC LIMIT ?",
        (limit,),
    )
    return [AuditRow(*row) for row in rows]
