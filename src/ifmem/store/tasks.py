"""Tasks in the store: the log applied through the arbiter, lists, and what a rebuild needs."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from ifmem import clock
from ifmem.domain.task import Task, TaskState
from ifmem.engine.tasks import Refusal, Step, decide
from ifmem.errors import Invalid
from ifmem.store import audit_notes, inbox
from ifmem.wire import task_fields, task_json
from ifmem.wire.log_entries import Entry, Verdict

_COLUMNS = (
    "task_id",
    "run",
    "state",
    "priority",
    "place",
    "attempts",
    "max_attempts",
    "worker",
    "fence",
    "lease_until_ms",
    "not_before_ms",
    "asked_by",
    "depends_on",
    "finding_id",
    "reasons",
    "posted_at_ms",
    "ended_at_ms",
    "revision",
    "event",
    "body",
)
_NAMES = ", ".join(_COLUMNS)
_INSERT = f"INSERT INTO task ({_NAMES}) VALUES ({', '.join('?' * len(_COLUMNS))})"
_STEPPED = (
    *("state", "attempts", "worker", "fence", "lease_until_ms", "not_before_ms", "asked_by"),
    *("finding_id", "reasons", "ended_at_ms", "revision", "event"),
)
"""Columns that a step can change."""
_UPDATE = f"UPDATE task SET {', '.join(f'{name} = ?' for name in _STEPPED)} WHERE task_id = ?"
_GIVEN_BACK = """
    UPDATE task SET state = 'pending', event = 'expired', lease_until_ms = NULL,
        revision = revision + 1,
        reasons = reasons || iif(reasons = '', '', char(10)) || json_object(
            'attempt', attempts, 'worker', worker, 'reason', ?, 'at', ?)
    WHERE state = 'leased'
