"""What waits for a person as shapes: items of the inbox, and what is kept elsewhere."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from ifmem import clock
from ifmem.domain.finding import SpeechAct
from ifmem.domain.task import Task, TaskState
from ifmem.engine.policy import ACTS, CONFLICT, DUPLICATE
from ifmem.errors import Invalid
from ifmem.store import conflicts, findings, inbox, quarantine, repetitions, supersession, tasks
from ifmem.store.conflicts import Conflict
from ifmem.store.findings import StoredFinding
from ifmem.store.inbox import Item
from ifmem.wire import finding_json
from ifmem.wire.inbox_calls import ConflictShape, InboxCall, InboxItem, SideShape

MOST_LISTED_SIDES = 10
MOST_SHOWN = 100
_QUARANTINED, _ARCHIVE_QUERY = "quarantined", "archive_query"
_TASK_STATES = (TaskState.DEAD, TaskState.NEEDS_ASSIST)
_SHORTENED = 200

Row = tuple[int, InboxItem]


@dataclass(frozen=True, slots=True)
class Place:
    """Where a page begins: after a number in one of the sources."""

    source: str
    after: int

    def __str__(self) -> str:
        return f"{self.source}:{self.after}"

    @classmethod
    def read(cls, text: str) -> Place:
        """The place that a page named; the beginning for none.

        Raises:
            Invalid: no page named it.
        """
        if not text:
            return cls("", 0)
        source, _, after = text.partition(":")
        known = source in [one.name for one in SOURCES]
        if not (known and after.isascii() and after.isdecimal() and len(after) < 19):
            raise Invalid(f"{text[:60]!r} is no cursor: give one that a page named")
        return cls(source, int(after))


@dataclass(frozen=True, slots=True)
class Source:
    """One of the places where something waits for a person."""

    name: str
    """The pages show the sources in the order of their names."""
    kinds: tuple[str, ...]
    rows: Callable[[sqlite3.Connection, InboxCall, int, int], Iterator[Row]]


def item_shape(connection: sqlite3.Connection, item: Item, *, most: int) -> InboxItem:
    """An item with the findings that it is about."""
    sides, count = _sides(connection, item, most)
    is_conflict = item.kind == CONFLICT
    blocks = inbox.tasks_of(connection, item.item_id) if is_conflict else []
    if not blocks and item.task_id is not None and not is_conflict:
        blocks = [item.task_id]
    todo = "--keep FINDING, --both or --dismiss" if is_conflict else "--dismiss"
    return InboxItem(
        item=item.item_id,
        kind=item.kind,
        act=str(ACTS.get(item.kind, SpeechAct.ESCALATE)),
        subject=item.subject,
        rationale=item.rationale,
        opened_at=item.opened_at,
        next=f"ifmem inbox resolve {item.item_id} {todo} --reason TEXT",
        tasks=blocks,
        findings=sides,
        findings_count=count,
        outcome=item.outcome,
        closed_at=item.closed_at,
        closed_by=item.closed_by,
        reason=item.reason or None,
    )


def conflict_shape(connection: sqlite3.Connection, conflict: Conflict) -> ConflictShape:
    """A conflict with its sides."""
    sides = conflicts.sides(connection, conflict.conflict_id, most=MOST_SHOWN)
    return ConflictShape(
        conflict_id=conflict.conflict_id,
        kind=conflict.kind,
        topic=conflict.topic,
        unit=conflict.unit,
        opened_at=conflict.opened_at,
        rationale=conflict.rationale,
        sides=[_side(one.finding, one.kept, one.superseded_by) for one in sides],
        sides_count=conflicts.count_sides(connection, conflict.conflict_id),
        tasks=inbox.tasks_of(connection, conflict.conflict_id),
        outcome=conflict.outcome,
        resolved_at=conflict.resolved_at,
        resolved_by=conflict.resolved_by,
        reason=conflict.reason or None,
    )


def waiting_elsewhere(connection: sqlite3.Connection, wanted: str) -> InboxItem | None:
    """What waits for a person under this id, and is kept and decided somewhere else."""
    sequence = quarantine.sequence_of(connection, wanted)
    if sequence is not None:
        held = quarantine.since(connection, sequence=sequence - 1, limit=1)
        if held and held[0].finding_id == wanted:
            return _of_quarantined(held[0])
    task = tasks.get(connection, wanted)
    if task is not None and task.state in _TASK_STATES:
        return _of_task(task)
    row = connection.execute(f"{_KEPT_QUERIES} AND query_id = ?", (wanted,)).fetchone()
    return None if row is None else _of_query(row)


def _sides(connection: sqlite3.Connection, item: Item, most: int) -> tuple[list[SideShape], int]:
    if item.kind == CONFLICT:
        sides = conflicts.sides(connection, item.subject, most=most)
        shapes = [_side(one.finding, one.kept, one.superseded_by) for one in sides]
        return shapes, conflicts.count_sides(connection, item.subject)
    if item.kind == DUPLICATE:
        rows = repetitions.of_the_same(connection, item.subject, limit=most)
        gone = supersession.superseded_among(connection, [one.sequence for one in rows])
        shapes = [_side(one, None, _successor(gone, one.sequence)) for one in rows]
        return shapes, repetitions.count_of(connection, item.subject)
    stored = findings.by_id(connection, item.subject)
    if stored is None:
        return [], 0
    gone = supersession.superseded_among(connection, [stored.sequence])
    return [_side(stored, None, _successor(gone, stored.sequence))], 1


def _successor(gone: dict[int, str | None], sequence: int) -> str | None:
    return gone[sequence] or "" if sequence in gone else None


def _side(stored: StoredFinding, kept: bool | None, superseded_by: str | None) -> SideShape:
    finding = finding_json.parse(stored.body)
    return SideShape(
        finding_id=finding.finding_id,
        claim=finding.claim,
        value=finding.value,
        unit=finding.unit,
        confidence=finding.confidence,
        worker_id=finding.worker_id,
        timestamp=finding.timestamp,
        trust=str(finding.trust),
        citations=finding_json.citations_json(finding),
        task_id=finding.task_id,
        topic=finding.topic,
        kept=kept,
        superseded_by=superseded_by,
    )


def _items(
    connection: sqlite3.Connection, call: InboxCall, after: int, limit: int
) -> Iterator[Row]:
    rows = inbox.page(connection, everything=call.all, kind=call.kind, after=after, limit=limit)
    for one in rows:
        yield one.number, item_shape(connection, one, most=MOST_LISTED_SIDES)


def _quarantined(
    connection: sqlite3.Connection, call: InboxCall, after: int, limit: int
) -> Iterator[Row]:
    for one in quarantine.since(connection, sequence=after, limit=limit):
        yield one.sequence, _of_quarantined(one)


def _tasks(
    connection: sqlite3.Connection, call: InboxCall, after: int, limit: int
) -> Iterator[Row]:
    found: list[tuple[int, Task]] = []
    for state in _TASK_STATES:
        if call.kind in (None, str(state)):
            found += tasks.page(connection, state=state, after=after, limit=limit)
    for number, task in sorted(found, key=lambda one: one[0])[:limit]:
        yield number, _of_task(task)


def _queries(
    connection: sqlite3.Connection, call: InboxCall, after: int, limit: int
) -> Iterator[Row]:
    rows = connection.execute(
        f"{_KEPT_QUERIES} AND number > ? ORDER BY number LIMIT ?", (after, limit)
    )
    for row in rows:
        yield row[0], _of_query(row)


_KEPT_QUERIES = (
    "SELECT number, query_id, asked_at, question, not_before, reason FROM archive_query "
    "WHERE state = 'kept'"
)


def _of_quarantined(stored: StoredFinding) -> InboxItem:
    return InboxItem(
        item=stored.finding_id,
        kind=_QUARANTINED,
        act=str(SpeechAct.HOLD),
        subject=stored.finding_id,
        rationale=f"{stored.author} is not trusted: nobody gets it until somebody releases it",
        opened_at=stored.said_at,
        next=f"ifmem release {stored.finding_id}, or ifmem forget {stored.finding_id}",
        tasks=[] if stored.task_id is None else [stored.task_id],
        findings=[_side(stored, None, None)],
        findings_count=1,
    )


def _of_task(task: Task) -> InboxItem:
    last = task.reasons[-1] if task.reasons else None
    why = "" if last is None else f": {last.reason[:_SHORTENED]}"
    moment = task.ended_at_ms or (last.at_ms if last is not None else task.posted_at_ms)
    dead = task.state is TaskState.DEAD
    said = f"all {task.max_attempts} attempts failed" if dead else "who had it asks for assistance"
    requeue = f"ifmem tasks requeue {task.task_id}"
    return InboxItem(
        item=task.task_id,
        kind=str(task.state),
        act=str(SpeechAct.ESCALATE if dead else SpeechAct.REQUEST),
        subject=task.task_id,
        rationale=f"{task.title[:_SHORTENED]}: {said}{why}",
        opened_at=clock.stamp_of_ms(moment),
        next=f"ifmem tasks show {task.task_id}, then {requeue}"
        + ("" if dead else f" or ifmem tasks cancel {task.task_id}"),
        tasks=[task.task_id],
    )


def _of_query(row: Sequence[object]) -> InboxItem:
    _, query_id, asked_at, question, not_before, reason = row
    until = f" until {not_before}" if not_before else ""
    return InboxItem(
        item=str(query_id),
        kind=_ARCHIVE_QUERY,
        act=str(SpeechAct.HOLD),
        subject=str(query_id),
        rationale=f"{str(question)[:_SHORTENED]!r} is kept{until}: {reason or 'no librarian'}",
        opened_at=str(asked_at),
        next=f"ifmem ask --answer {query_id}",
    )


SOURCES = (
    Source("item", tuple(ACTS), _items),
    Source("quarantined", (_QUARANTINED,), _quarantined),
    Source("query", (_ARCHIVE_QUERY,), _queries),
    Source("task", tuple(str(state) for state in _TASK_STATES), _tasks),
)
