"""What a task may be: names, bounds, states, fences."""

from __future__ import annotations

import uuid
from datetime import timedelta
from typing import Any

import pytest

from ifmem.domain.task import (
    ENDED,
    NewTask,
    Task,
    TaskState,
    fence_order,
    require_lease,
    require_reason,
    require_run,
    require_worker,
    state_named,
)
from ifmem.errors import Invalid

ID = str(uuid.UUID(int=1))
OTHER = str(uuid.UUID(int=2))


def new(**fields: Any) -> NewTask:
    return NewTask(**{"task_id": ID, "title": "count the sheep", **fields})


def test_what_nobody_says_has_the_usual_value() -> None:
    task = new()
    assert (task.run, task.priority, task.max_attempts, task.depends_on) == ("-", 5, 3, ())


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"task_id": "7"}, "uuid"),
        ({"title": " \n"}, "title"),
        ({"title": "x" * 1_001}, "1,001 characters"),
        ({"run": "a:b"}, "run"),
        ({"run": "x" * 65}, "run"),
        ({"run": ""}, "run"),
        ({"run": "--"}, "run"),
        ({"priority": 11}, "priority"),
        ({"priority": -1}, "priority"),
        ({"max_attempts": 0}, "max_attempts"),
        ({"max_attempts": 101}, "max_attempts"),
        ({"depends_on": (ID,)}, "wait for itself"),
        ({"depends_on": (OTHER, OTHER)}, "twice"),
        ({"depends_on": ("x",)}, "uuid"),
        ({"depends_on": tuple(str(uuid.UUID(int=n)) for n in range(10, 111))}, "101 tasks"),
        ({"idempotency_key": ""}, "idempotency key"),
        ({"idempotency_key": "k" * 201}, "idempotency key"),
        ({"posted_by": "a b"}, "worker"),
    ],
)
def test_a_task_that_breaks_a_bound_is_told_which(fields: dict[str, Any], says: str) -> None:
    with pytest.raises(Invalid, match=says):
        new(**fields)


def test_the_bounds_themselves_are_allowed() -> None:
    others = tuple(str(uuid.UUID(int=n)) for n in range(10, 110))
    new(title="x" * 1_000, priority=10, max_attempts=100, run="x" * 64, depends_on=others)


@pytest.mark.parametrize("name", ["ada", "Claude-4.1_b@host", "9", "x" * 128])
def test_worker_names_stand_between_colons(name: str) -> None:
    assert require_worker(name) == name


@pytest.mark.parametrize("name", ["", "a:b", "-a", "ä", "a b", "a\n", "x" * 129, "{a}"])
def test_other_worker_names_are_refused(name: str) -> None:
    with pytest.raises(Invalid):
        require_worker(name)


@pytest.mark.parametrize("name", ["-", "nightly", "2026-01-02.build_7"])
def test_runs_have_names_or_the_dash(name: str) -> None:
    assert require_run(name) == name


def test_leases_and_reasons_have_bounds() -> None:
    for lease in (timedelta(milliseconds=99), timedelta(hours=24, seconds=1)):
        with pytest.raises(Invalid, match="a lease lasts"):
            require_lease(lease)
    assert require_lease(timedelta(minutes=10)) == timedelta(minutes=10)
    with pytest.raises(Invalid, match="2,001 characters"):
        require_reason("x" * 2_001)


def test_states_are_open_or_ended_and_the_seeds_names_are_understood() -> None:
    assert {state for state in TaskState if not state.is_open} == ENDED
    assert state_named("in_progress") is TaskState.LEASED
    assert state_named("completed") is TaskState.DONE
    assert all(state_named(str(state)) is state for state in TaskState)
    with pytest.raises(Invalid, match="no state"):
        state_named("sleeping")


def test_fences_grow_with_the_epoch_first() -> None:
    fences = ["1-1", "1-2", "1-10", "2-1"]
    assert sorted(fences, key=fence_order) == fences
    assert fence_order(None) < fence_order("0-1")
    for wrong in ("", "1", "1-", "a-1", "1-1-1", "-1-1"):
        with pytest.raises(Invalid):
            fence_order(wrong)


def test_only_a_leased_task_has_a_holder() -> None:
    leased = Task(task_id=ID, title="t", state=TaskState.LEASED, worker="ada")
    assert leased.holder == "ada"
    done = Task(task_id=ID, title="t", state=TaskState.DONE, worker="ada")
    assert done.holder is None
