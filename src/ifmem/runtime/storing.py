"""What storing a finding also does, in the same transaction."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping

from ifmem import clock
from ifmem.archive_settings import TrustSettings
from ifmem.domain.finding import Finding
from ifmem.domain.task import NO_RUN
from ifmem.runtime.believing import Consequences, believe
from ifmem.store import audit, citations, sessions
from ifmem.store.findings import StoredFinding


def on_stored(
    connection: sqlite3.Connection,
    finding: Finding,
    stored: StoredFinding,
    trust: TrustSettings,
) -> Consequences:
    """Draw the consequences of a finding that is new in the log; what is left to do elsewhere."""
    audit.note(
        connection,
        entry=f"finding:{stored.finding_id}",
        # Ours: the finding's own time is its author's word.
        at=clock.stamp(clock.now()),
        type=audit.WRITE,
        severity=audit.INFO,
        action="remember",
        actor=stored.author,
        subject=stored.finding_id,
        reason=finding.content_sha256,
        task_id=stored.task_id,
    )
    citations.fill(connection, finding, stored.sequence)
    _touch_session(connection, stored)
    return believe(connection, finding, stored, trust)


def touch_sessions(connection: sqlite3.Connection, begun: Mapping[str, str]) -> None:
    """Note that somebody works in these runs; tasks of one that has ended are cancelled later."""
    at = clock.stamp(clock.now())
    for run, worker in begun.items():
        if run != NO_RUN and not sessions.touch(connection, run, agent=worker, at=at):
            sessions.set_cleared(connection, run, None)


def _touch_session(connection: sqlite3.Connection, stored: StoredFinding) -> None:
    """The session goes on; what comes after its end is archived at once."""
    if stored.run is None or stored.run == NO_RUN:
        return
    at = clock.stamp(clock.now())
    if not sessions.touch(connection, stored.run, agent=stored.author, at=at):
        sessions.archive_late(connection, stored.sequence)
