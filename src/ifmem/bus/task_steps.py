"""What is asked of the task board and what it answers, as values; its refusals, as errors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from ifmem.bus.replies import raise_refusal, text
from ifmem.domain.finding import require_uuid
from ifmem.domain.task import Task, TaskState, fence_order, require_reason, require_worker
from ifmem.errors import NotFound, Refused, Unavailable
from ifmem.wire import task_fields


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """A step that the bus took, or had taken before."""

    task_id: str
    entry: str
    """The log entry to wait for when the step has to be durable."""
    state: TaskState
    is_new: bool
    """False when this very step was taken before: nothing was changed."""
    sequence: int | None = None
    """Of the finding that was published with it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Claimed:
    """The tasks that were leased, or how long it may take until there is one."""

    tasks: tuple[Task, ...] = ()
    entry: str | None = None
    wait_ms: int = -1
    """Until the next back-off or lease ends; -1 when none is running."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BackOff:
    """How long a failed task rests: the first time, doubled each time, at most."""

    first: timedelta = timedelta(seconds=1)
    longest: timedelta = timedelta(minutes=5)


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """A finding to publish with the completion, as ``publish`` takes it."""

    finding_id: str
    body: bytes
    head: str
    hidden: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Finish:
    """A completion that a holder asks for.

    Raises:
        Invalid: a name, the fence or the reason breaks its rule.
    """

    task_id: str
    worker: str
    fence: str
    done: bool = True
    reason: str = ""
    final: bool = False
    """Failed for good: no further attempt."""
    back_off: BackOff = BackOff()
    result: Result | None = None

    def __post_init__(self) -> None:
        require_holder(self.task_id, self.worker, self.fence)
        require_reason(self.reason)


@dataclass(frozen=True, slots=True, kw_only=True)
class Swept:
    """What time had done."""

    reaped: int
    trimmed: int
    wait_ms: int


def require_holder(task_id: str, worker: str, fence: str) -> None:
    require_uuid(task_id)
    require_worker(worker)
    fence_order(fence)


def milliseconds(duration: timedelta) -> int:
    return round(duration.total_seconds() * 1000)


def finish_arguments(finish: Finish) -> list[str | bytes | int]:
    result = finish.result
    published: list[str | bytes] = []
    if result is not None:
        hidden = "1" if result.hidden else "0"
        published = [result.finding_id, result.body, result.head, hidden]
    failed = finish.reason or "failed without a reason"
    return [
        finish.task_id,
        finish.worker,
        finish.fence,
        "done" if finish.done else "failed",
        finish.reason if finish.done else failed,
        "1" if finish.final else "0",
        milliseconds(finish.back_off.first),
        milliseconds(finish.back_off.longest),
        *published,
    ]


def accepted(task_id: str, reply: list[Any], action: str, fence: str) -> Accepted:
    if reply[0] != "known":
        raise_unless(reply, "new", task_id, action, fence)
    sequence = text(reply[3]) if len(reply) > 3 else None
    return Accepted(
        task_id=task_id,
        entry=text(reply[1]) or "",
        state=TaskState(text(reply[2]) or ""),
        is_new=reply[0] == "new",
        sequence=int(sequence) if sequence else None,
    )


def raise_unless(reply: list[Any], expected: str, subject: str, action: str, fence: str) -> None:
    match reply[0]:
        case word if word == expected:
            return
        case "busy" | "refusing" as word:
            raise_refusal(word, reply[1:])
        case "unknown":
            raise NotFound(f"there is no task {subject} on the bus", task_id=subject)
        case "refused":
            raise _refused(subject, action, fence, [text(value) or "" for value in reply[1:]])
        case other:
            raise Unavailable(f"the bus answered {action} with {other!r}: update ifmem everywhere")


def _refused(task_id: str, action: str, fence: str, about: list[str]) -> Refused:
    word, state, holder, until, *rest = about
    item = task_fields.inbox_item_among(rest[0]) if rest else None
    if word == "holder":
        message = f"task {task_id} is held by {holder}: only its holder may {action} it"
    elif word == "fence":
        message = (
            f"{fence} is not the fence of the present lease of task {task_id}: use what its last "
            "claim answered"
        )
    elif word == "expired":
        message = f"the lease of task {task_id} has ended: claim it again before you {action} it"
    elif state == TaskState.BLOCKED and item is not None:
        message = (
            f"task {task_id} is blocked by {item} in the inbox, so nobody can {action} it: once "
            f"that is resolved (`ifmem inbox show {item}`) it can be claimed again"
        )
    elif action in ("cancel", "requeue"):
        message = f"task {task_id} is {state}: there is nothing to {action}"
    else:
        by = f" by {holder}" if state == "done" and holder else ""
        message = f"task {task_id} is {state}{by}, not leased: claim a task before you {action} it"
    facts = {"task_id": task_id, "refused": word, "state": state, "fence": fence}
    return Refused(
        message,
        **facts,
        inbox_item=item,
        holder=holder if state == TaskState.LEASED else None,
        lease_until_ms=int(until) if until else None,
    )


def read_task(row: Sequence[bytes]) -> Task:
    *values, task_id = row
    return task_fields.from_fields(
        task_id.decode(), dict(zip(task_fields.FIELDS, values, strict=True))
    )
