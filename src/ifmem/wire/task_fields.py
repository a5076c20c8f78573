"""Tasks as the fields of the hash on the bus, and their steps as entries of the log."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from ifmem.domain.finding import require_uuid
from ifmem.domain.task import NewTask, Task, TaskState, fence_order
from ifmem.engine.tasks import Step, TaskEvent
from ifmem.errors import Invalid
from ifmem.wire.log_entries import Entry
from ifmem.wire.task_json import body_of, read_body, reasons_from, reasons_to

FIELDS = (
    "state",
    "run",
    "priority",
    "place",
    "attempts",
    "max_attempts",
    "holder",
    "fence",
    "lease_until",
    "not_before",
    "posted_at",
    "ended_at",
    "depends_on",
    "unmet",
    "finding",
    "asked_by",
    "event",
    "request",
    "revision",
    "reasons",
    "body",
)
"""The fields of the hash in the order of ``bus/functions/tasks.lua``; a test compares them."""

INBOX = "inbox:"
"""Stands before an item of the inbox among what a task waits for; the rest are other tasks."""
_LARGEST = 2**63 - 1
"""What the store can keep."""


def from_fields(task_id: str, fields: Mapping[str, str | bytes]) -> Task:
    """The task that a hash on the bus holds.

    Raises:
        Invalid: somebody wrote something else there.
    """
    try:
        text = {name: _text(fields.get(name, "")) for name in FIELDS[:-2]}
        title, data, key, posted_by = read_body(fields["body"])
        return Task(
            task_id=task_id,
            title=title,
            data=data,
            run=text["run"],
            state=TaskState(text["state"]),
            priority=int(text["priority"]),
            place=int(text["place"]),
            attempts=int(text["attempts"]),
            max_attempts=int(text["max_attempts"]),
            worker=text["holder"] or None,
            fence=text["fence"] or None,
            lease_until_ms=_number(text["lease_until"]),
            not_before_ms=_number(text["not_before"]),
            asked_by=text["asked_by"] or None,
            depends_on=tuple(text["depends_on"].split()),
            result_finding_id=text["finding"] or None,
            reasons=reasons_from(fields.get("reasons", b"")),
            idempotency_key=key,
            posted_by=posted_by,
            posted_at_ms=int(text["posted_at"]),
            ended_at_ms=_number(text["ended_at"]),
            revision=int(text["revision"]),
            event=text["event"],
        )
    except (KeyError, ValueError, Invalid, msgspec.MsgspecError) as error:
        raise Invalid(f"task {task_id} cannot be read from the bus: {error}") from error


def to_fields(task: Task, unmet: Iterable[str] = ()) -> list[str | bytes]:
    """The values of ``FIELDS`` for a task that waits for ``unmet``."""
    return [
        str(task.state),
        task.run,
        str(task.priority),
        str(task.place),
        str(task.attempts),
        str(task.max_attempts),
        task.worker or "",
        task.fence or "",
        _digits(task.lease_until_ms),
        _digits(task.not_before_ms),
        str(task.posted_at_ms),
        _digits(task.ended_at_ms),
        " ".join(task.depends_on),
        " ".join(unmet),
        task.result_finding_id or "",
        task.asked_by or "",
        task.event,
        "",
        str(task.revision),
        reasons_to(task.reasons),
        body_of(task),
    ]


def inbox_item_among(unmet: str) -> str | None:
    """The first item of the inbox among what a task waits for."""
    items = (one.removeprefix(INBOX) for one in unmet.split() if one.startswith(INBOX))
    return next(items, None)


def read_event(entry: Entry) -> TaskEvent:
    """The step that an entry of the log tells.

    Raises:
        Invalid: a field is missing or is not what it should be.
    """
    task_id = require_uuid(entry.text("id"))
    try:
        step = Step(entry.text("event"))
        state = TaskState(entry.text("state"))
    except ValueError as error:
        raise Invalid(f"the entry of task {task_id} cannot be read: {error}") from error
    if not 0 <= entry.at_ms <= _LARGEST:
        raise Invalid(f"the entry of task {task_id} has no possible time")
    fence = _said(entry, "fence") or None
    fence_order(fence)
    return TaskEvent(
        step=step,
        task_id=task_id,
        revision=_whole(entry, "revision"),
        at_ms=entry.at_ms,
        state=state,
        worker=_said(entry, "worker"),
        fence=fence,
        attempts=_whole(entry, "attempts"),
        lease_until_ms=_optional(entry, "lease_until"),
        not_before_ms=_optional(entry, "not_before"),
        reason=_said(entry, "reason"),
        finding_id=_said(entry, "finding_id") or None,
        posted=_posted(entry, task_id, state) if step is Step.POSTED else None,
    )


def read_result(entry: Entry) -> tuple[str, int, bytes] | None:
    """Finding id, sequence and body of the result that the step published, if it did.

    Raises:
        Invalid: a field is missing or is not what it should be.
    """
    if "sequence" not in entry.fields:
        return None
    entry.text("body")
    return entry.text("finding_id"), _whole(entry, "sequence"), entry.fields["body"]


def _posted(entry: Entry, task_id: str, state: TaskState) -> Task:
    title, data, key, posted_by = read_body(entry.text("body"))
    new = NewTask(
        task_id=task_id,
        title=title,
        data=data,
        run=entry.text("run"),
        priority=_whole(entry, "priority"),
        max_attempts=_whole(entry, "max_attempts"),
        depends_on=tuple(_said(entry, "depends_on").split()),
        idempotency_key=key,
        posted_by=posted_by,
    )
    body_of(new)  # its size is bounded too
    return Task(
        task_id=task_id,
        title=title,
        data=data,
        run=new.run,
        state=state,
        priority=new.priority,
        place=_whole(entry, "place"),
        max_attempts=new.max_attempts,
        depends_on=new.depends_on,
        idempotency_key=key,
        posted_by=posted_by,
        posted_at_ms=entry.at_ms,
    )


def _said(entry: Entry, name: str) -> str:
    """A field as text; what is empty was left out."""
    return entry.text(name) if name in entry.fields else ""


def _optional(entry: Entry, name: str) -> int | None:
    return _whole(entry, name) if entry.fields.get(name) else None


def _whole(entry: Entry, name: str) -> int:
    number = entry.integer(name)
    if not 0 <= number <= _LARGEST:
        raise Invalid(f"the field {name!r} is out of bounds: {str(number)[:40]}")
    return number


def _text(value: str | bytes) -> str:
    return value if isinstance(value, str) else value.decode()


def _number(text: str) -> int | None:
    return int(text) if text else None


def _digits(number: int | None) -> str:
    return "" if number is None else str(number)
