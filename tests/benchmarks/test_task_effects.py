"""The check of tasks under fire: each thing that must not be is seen, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from ifmem.benchmarks.task_effects import (
    EffectLog,
    Kill,
    Note,
    Noted,
    Published,
    StoredTask,
    TaskEffects,
    check,
    read_notes,
    requeue_delays,
)

JOINED = Note(Noted.JOINED, 0)
SEEN = [Published("f1", "a", True), Published("f2", "b", True)]


def began(task: str, at: int = 1) -> Note:
    return Note(Noted.BEGAN, at, task)


def ran(task: str) -> Note:
    return Note(Noted.RAN, 2, task)


def finished(task: str, finding: str) -> Note:
    return Note(Noted.FINISHED, 3, task, finding)


def lost(task: str) -> Note:
    return Note(Noted.LOST, 3, task)


WELL = [
    JOINED,
    began("a"),
    ran("a"),
    finished("a", "f1"),
    began("b"),
    ran("b"),
    finished("b", "f2"),
]


def checked(
    tasks: tuple[StoredTask, ...] = (StoredTask("a", "done", "f1"), StoredTask("b", "done", "f2")),
    *,
    stored: list[Published] = SEEN,
    seen: list[Published] = SEEN,
    logs: tuple[list[Note], ...] = (WELL,),
) -> TaskEffects:
    return check(["a", "b"], tasks, stored, seen, logs)


def test_tasks_that_were_each_done_once_break_no_rule() -> None:
    effects = checked()
    assert set(effects.violations.values()) == {0}
    assert (effects.done, effects.executions, effects.executed_again) == (2, 2, 0)


@pytest.mark.parametrize(
    "tasks",
    [
        (StoredTask("a", "done", "f1"),),
        (StoredTask("a", "done", "f1"), StoredTask("b", "dead")),
        (StoredTask("a", "done", "f1"), StoredTask("b", "leased")),
    ],
    ids=["not in the store", "dead", "never finished"],
)
def test_a_posted_task_that_is_not_done_is_lost(tasks: tuple[StoredTask, ...]) -> None:
    effects = checked(tasks)
    assert {what: n for what, n in effects.violations.items() if n} == {"lost": 1}


def test_a_second_result_counts_wherever_it_shows() -> None:
    second = Published("f9", "a", True)
    for effects in (
        checked(stored=[*SEEN, second]),
        checked(seen=[*SEEN, second]),
        checked(logs=(WELL, [JOINED, began("a"), ran("a"), finished("a", "f9")])),
    ):
        assert {what: n for what, n in effects.violations.items() if n} == {"done twice": 1}


def test_what_a_handler_says_while_it_runs_is_no_result() -> None:
    step = Published("s1", "a", False)
    assert not any(checked(stored=[*SEEN, step], seen=[step, *SEEN]).violations.values())


def test_a_finding_published_again_under_its_id_is_counted() -> None:
    step = Published("s1", "a", False)
    effects = checked(seen=[step, *SEEN, step, step])
    assert {what: n for what, n in effects.violations.items() if n} == {
        "findings published twice": 2
    }


def test_a_done_task_needs_its_finding_in_the_store_and_on_the_bus() -> None:
    assert checked(stored=SEEN[:1]).violations["done without a result"] == 1
    assert checked(seen=SEEN[:1]).violations["done and never published"] == 1


def test_a_completion_is_late_only_when_its_handler_had_run() -> None:
    log = [JOINED, began("a"), lost("a"), began("b"), ran("b"), lost("b"), *WELL[1:]]
    effects = checked(logs=(log,))
    assert (effects.late, effects.executions, effects.executed_again) == (1, 4, 2)
    assert not any(effects.violations.values())


def test_what_a_killed_process_had_begun_is_cut_short_and_its_delay_ends_with_the_next() -> None:
    struck = [JOINED, began("a", 10), began("b", 12), ran("b"), finished("b", "f2")]
    struck += [Note(Noted.JOINED, 3_000_000)]
    other = [JOINED, began("a", 5_000_000), ran("a"), finished("a", "f1")]
    effects = checked(logs=(struck, other))
    assert (effects.cut_short, effects.executed_again) == (1, 1)
    assert requeue_delays([struck, other], [Kill(0, 1_000_000)]) == [4.0]


def test_a_process_that_left_by_itself_has_no_delay() -> None:
    logs = [[JOINED, began("a", 10)], [JOINED, began("a", 20)]]
    assert requeue_delays(logs, []) == []


def test_notes_of_several_processes_of_one_worker_are_read_in_order(tmp_path: Path) -> None:
    path = tmp_path / "notes"
    assert read_notes(path) == []
    for note in WELL:
        log = EffectLog(path)
        log.note(note)
        log.close()
    assert read_notes(path) == WELL
