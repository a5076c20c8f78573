"""Taking the findings of an export into a store, with all that is derived from what they say."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from ifmem.domain.finding import Finding
from ifmem.engine import policy
from ifmem.engine.conflicts import folded, states
from ifmem.store import citations, conflicts, findings, repetitions, tombstones
from ifmem.store.imports import Tally, in_groups
from ifmem.wire.exports import FindingRow, QuarantinedRow

Given = tuple[FindingRow, Finding]
"""A row, and the finding that its body is."""
Held = tuple[QuarantinedRow, Finding]
Some = TypeVar("Some", Given, Held)

_COLUMNS = "sequence, finding_id, author, task_id, topic, said_at, tokens, body, run"
_FINDING = f"INSERT INTO finding ({_COLUMNS}, archived) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
_QUARANTINED = (
    f"INSERT INTO quarantined ({_COLUMNS}, released_as, released_at) "
    "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
_GONE = 0
"""The sequence of no finding: what superseded one was forgotten since."""


@dataclass
class Sequences:
    """What was stored and can be found, by its sequence here."""

    live: list[int] = field(default_factory=list)
    archived: list[int] = field(default_factory=list)
    tokens: int = 0


def take_findings(
    connection: sqlite3.Connection, rows: Iterable[Given], tally: Tally, *, restore: bool
) -> Sequences:
    """Store those that are new: with their sequences, or behind all that were ever used."""
    stored = Sequences()
    superseded: list[tuple[str | None, str | None, int]] = []
    is_blocked = _blocked(connection)
    for some in in_groups(rows):
        new = _new(connection, some, tally, is_blocked)
        behind = findings.last_sequence(connection)
        values = []
        for place, (row, finding) in enumerate(new, 1):
            sequence = row.sequence if restore else behind + place
            values.append((*_columns(sequence, finding, row.body), row.archived))
            stored.tokens += finding.tokens
            if row.superseded_at is not None:
                superseded.append((row.superseded_by, row.superseded_at, sequence))
            else:
                (stored.archived if row.archived else stored.live).append(sequence)
        connection.executemany(_FINDING, values)
        for (row, finding), (sequence, *_) in zip(new, values, strict=True):
            _derive(connection, finding, sequence, current=row.superseded_at is None)
        tally.new += len(new)
    connection.executemany(
        "UPDATE finding SET superseded_by = "
        f"coalesce((SELECT sequence FROM finding WHERE finding_id = ?), {_GONE}), "
        "superseded_at = ? WHERE sequence = ?",
        superseded,
    )
    return stored


def take_quarantined(
    connection: sqlite3.Connection, rows: Iterable[Held], tally: Tally, *, restore: bool
) -> None:
    """The same for those that wait for somebody to release them."""
    is_blocked = _blocked(connection)
    for some in in_groups(rows):
        new = _new(connection, some, tally, is_blocked)
        behind = findings.last_sequence(connection)
        values = []
        for place, (row, finding) in enumerate(new, 1):
            sequence = row.sequence if restore else behind + place
            columns = _columns(sequence, finding, row.body)
            values.append((*columns, row.released_as, row.released_at))
        connection.executemany(_QUARANTINED, values)
        tally.new += len(new)


def _columns(sequence: int, finding: Finding, body: str) -> tuple[object, ...]:
    return (
        sequence,
        finding.finding_id,
        finding.worker_id,
        finding.task_id,
        finding.topic,
        finding.timestamp,
        finding.tokens,
        body,
        finding.session_id,
    )


def _new(
    connection: sqlite3.Connection,
    some: Sequence[Some],
    tally: Tally,
    is_blocked: Callable[[Finding], bool],
) -> list[Some]:
    """Those that are neither here nor were forgotten."""
    marks = ", ".join("?" * len(some))
    ids = [finding.finding_id for _, finding in some]
    held: dict[str, str] = {}
    for table in ("quarantined", "finding"):
        held |= connection.execute(
            f"SELECT finding_id, body FROM {table} WHERE finding_id IN ({marks})", ids
        ).fetchall()
    new = []
    for one in some:
        row, finding = one
        if finding.finding_id in held:
            if held[finding.finding_id] == row.body:
                tally.known += 1
            else:
                tally.differs(finding.finding_id)
        elif is_blocked(finding):
            tally.blocked += 1
        else:
            new.append(one)
    return new


def _blocked(connection: sqlite3.Connection) -> Callable[[Finding], bool]:
    """Tells what was forgotten here; looks only where anything was."""
    some = connection.execute("SELECT 1 FROM forgotten LIMIT 1").fetchone() is not None
    sessions = tombstones.any_of(connection, tombstones.SESSION)

    def is_blocked(finding: Finding) -> bool:
        if some and tombstones.blocked(connection, tombstones.FINDING, finding.finding_id):
            return True
        run = finding.session_id if sessions else None
        return run is not None and tombstones.blocked(connection, tombstones.SESSION, run)

    return is_blocked


def _derive(
    connection: sqlite3.Connection, finding: Finding, sequence: int, *, current: bool
) -> None:
    """Write what is computed from a finding alone. What followed from it when it was first stored
    - conflicts, items, sessions - comes with the export."""
    if finding.citations:
        citations.fill(connection, finding, sequence)
    repetitions.add(connection, sequence, policy.mark(finding))
    if current and states(finding):
        conflicts.state(
            connection,
            sequence,
            topic=folded(finding.topic),
            unit=folded(finding.unit),
            value=finding.value,
        )