"""
_PLACES_LOOKED_AT = 20_000
_BEGINS = frozenset((Step.POSTED, Step.CLAIMED, Step.REQUEUED))

Waiting = tuple[Task, tuple[str, ...]]
"""A task, and what it still waits for: tasks, and items of the inbox."""


@dataclass(frozen=True, slots=True)
class Applied:
    """What the store made of entries of the log."""

    verdicts: dict[str, Verdict] = field(default_factory=dict)
    """By entry, where the answer is not simply yes."""
    findings: list[tuple[str, str, int, bytes]] = field(default_factory=list)
    """Entry, finding id, sequence and body of each result to store."""
    refused_findings: list[str] = field(default_factory=list)
    """Results of completions that do not stand: they are to be taken off the bus."""
    contradicted: set[str] = field(default_factory=set)
    """Tasks that the bus has otherwise: ``TaskBoard.correct`` puts them right."""
    begun: dict[str, str] = field(default_factory=dict)
    """By run who posted, claimed or requeued a task of it, the last one."""


def apply(connection: sqlite3.Connection, entries: Sequence[Entry]) -> Applied:
    """Apply entries of kind ``task`` in their order; applying them again changes nothing."""
    applied = Applied()
    events = []
    for entry in entries:
        try:
            result = task_fields.read_result(entry)
            events.append((entry, task_fields.read_event(entry), result))
        except Invalid as error:
            applied.verdicts[entry.id] = Verdict("unreadable", error.message)
            _refuse_finding(applied, entry)
    before = _by_id(connection, {event.task_id for _, event, _ in events})
    tasks = dict(before)
    for entry, event, result in events:
        outcome = decide(tasks.get(event.task_id), event)
        if isinstance(outcome, Refusal):
            word = "known" if event.posted is not None else "refused"
            applied.verdicts[entry.id] = Verdict(word, outcome.message, dict(outcome.facts))
            applied.contradicted.add(event.task_id)
            _refuse_finding(applied, entry)
            if event.posted is None:
                audit_notes.task_refused(connection, entry, event, outcome)
            continue
        if outcome is not tasks.get(event.task_id):
            audit_notes.task_stepped(connection, entry, event, outcome)
        tasks[event.task_id] = outcome
        if event.step in _BEGINS:
            applied.begun[outcome.run] = event.worker
        if result is not None:
            applied.findings.append((entry.id, *result))
    _write(connection, before, tasks)
    return applied


def get(connection: sqlite3.Connection, task_id: str) -> Task | None:
    """The task of that id."""
    return _by_id(connection, (task_id,)).get(task_id)


def page(
    connection: sqlite3.Connection,
    *,
    state: TaskState | None = None,
    run: str | None = None,
    after: int = 0,
    limit: int = 100,
) -> list[tuple[int, Task]]:
    """Tasks after a number, each with its own, in the order they were posted."""
    where, values = ["number > ?"], [after]
    asked: list[Any] = []
    for name, value in (("run", run), ("state", state)):
        if value is not None:
            where.append(f"{name} = ?")
            asked.append(str(value))
    rows = connection.execute(
        f"SELECT number, {_NAMES} FROM task WHERE {' AND '.join(where)} ORDER BY number LIMIT ?",
        (*values, *asked, limit),
    )
    return [(row[0], _task(row[1:])) for row in rows]


def counts(connection: sqlite3.Connection) -> dict[TaskState, int]:
    """How many tasks there are in each state. Reads an index from end to end: once, at a start."""
    rows = connection.execute("SELECT state, count(*) FROM task GROUP BY state")
    return {TaskState(state): number for state, number in rows}


def known_done(
    connection: sqlite3.Connection, ids: Collection[str], *, run: str | None = None
) -> set[str]:
    """Those of the tasks, of this run if one is given, that are done."""
    rows = connection.execute(
        "SELECT task_id FROM task WHERE state = 'done' AND run = ifnull(?, run) AND task_id IN "
        "(SELECT value FROM json_each(?))",
        (run, _json(ids)),
    )
    return {row[0] for row in rows}


def give_back_leases(connection: sqlite3.Connection, *, reason: str, at_ms: int) -> int:
    """Before a rebuild: leased tasks are pending again, their attempts kept; how many.

    Belongs into the transaction that advances the epoch: nobody can finish by an old fence then.
    """
    leased = connection.execute(
        "SELECT task_id, worker, revision FROM task WHERE state = 'leased'"
    ).fetchall()
    at = clock.stamp_of_ms(at_ms)
    audit_notes.tasks_given_back(connection, leased, reason=reason, at=at)
    return connection.execute(_GIVEN_BACK, (reason, at_ms)).rowcount


def open_tasks(connection: sqlite3.Connection) -> list[Waiting]:
    """All tasks that have not ended, for a rebuild of the bus."""
    states = [str(state) for state in TaskState if state.is_open]
    marks = ", ".join("?" * len(states))
    rows = connection.execute(f"SELECT {_NAMES} FROM task WHERE state IN ({marks})", states)
    return _waiting(connection, [_task(row) for row in rows])


def open_of_run(connection: sqlite3.Connection, run: str) -> list[str]:
    """The tasks of a run that have not ended, the last posted first."""
    states = [str(state) for state in TaskState if state.is_open]
    marks = ", ".join("?" * len(states))
    rows = connection.execute(
        f"SELECT task_id FROM task WHERE run = ? AND state IN ({marks}) ORDER BY number DESC",
        (run, *states),
    )
    return [str(row[0]) for row in rows]


def counts_of_run(connection: sqlite3.Connection, run: str) -> dict[str, int]:
    """How many tasks of a run are in each state."""
    rows = connection.execute(
        "SELECT state, count(*) FROM task WHERE run = ? GROUP BY state ORDER BY state", (run,)
    )
    return {str(state): int(number) for state, number in rows}


def workers_of_run(connection: sqlite3.Connection, run: str) -> list[str]:
    """Who worked in a run, and holds no task of another now."""
    rows = connection.execute(
        "SELECT worker FROM task WHERE run = ?1 AND worker IS NOT NULL "
        "UNION SELECT author FROM finding WHERE run = ?1 "
        "EXCEPT SELECT worker FROM task WHERE state = 'leased' AND run <> ?1",
        (run,),
    )
    return [str(row[0]) for row in rows]


def newest_ended(connection: sqlite3.Connection, limit: int) -> list[Waiting]:
    """The tasks that ended last, for a rebuild of the bus."""
    rows = connection.execute(
        f"SELECT {_NAMES} FROM task WHERE ended_at_ms IS NOT NULL "
        "ORDER BY ended_at_ms DESC LIMIT ?",
        (limit,),
    )
    return _waiting(connection, [_task(row) for row in rows])


def waiting(connection: sqlite3.Connection, ids: Collection[str]) -> list[Waiting]:
    """These tasks with what they still wait for, to put them right on the bus."""
    return _waiting(connection, list(_by_id(connection, ids).values()))


def last_place(connection: sqlite3.Connection) -> int:
    """The highest place given: among the last posted, for a bus that forgot may count again."""
    (place,) = connection.execute(
        "SELECT max(place) FROM (SELECT place FROM task ORDER BY number DESC LIMIT ?)",
        (_PLACES_LOOKED_AT,),
    ).fetchone()
    return int(place or 0)


def _waiting(connection: sqlite3.Connection, tasks: list[Task]) -> list[Waiting]:
    if not tasks:
        return []
    met = known_done(connection, {other for task in tasks for other in task.depends_on})
    items = inbox.blocking(connection, _json(task.task_id for task in tasks))
    return [
        (
            task,
            (
                *(one for one in task.depends_on if one not in met),
                *(task_fields.INBOX + one for one in items.get(task.task_id, ())),
            ),
        )
        for task in tasks
    ]


def _by_id(connection: sqlite3.Connection, ids: Collection[str]) -> dict[str, Task]:
    rows = connection.execute(
        f"SELECT {_NAMES} FROM task WHERE task_id IN (SELECT value FROM json_each(?))",
        (_json(ids),),
    )
    return {row[0]: _task(row) for row in rows}


def _write(connection: sqlite3.Connection, before: dict[str, Task], after: dict[str, Task]) -> None:
    new = [_row(task) for task_id, task in after.items() if task_id not in before]
    changed = [
        _stepped(task)
        for task_id, task in after.items()
        if task_id in before and task is not before[task_id]
    ]
    connection.executemany(_INSERT, new)
    connection.executemany(_UPDATE, changed)


def _refuse_finding(applied: Applied, entry: Entry) -> None:
    if "sequence" in entry.fields and "finding_id" in entry.fields:
        applied.refused_findings.append(entry.fields["finding_id"].decode("utf-8", "replace"))


def _row(task: Task) -> tuple[Any, ...]:
    return (
        task.task_id,
        task.run,
        str(task.state),
        task.priority,
        task.place,
        task.attempts,
        task.max_attempts,
        task.worker,
        task.fence,
        task.lease_until_ms,
        task.not_before_ms,
        task.asked_by,
        " ".join(task.depends_on),
        task.result_finding_id,
        task_json.reasons_to(task.reasons).decode(),
        task.posted_at_ms,
        task.ended_at_ms,
        task.revision,
        task.event,
        task_json.body_of(task).decode(),
    )


def _stepped(task: Task) -> tuple[Any, ...]:
    return (
        str(task.state),
        task.attempts,
        task.worker,
        task.fence,
        task.lease_until_ms,
        task.not_before_ms,
        task.asked_by,
        task.result_finding_id,
        task_json.reasons_to(task.reasons).decode(),
        task.ended_at_ms,
        task.revision,
        task.event,
        task.task_id,
    )


def _task(row: Sequence[Any]) -> Task:
    title, data, key, posted_by = task_json.read_body(row[19])
    return Task(
        task_id=row[0],
        run=row[1],
        state=TaskState(row[2]),
        priority=row[3],
        place=row[4],
        attempts=row[5],
        max_attempts=row[6],
        worker=row[7],
        fence=row[8],
        lease_until_ms=row[9],
        not_before_ms=row[10],
        asked_by=row[11],
        depends_on=tuple(row[12].split()),
        result_finding_id=row[13],
        reasons=task_json.reasons_from(row[14]),
        posted_at_ms=row[15],
        ended_at_ms=row[16],
        revision=row[17],
        event=row[18],
        title=title,
        data=data,
        idempotency_key=key,
        posted_by=posted_by,
    )


def _json(ids: Iterable[str]) -> str:
    return msgspec.json.encode(list(ids)).decode()
