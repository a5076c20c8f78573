"""Where findings disagree: what each topic's current values are, and the conflicts about them."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from ifmem.store import findings
from ifmem.store.findings import COLUMNS_OF_F, StoredFinding


@dataclass(frozen=True, slots=True)
class Stated:
    """A current finding of a topic that states a value."""

    sequence: int
    finding_id: str
    value: float
    task_id: str | None


@dataclass(frozen=True, slots=True)
class Conflict:
    """A disagreement, open while it has no outcome."""

    conflict_id: str
    kind: str
    topic: str
    unit: str
    opened_at: str
    rationale: str
    outcome: str | None
    resolved_at: str | None
    resolved_by: str | None
    reason: str | None


@dataclass(frozen=True, slots=True)
class Side:
    """A finding of a conflict."""

    finding: StoredFinding
    kept: bool | None
    """Set by a resolution."""
    superseded_by: str | None
    """The id of the newer finding, or empty when that was forgotten; None while it is current."""


_STATED = (
    "SELECT sequence, finding_id, value, task_id FROM stated JOIN finding USING (sequence) "
    "WHERE stated.topic = ? AND stated.unit = ? AND value IS NOT NULL"
)
_CONFLICT = (
    "SELECT conflict_id, kind, topic, unit, opened_at, rationale, outcome, resolved_at, "
    "resolved_by, reason FROM conflict"
)


def state(
    connection: sqlite3.Connection,
    sequence: int,
    *,
    topic: str,
    unit: str,
    value: float | None,
    to_judge: bool = False,
) -> None:
    """Count a finding among the current ones of its topic."""
    connection.execute(
        "INSERT OR IGNORE INTO stated (sequence, topic, unit, value, to_judge) "
        "VALUES (?, ?, ?, ?, ?)",
        (sequence, topic, unit, value, to_judge),
    )


def extremes(connection: sqlite3.Connection, topic: str, unit: str) -> tuple[Stated, ...]:
    """Those that state the least and the greatest value; empty when none states one.

    Two steps into an index, however many there are.
    """
    found = []
    for order in ("", " DESC"):
        # Among equal values the newest: what a further finding brings is not looked at again.
        row = connection.execute(
            f"{_STATED} ORDER BY value{order} LIMIT 1", (topic, unit)
        ).fetchone()
        if row is not None:
            found.append(Stated(*row))
    return tuple(found)


def apart_from(
    connection: sqlite3.Connection,
    topic: str,
    unit: str,
    is_apart: Callable[[float], bool],
    *,
    most: int,
) -> list[Stated]:
    """From both ends inwards, the current findings whose value is apart, at most so many."""
    found: dict[int, Stated] = {}
    for order in ("", " DESC"):
        for row in connection.execute(f"{_STATED} ORDER BY value{order}", (topic, unit)):
            one = Stated(*row)
            if len(found) >= most or one.sequence in found or not is_apart(one.value):
                break
            found[one.sequence] = one
    return list(found.values())


def open_of(connection: sqlite3.Connection, topic: str, unit: str) -> str | None:
    """The open conflict of a topic and unit."""
    row = connection.execute(
        "SELECT conflict_id FROM conflict WHERE topic = ? AND unit = ? AND outcome IS NULL",
        (topic, unit),
    ).fetchone()
    return None if row is None else str(row[0])


def open_conflict(
    connection: sqlite3.Connection,
    conflict_id: str,
    *,
    kind: str,
    topic: str,
    unit: str,
    at: str,
    rationale: str,
) -> None:
    """Open a conflict that has no sides yet."""
    connection.execute(
        "INSERT INTO conflict (conflict_id, kind, topic, unit, opened_at, rationale) "
        "VALUES (?, ?, ?, ?, ?, ?)",
        (conflict_id, kind, topic, unit, at, rationale),
    )


def add_sides(connection: sqlite3.Connection, conflict_id: str, finding_ids: Iterable[str]) -> None:
    """Make findings sides of a conflict; those that are stay so."""
    connection.executemany(
        "INSERT OR IGNORE INTO conflict_side (conflict_id, finding_id) VALUES (?, ?)",
        [(conflict_id, one) for one in finding_ids],
    )


def get(connection: sqlite3.Connection, conflict_id: str) -> Conflict | None:
    """The conflict of that id."""
    row = connection.execute(f"{_CONFLICT} WHERE conflict_id = ?", (conflict_id,)).fetchone()
    return None if row is None else Conflict(*row)


def page(
    connection: sqlite3.Connection,
    *,
    everything: bool,
    topic: str | None,
    after: tuple[str, str],
    limit: int,
) -> list[Conflict]:
    """Conflicts after one, oldest first; the resolved ones too when everything is asked for.

    Args:
        after: when the last one of the page before was opened, and its id.
    """
    where, values = ["(opened_at, conflict_id) > (?, ?)"], list(after)
    if not everything:
        where.append("outcome IS NULL")
    if topic is not None:
        where.append("topic = ?")
        values.append(topic)
    rows = connection.execute(
        f"{_CONFLICT} WHERE {' AND '.join(where)} ORDER BY opened_at, conflict_id LIMIT ?",
        (*values, limit),
    )
    return [Conflict(*row) for row in rows]


def sides(connection: sqlite3.Connection, conflict_id: str, *, most: int = -1) -> list[Side]:
    """The findings of a conflict in the order they were stored."""
    rows = connection.execute(
        f"SELECT {COLUMNS_OF_F}, s.kept, f.superseded_at, newer.finding_id FROM conflict_side AS s "
        "JOIN finding AS f ON f.finding_id = s.finding_id "
        "LEFT JOIN finding AS newer ON newer.sequence = f.superseded_by "
        "WHERE s.conflict_id = ? ORDER BY f.sequence LIMIT ?",
        (conflict_id, most),
    )
    return [
        Side(
            findings.stored(row[:-3]),
            None if row[-3] is None else bool(row[-3]),
            None if row[-2] is None else row[-1] or "",
        )
        for row in rows
    ]


def count_sides(connection: sqlite3.Connection, conflict_id: str) -> int:
    """How many findings a conflict has."""
    (number,) = connection.execute(
        "SELECT count(*) FROM conflict_side WHERE conflict_id = ?", (conflict_id,)
    ).fetchone()
    return int(number)


def close(
    connection: sqlite3.Connection,
    conflict_id: str,
    *,
    outcome: str,
    at: str,
    by: str,
    reason: str,
    kept: Sequence[str] = (),
) -> None:
    """Resolve an open conflict; ``kept`` are the sides that stand."""
    connection.execute(
        "UPDATE conflict SET outcome = ?, resolved_at = ?, resolved_by = ?, reason = ? "
        "WHERE conflict_id = ?",
        (outcome, at, by, reason, conflict_id),
    )
    marks = ", ".join("?" * len(kept))
    connection.execute(
        f"UPDATE conflict_side SET kept = finding_id IN ({marks}) WHERE conflict_id = ?",
        (*kept, conflict_id),
    )


def of_few_sides(connection: sqlite3.Connection) -> list[str]:
    """Open conflicts that forgetting has left with nothing to decide."""
    rows = connection.execute(
        "SELECT conflict_id FROM conflict AS c WHERE outcome IS NULL AND 2 > "
        "(SELECT count(*) FROM (SELECT 1 FROM conflict_side AS s "
        "WHERE s.conflict_id = c.conflict_id LIMIT 2))"
    )
    return [row[0] for row in rows]


def to_judge(connection: sqlite3.Connection, limit: int) -> list[tuple[StoredFinding, str, str]]:
    """Findings that a model has still to compare, oldest first, with their topic and unit."""
    rows = connection.execute(
        f"SELECT {COLUMNS_OF_F}, stated.topic, stated.unit FROM stated "
        "JOIN finding AS f USING (sequence) WHERE to_judge = 1 ORDER BY stated.sequence LIMIT ?",
        (limit,),
    )
    return [(findings.stored(row[:-2]), row[-2], row[-1]) for row in rows]


def judged(connection: sqlite3.Connection, sequence: int) -> None:
    """A model has compared a finding."""
    connection.execute("UPDATE stated SET to_judge = 0 WHERE sequence = ?", (sequence,))


def are_current(connection: sqlite3.Connection, sequences: Sequence[int]) -> bool:
    """Whether all of these findings are still said of their topics."""
    marks = ", ".join("?" * len(sequences))
    (number,) = connection.execute(
        f"SELECT count(*) FROM stated WHERE sequence IN ({marks})", sequences
    ).fetchone()
    return bool(number == len(sequences))


def current_of(
    connection: sqlite3.Connection, topic: str, *, before: int, limit: int
) -> list[StoredFinding]:
    """The newest current findings of a topic that were stored before one."""
    rows = connection.execute(
        f"SELECT {COLUMNS_OF_F} FROM stated JOIN finding AS f USING (sequence) "
        "WHERE stated.topic = ? AND stated.sequence < ? ORDER BY stated.sequence DESC LIMIT ?",
        (topic, before, limit),
    )
    return [findings.stored(row) for row in rows]
