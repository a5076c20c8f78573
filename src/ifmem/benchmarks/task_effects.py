"""What workers under fire did to tasks: their logs, and the check of what came of it."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from pathlib import Path

import msgspec


class Noted(StrEnum):
    """What a worker notes in its log."""

    JOINED = "joined"
    """A process began: what one before it had begun and not ended was cut short."""
    BEGAN = "began"
    """The handler began with a task."""
    RAN = "ran"
    """The handler ran to its end; its result is asked to be accepted."""
    FINISHED = "finished"
    """The completion was accepted."""
    LOST = "lost"
    """The task was another's by then, or the completion was refused."""


class Note(msgspec.Struct, frozen=True, array_like=True):
    """One line of a worker's log; times are ``stopwatch_ns``, one clock for the machine."""

    what: Noted
    at_ns: int
    task_id: str = ""
    finding_id: str = ""


class EffectLog:
    """A file that all processes of one worker, one after the other, append to."""

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def note(self, note: Note) -> None:
        """One write for each, with no buffer in the process: what was noted stays noted."""
        os.write(self._descriptor, msgspec.json.encode(note) + b"\n")

    def close(self) -> None:
        """Note nothing more."""
        os.close(self._descriptor)


def read_notes(path: Path) -> list[Note]:
    """What was noted, in order; nothing when the worker never came to write."""
    lines = path.read_bytes().splitlines() if path.exists() else []
    return [msgspec.json.decode(line, type=Note) for line in lines]


class StoredTask(msgspec.Struct, frozen=True):
    """A task as the store has it in the end."""

    task_id: str
    state: str
    finding_id: str | None = None


class Published(msgspec.Struct, frozen=True):
    """A finding as a follower of the bus saw it, also one that the store did not keep."""

    finding_id: str
    task_id: str
    is_result: bool
    """Published with a completion, in one step; else by the handler while it ran."""


class TaskEffects(msgspec.Struct, frozen=True):
    """What came of the tasks. The counts of ``violations`` must be 0."""

    posted: int
    done: int
    executions: int
    executed_again: int
    """Further executions of tasks: of those whose worker was killed, paused or too slow."""
    cut_short: int
    """Executions that ended with their process."""
    late: int
    """Completions that were asked for when the task was another's, and refused."""
    audited: int
    """Refusals in the store's audit."""
    lost: int
    """Tasks that were posted and are not done, or not in the store."""
    without_result: int
    """Done tasks whose finding the store does not have."""
    done_twice: int
    """Tasks with more than one accepted completion: as a worker was told, in the store, or as a
    follower saw for however short a time."""
    never_accepted: int
    """Done tasks of whose completion no follower saw the finding."""
    published_twice: int
    """Findings published again under the same id."""

    @property
    def violations(self) -> dict[str, int]:
        """By name, what must not be."""
        return {
            "lost": self.lost,
            "done without a result": self.without_result,
            "done twice": self.done_twice,
            "done and never published": self.never_accepted,
            "findings published twice": self.published_twice,
        }


def check(
    posted: Sequence[str],
    tasks: Iterable[StoredTask],
    stored: Iterable[Published],
    seen: Sequence[Published],
    logs: Sequence[Sequence[Note]],
    *,
    audited: int = 0,
) -> TaskEffects:
    """Compare what was acknowledged with what is there.

    Args:
        posted: the tasks whose posting was acknowledged.
        tasks: all tasks of the store.
        stored: the findings of the store.
        seen: what a follower was told, in its order, an id as often as it was published.
        logs: the notes of each worker.
        audited: refused completions in the store's audit.
    """
    by_id = {task.task_id: task for task in tasks}
    done = [one for one in posted if one in by_id and by_id[one].state == "done"]
    kept = {one.finding_id for one in stored}
    results = _results(stored, seen, logs)
    began = Counter(note.task_id for log in logs for note in log if note.what is Noted.BEGAN)
    times = Counter(one.finding_id for one in seen)
    shown = {one.task_id for one in seen if one.is_result}
    return TaskEffects(
        posted=len(posted),
        done=len(done),
        executions=began.total(),
        executed_again=began.total() - len(began),
        cut_short=sum(len(_cut_short(log)) for log in logs),
        late=sum(_late(log) for log in logs),
        audited=audited,
        lost=len(posted) - len(done),
        without_result=sum(by_id[one].finding_id not in kept for one in done),
        done_twice=sum(len(findings) > 1 for findings in results.values()),
        never_accepted=sum(one not in shown for one in done),
        published_twice=sum(count - 1 for count in times.values()),
    )


def _results(
    stored: Iterable[Published], seen: Iterable[Published], logs: Sequence[Sequence[Note]]
) -> Mapping[str, set[str]]:
    """By task, the findings of its completions: each attempt makes one of its own."""
    results: dict[str, set[str]] = {}
    for one in (*stored, *seen):
        if one.is_result:
            results.setdefault(one.task_id, set()).add(one.finding_id)
    for log in logs:
        for note in log:
            if note.what is Noted.FINISHED:
                results.setdefault(note.task_id, set()).add(note.finding_id)
    return results


def _late(log: Sequence[Note]) -> int:
    """Executions that ran to their end and were then told that the task was another's."""
    ran: set[str] = set()
    late = 0
    for note in log:
        if note.what is Noted.JOINED:
            ran.clear()
        elif note.what is Noted.RAN:
            ran.add(note.task_id)
        elif note.what in (Noted.FINISHED, Noted.LOST) and note.task_id in ran:
            ran.discard(note.task_id)
            late += note.what is Noted.LOST
    return late


def _cut_short(log: Sequence[Note]) -> list[tuple[str, int]]:
    """Task, and when the next process of the worker began, of what a process left begun.

    What the last process left is not told: nobody says when that one ended.
    """
    cut: list[tuple[str, int]] = []
    begun: set[str] = set()
    for note in log:
        match note.what:
            case Noted.JOINED:
                cut += [(task_id, note.at_ns) for task_id in begun]
                begun.clear()
            case Noted.BEGAN:
                begun.add(note.task_id)
            case Noted.FINISHED | Noted.LOST:
                begun.discard(note.task_id)
            case Noted.RAN:
                pass
    return cut


class Kill(msgspec.Struct, frozen=True):
    """A worker's process was killed."""

    worker: int
    at_ns: int


def requeue_delays(logs: Sequence[Sequence[Note]], kills: Sequence[Kill]) -> list[float]:
    """Milliseconds from a kill until each task it cut short was begun again by another process.

    A task whose completion had been accepted before the kill, unknown to its worker, is not begun
    again and has no delay.
    """
    began: dict[str, list[int]] = {}
    for log in logs:
        for note in log:
            if note.what is Noted.BEGAN:
                began.setdefault(note.task_id, []).append(note.at_ns)
    delays = []
    for worker, log in enumerate(logs):
        struck = sorted(one.at_ns for one in kills if one.worker == worker)
        for task_id, replaced_ns in _cut_short(log):
            killed_ns = max((at for at in struck if at < replaced_ns), default=None)
            if killed_ns is None:
                continue
            again = [at for at in began[task_id] if at > killed_ns]
            if again:
                delays.append((min(again) - killed_ns) / 1e6)
    return delays
