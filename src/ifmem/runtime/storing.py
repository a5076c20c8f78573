"""What storing a finding also does, in the same transaction."""

from __future__ import annotations

import sqlite3

from ifmem.domain.finding import Finding
from ifmem.store import audit
from ifmem.store.findings import StoredFinding


def on_stored(connection: sqlite3.Connection, finding: Finding, stored: StoredFinding) -> None:
    """Draw the consequences of a finding that is new in the log."""
    audit.note(
        connection,
        entry=f"finding:{stored.finding_id}",
        at=stored.said_at,
        type=audit.WRITE,
        severity=audit.INFO,
        action="remember",
        actor=stored.author,
        subject=stored.finding_id,
        reason=finding.content_sha256,
        task_id=stored.task_id,
    )
