"""Tasks in the store: the log applied, contradictions told, lists and rebuilds served."""

from __future__ import annotations

import sqlite3
import uuid
from typing import Any

import pytest

from ifmem.domain.task import NewTask, Task, TaskState
from ifmem.store import tasks
from ifmem.store.database import Database
from ifmem.store.tasks import Applied
from ifmem.wire import task_json
from ifmem.wire.log_entries import Entry


class Log:
    """Writes entries as the functions on the server do."""

    def __init__(self) -> None:
        self.count = 0

    def entry(self, event: str, number: int, revision: int, state: str, **more: Any) -> Entry:
        self.count += 1
        fields = {
            "kind": "task",
            "event": event,
            "id": task_id(number),
            "revision": revision,
            "state": state,
            "attempts": 0,
            **more,
        }
        encoded = {
            name: value if isinstance(value, bytes) else str(value).encode()
            for name, value in fields.items()
        }
        return Entry(f"5000-{self.count}", "task", 5_000 + self.count, encoded)

    def posted(self, number: int, *, state: str = "pending", **more: Any) -> Entry:
        body = task_json.body_of(NewTask(task_id=task_id(number), title=f"task {number}"))
        fields = {
            "run": "-",
            "priority": 5,
            "max_attempts": 3,
            "place": number,
            "body": body,
            **more,
        }
        return self.entry("posted", number, 1, state, **fields)

    def claimed(self, number: int, *, fence: str = "1-1", revision: int = 2) -> Entry:
        lease = {"worker": "ada", "fence": fence, "attempts": 1, "lease_until": 9_000}
        return self.entry("claimed", number, revision, "leased", **lease)

    def done(self, number: int, *, fence: str = "1-1", revision: int = 3, **more: Any) -> Entry:
        held = {"worker": "ada", "fence": fence, "attempts": 1}
        return self.entry("done", number, revision, "done", **held, **more)


@pytest.fixture
def log() -> Log:
    return Log()


def task_id(number: int) -> str:
    return str(uuid.UUID(int=number))


def apply(database: Database, *entries: Entry) -> Applied:
    return database.write(lambda c: tasks.apply(c, entries)).result()


def stored(database: Database, number: int) -> Task:
    task = database.read(lambda c: tasks.get(c, task_id(number)))
    assert task is not None
    return task


def titles(found: list[tuple[int, Task]]) -> list[str]:
    return [task.title for _, task in found]


def test_steps_of_one_batch_and_of_several_lead_to_the_same_task(
    database: Database, log: Log
) -> None:
    apply(database, log.posted(1), log.claimed(1), log.done(1))
    for entry in (log.posted(2), log.claimed(2), log.done(2)):
        apply(database, entry)
    one, two = stored(database, 1), stored(database, 2)
    assert (one.state, one.worker, one.fence) == (TaskState.DONE, "ada", "1-1")
    assert (two.state, two.worker, two.fence) == (one.state, one.worker, one.fence)
    assert (one.title, two.title) == ("task 1", "task 2")


def test_a_result_is_handed_on_with_its_entry_sequence_and_body(
    database: Database, log: Log
) -> None:
    finished = log.done(1, finding_id="f-1", sequence=12, body=b'{"a":1}')
    applied = apply(database, log.posted(1), log.claimed(1), finished)
    assert applied.findings == [(finished.id, "f-1", 12, b'{"a":1}')]
    assert stored(database, 1).result_finding_id == "f-1"
    named_only = log.done(2, finding_id="f-1")
    applied = apply(database, log.posted(2), log.claimed(2), named_only)
    assert applied.findings == []
    assert stored(database, 2).result_finding_id == "f-1"


def test_a_second_completion_is_refused_and_its_finding_goes(database: Database, log: Log) -> None:
    apply(database, log.posted(1), log.claimed(1), log.done(1))
    # A bus that came back without its last minute lets another worker do it again.
    again = log.done(1, fence="1-2", finding_id="f-2", sequence=13, body=b"{}")
    applied = apply(database, log.claimed(1, fence="1-2"), again)
    assert applied.verdicts[again.id].outcome == "refused"
    assert "done by ada before" in applied.verdicts[again.id].message
    assert applied.refused_findings == ["f-2"] and applied.findings == []
    assert applied.contradicted == {task_id(1)}
    assert stored(database, 1).fence == "1-1"


def test_a_posting_of_a_task_that_long_ended_is_known(database: Database, log: Log) -> None:
    apply(database, log.posted(1), log.claimed(1), log.done(1))
    again = log.posted(1, place=50)
    applied = apply(database, again)
    assert applied.verdicts[again.id].outcome == "known"
    assert applied.contradicted == {task_id(1)}
    assert stored(database, 1).state is TaskState.DONE


