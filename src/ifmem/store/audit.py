"""The audit: every write, refusal, grant and decision, in the transaction of what it tells."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from typing import Final, Literal

from ifmem import clock
from ifmem.engine.masking import mask
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


_COLUMNS = "row, at, type, severity, action, actor, subject, reason, task_id, seal"
_INSERT = """
    INSERT OR IGNORE INTO audit
        (row, entry, at, type, severity, action, actor, subject, reason, task_id, seal)
    VALUES (
        (SELECT ifnull(max(row), 0) + 1 + :left_out FROM audit),
        :entry, :at, :type, :severity, :action, :actor, :subject, :reason, :task_id,
        audit_seal(
            (SELECT CAST(seal AS BLOB) FROM audit ORDER BY row DESC LIMIT 1),
            (SELECT ifnull(max(row), 0) + 1 + :left_out FROM audit),
            :entry, :at, :type, :severity, :action, :actor, :subject, :reason, :task_id
        )
    )
"""
_TASK_STEPS = ("renew_task", "finish_task", "release_task", "cancel_task", "requeue_task")
"""What the bus refuses of tasks: the subject is the task."""


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
    seal: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which rows; what is None lets all through."""

    actor: str | None = None
    task_id: str | None = None
    since: str | None = None
    until: str | None = None
    type: Type | None = None
    severity: Severity | None = None
    action: str | None = None
    subject: str | None = None


def append(connection: sqlite3.Connection, entry: Entry) -> None:
    """Remember what the bus refused or decided; the same entry again adds nothing.

    Raises:
        Invalid: the entry lacks a field.
    """
    # Whoever writes past our functions can put anything there.
    action, subject, actor, reason = (
        mask(entry.text(name)).text for name in ("action", "subject", "actor", "reason")
    )
    is_decision = action == "message-expired"
    note(
        connection,
        entry=entry.id,
        at=clock.stamp_of_ms(entry.at_ms),
        type=DECISION if is_decision else REFUSAL,
        action=action,
        actor=actor,
        subject=subject,
        reason=reason,
        task_id=subject if action in _TASK_STEPS else None,
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
    left_out: int = 0,
) -> None:
    """Add a row, sealed with the one before it; the same ``entry`` again adds nothing.

    Args:
        connection: of the transaction that does what the row tells: the writer's of a store.
        entry: any id of its own: what is done again after a crash has the same.
        at: when, as the store writes moments.
        action: the verb.
        actor: who did it, or tried to.
        subject: the id of what it was done to; never content.
        reason: why, or how; masked by the caller, never content.
        type: what kind of row.
        severity: how much it matters to who reads the audit.
        task_id: the task it belongs to.
        left_out: numbers to leave out before it, where rows are missing.
    """
    # Numbered here, not by SQLite, which leaves a number out for each entry it has already.
    connection.execute(
        _INSERT,
        {
            "entry": entry,
            "at": at,
            "type": type,
            "severity": severity,
            "action": action,
            "actor": actor,
            "subject": subject,
            "reason": reason,
            "task_id": task_id,
            "left_out": left_out,
        },
    )


def newest(connection: sqlite3.Connection, limit: int) -> list[AuditRow]:
    """The latest rows, newest first."""
    rows = connection.execute(f"SELECT {_COLUMNS} FROM audit ORDER BY row DESC LIMIT ?", (limit,))
    return [AuditRow(*row) for row in rows]


def page(
    connection: sqlite3.Connection,
    wanted: Wanted,
    *,
    before: tuple[str, int] | None = None,
    limit: int = 100,
) -> list[AuditRow]:
    """Rows in order of their time, newest first.

    Args:
        connection: a reader's.
        wanted: the filters.
        before: time and number of the last row of the page before.
        limit: at most so many.
    """
    statement, values = question(wanted, before)
    return [AuditRow(*row) for row in connection.execute(statement, {**values, "limit": limit})]


def question(wanted: Wanted, before: tuple[str, int] | None) -> tuple[str, dict[str, object]]:
    """The statement that ``page`` runs, which an index answers whatever is wanted."""
    values: dict[str, object] = {}
    where = []
    for name in ("actor", "task_id", "action", "subject", "type", "severity"):
        value = getattr(wanted, name)
        if value is not None:
            where.append(f"{name} = :{name}")
            values[name] = value
    # Most rows are of these two kinds: the indexes leave them out, and are used if told so.
    if wanted.type not in (None, WRITE):
        where.append("type <> 'write'")
    if wanted.severity not in (None, INFO):
        where.append("severity <> 'info'")
    for name, sign, moment in (("since", ">=", wanted.since), ("until", "<", wanted.until)):
        if moment is not None:
            where.append(f"at {sign} :{name}")
            values[name] = moment
    if before is not None:
        where.append("(at, row) < (:before_at, :before_row)")
        values |= {"before_at": before[0], "before_row": before[1]}
    clause = f"WHERE {' AND '.join(where)} " if where else ""
    statement = f"SELECT {_COLUMNS} FROM audit {clause}ORDER BY at DESC, row DESC LIMIT :limit"
    return statement, values
