"""The arbiter of tasks: what a step makes of a task, or why it cannot be.

The bus decides first, at once and for everybody. The store decides again when it commits the log,
from its own state alone, so a bus that lost its memory cannot make a task be done twice::

    decide : (task | None, event) -> task' | Refusal

Steps are counted by the task's ``revision``. One that the task has behind it changes nothing, so
a log may be read again from anywhere.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

from ifmem.domain.task import ENDED, MAX_REASONS, Reason, Task, TaskState, fence_order


class Step(StrEnum):
    """What can happen to a task."""

    POSTED = "posted"
    BLOCKED = "blocked"
    """A person is to decide something first."""
    UNBLOCKED = "unblocked"
    CLAIMED = "claimed"
    RELEASED = "released"
    ASSIST = "assist"
    FAILED = "failed"
    DONE = "done"
    EXPIRED = "expired"
    CANCELLED = "cancelled"
    REQUEUED = "requeued"


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskEvent:
    """One step as the log tells it, with the values it led to."""

    step: Step
    task_id: str
    revision: int
    at_ms: int
    state: TaskState
    worker: str = ""
    """Who did it; for an expiry the holder."""
    fence: str | None = None
    attempts: int = 0
    lease_until_ms: int | None = None
    not_before_ms: int | None = None
    reason: str = ""
    finding_id: str | None = None
    posted: Task | None = None
    """The whole task, when it is posted."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """The store's own state contradicts the step."""

    message: str
    facts: Mapping[str, str] = field(default_factory=dict)


def decide(task: Task | None, event: TaskEvent) -> Task | Refusal:
    """The task after the step; the same object when the step is behind it already."""
    if task is None:
        if event.posted is None:
            return Refusal(f"task {event.task_id} was never posted here", _facts(event))
        return event.posted
    if event.posted is not None:
        if event.posted.place == task.place:
            return task
        return Refusal(
            f"task {task.task_id} was posted before and is {task.state}: nothing was changed",
            _facts(event, task),
        )
    if event.revision <= task.revision:
        return _behind(task, event)
    if not _fits(task, event):
        return _contradiction(task, event)
    return _STEPS[event.step](task, event)


def _behind(task: Task, event: TaskEvent) -> Task | Refusal:
    """A step that the task has had; or another in its place, after the bus lost its memory."""
    if fence_order(event.fence) > fence_order(task.fence):
        return _contradiction(task, event)
    is_done_so = task.state is TaskState.DONE and task.fence == event.fence
    if event.step is Step.DONE and not is_done_so:
        return _contradiction(task, event)
    return task


def _fits(task: Task, event: TaskEvent) -> bool:
    match event.step:
        case Step.CLAIMED:
            later = fence_order(event.fence) > fence_order(task.fence)
            return later and task.state in (TaskState.PENDING, TaskState.NEEDS_ASSIST)
        case Step.DONE | Step.FAILED | Step.RELEASED | Step.ASSIST | Step.EXPIRED:
            holds = task.fence == event.fence and task.worker == event.worker
            return holds and task.state is TaskState.LEASED
        case Step.UNBLOCKED:
            return task.state is TaskState.BLOCKED
        case Step.CANCELLED | Step.BLOCKED:
            return task.state.is_open
        case Step.REQUEUED:
            ended = task.state in ENDED and task.state is not TaskState.DONE
            return ended or task.state is TaskState.NEEDS_ASSIST
        case _:
            return False


def _contradiction(task: Task, event: TaskEvent) -> Refusal:
    if event.step is Step.DONE and task.state is TaskState.DONE:
        message = f"task {task.task_id} was done by {task.worker} before: this result is not kept"
    elif event.step in (Step.DONE, Step.FAILED):
        message = (
            f"{event.worker} does not hold task {task.task_id} by fence {event.fence}: it is "
            f"{task.state}; claim it again"
        )
    else:
        message = f"task {task.task_id} is {task.state} and cannot be {event.step}"
    return Refusal(message, _facts(event, task))


def _facts(event: TaskEvent, task: Task | None = None) -> dict[str, str]:
    facts = {"task_id": event.task_id, "step": str(event.step), "fence": event.fence or ""}
    if task is not None:
        facts |= {"state": str(task.state), "holder": task.holder or ""}
    return facts


def _claimed(task: Task, event: TaskEvent) -> Task:
    return _moved(
        task,
        event,
        worker=event.worker,
        fence=event.fence,
        attempts=event.attempts,
        lease_until_ms=event.lease_until_ms,
        asked_by=None,
    )


def _given_up(task: Task, event: TaskEvent, **changes: object) -> Task:
    """The lease, if there was one, is over, with or without success."""
    return _moved(
        task,
        event,
        attempts=event.attempts,
        lease_until_ms=None,
        not_before_ms=event.not_before_ms,
        asked_by=event.worker if event.step is Step.ASSIST else None,
        **changes,
    )


def _finished(task: Task, event: TaskEvent) -> Task:
    return _given_up(task, event, result_finding_id=event.finding_id)


def _cancelled(task: Task, event: TaskEvent) -> Task:
    return _moved(task, event, lease_until_ms=None, not_before_ms=None, asked_by=None)


def _requeued(task: Task, event: TaskEvent) -> Task:
    return _moved(
        task, event, attempts=0, not_before_ms=None, asked_by=None, result_finding_id=None
    )


def _moved(task: Task, event: TaskEvent, **changes: object) -> Task:
    reasons = task.reasons
    if event.reason:
        said = Reason(
            attempt=task.attempts, worker=event.worker, reason=event.reason, at_ms=event.at_ms
        )
        reasons = (*reasons, said)[-MAX_REASONS:]
    changes.setdefault("not_before_ms", None)
    return replace(
        task,
        state=event.state,
        event=str(event.step),
        revision=event.revision,
        reasons=reasons,
        ended_at_ms=event.at_ms if event.state in ENDED else None,
        **changes,  # type: ignore[arg-type]
    )


_STEPS: Mapping[Step, Callable[[Task, TaskEvent], Task]] = {
    Step.CLAIMED: _claimed,
    Step.RELEASED: _given_up,
    Step.ASSIST: _given_up,
    Step.EXPIRED: _given_up,
    Step.FAILED: _finished,
    Step.DONE: _finished,
    Step.BLOCKED: _given_up,
    Step.UNBLOCKED: _moved,
    Step.CANCELLED: _cancelled,
    Step.REQUEUED: _requeued,
}