@pytest.mark.parametrize(
    "damage",
    [
        {"id": b"no uuid"},
        {"event": b"danced"},
        {"state": b"asleep"},
        {"revision": b"two"},
        {"fence": b"first"},
        {"worker": b"\xff"},
        {"fence": b"\xff"},
        {"attempts": b""},
        {"place": b"x"},
        {"body": b"{"},
        {"body": b'{"title": 7}'},
        {"body": b'"\xff"'},
        {"run": None},
        {"attempts": None},
        {"revision": str(2**63).encode()},
        {"max_attempts": b"0"},
    ],
)
def test_an_entry_that_cannot_be_read_is_told_and_the_others_are_applied(
    database: Database, log: Log, damage: dict[str, bytes | None]
) -> None:
    good = log.posted(1)
    whole = {**good.fields, "id": task_id(2).encode(), **damage}
    fields = {name: value for name, value in whole.items() if value is not None}
    bad = Entry("5000-99", "task", 5_000, fields)
    applied = apply(database, bad, good)
    assert {entry: one.outcome for entry, one in applied.verdicts.items()} == {bad.id: "unreadable"}
    assert stored(database, 1).title == "task 1"


def test_an_unreadable_completion_takes_its_finding_with_it(database: Database, log: Log) -> None:
    bad = log.done(1, revision="x", finding_id="f-3", sequence=1, body=b"{}")
    assert apply(database, bad).refused_findings == ["f-3"]


def test_lists_go_by_state_and_run_page_by_page(database: Database, log: Log) -> None:
    for number in range(1, 7):
        apply(database, log.posted(number, run="-" if number % 2 else "nightly"))
    apply(database, log.claimed(1), log.claimed(2))

    def page(**asked: Any) -> list[tuple[int, Task]]:
        return database.read(lambda c: tasks.page(c, **asked))

    assert titles(page()) == [f"task {n}" for n in range(1, 7)]
    assert titles(page(state=TaskState.LEASED)) == ["task 1", "task 2"]
    assert titles(page(run="nightly")) == ["task 2", "task 4", "task 6"]
    assert titles(page(run="nightly", state=TaskState.PENDING)) == ["task 4", "task 6"]
    first = page(limit=4)
    assert titles(page(after=first[-1][0])) == ["task 5", "task 6"]


@pytest.mark.parametrize(
    "asked", [{"state": TaskState.PENDING}, {"state": TaskState.DONE, "run": "-"}, {}]
)
def test_lists_by_state_read_an_index_and_sort_nothing(
    database: Database, asked: dict[str, Any]
) -> None:
    said: list[str] = []

    def plan(connection: sqlite3.Connection) -> list[str]:
        connection.set_trace_callback(said.append)
        tasks.page(connection, **asked)
        connection.set_trace_callback(None)
        return [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {said[0]}")]

    (step,) = database.read(plan)
    assert "SEARCH" in step and "TEMP B-TREE" not in step


def test_counts_and_what_is_known_done(database: Database, log: Log) -> None:
    apply(database, *(log.posted(n) for n in range(1, 5)), log.claimed(1), log.claimed(2))
    apply(database, log.done(2))
    assert database.read(tasks.counts) == {
        TaskState.PENDING: 2,
        TaskState.LEASED: 1,
        TaskState.DONE: 1,
    }
    asked = [task_id(n) for n in (1, 2, 99)]
    assert database.read(lambda c: tasks.known_done(c, asked)) == {task_id(2)}
    assert database.read(lambda c: tasks.known_done(c, asked, run="other")) == set()
    assert database.read(tasks.last_place) == 4


def test_a_rebuild_gets_the_open_tasks_with_what_they_wait_for_and_the_last_ended(
    database: Database, log: Log
) -> None:
    waits = {"state": "blocked", "depends_on": f"{task_id(1)} {task_id(2)}"}
    apply(database, log.posted(1), log.posted(2), log.posted(3, **waits))
    apply(database, log.claimed(1), log.done(1))
    open_ones = database.read(tasks.open_tasks)
    assert {task.title: unmet for task, unmet in open_ones} == {
        "task 2": (),
        "task 3": (task_id(2),),
    }
    apply(database, log.claimed(2), log.done(2))
    (newest,) = database.read(lambda c: tasks.newest_ended(c, 1))
    assert newest[0].title == "task 2"
    (third,) = database.read(lambda c: tasks.waiting(c, [task_id(3)]))
    assert third[1] == ()


def test_leases_are_given_back_with_their_attempts_and_a_reason(
    database: Database, log: Log
) -> None:
    apply(database, log.posted(1), log.posted(2), log.claimed(1))
    given = database.write(
        lambda c: tasks.give_back_leases(c, reason="rebuilt", at_ms=8_000)
    ).result()
    assert given == 1
    task = stored(database, 1)
    assert (task.state, task.attempts, task.lease_until_ms) == (TaskState.PENDING, 1, None)
    assert [(one.attempt, one.worker, one.reason) for one in task.reasons] == [
        (1, "ada", "rebuilt")
    ]
    late = log.done(1)
    assert apply(database, late).verdicts[late.id].outcome == "refused"
    anew = log.claimed(1, fence="2-1", revision=4)
    assert apply(database, anew, log.done(1, fence="2-1", revision=5)).verdicts == {}
