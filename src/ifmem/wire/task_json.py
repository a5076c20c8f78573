"""Tasks as JSON: as people see them, and the parts that the bus and the store never look into."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec

from ifmem.clock import stamp
from ifmem.domain.finding import require_uuid
from ifmem.domain.task import MAX_DATA_BYTES, NO_RUN, NewTask, Reason, Task, TaskState, state_named
from ifmem.errors import Invalid

_SPACES = uuid.uuid5(uuid.NAMESPACE_URL, "urn:ifmem:task")


class _Body(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the bus never looks into."""

    title: str
    data: dict[str, Any] = {}
    idempotency_key: str | None = None
    posted_by: str | None = None


class _Reason(msgspec.Struct, frozen=True):
    attempt: int
    worker: str
    reason: str
    at: int


class _ShownReason(msgspec.Struct, frozen=True):
    attempt: int
    worker: str
    reason: str
    at: str


class _Shown(msgspec.Struct, frozen=True):
    """What ``to_json`` writes; absent fields have the usual values."""

    task_id: str
    state: str
    title: str
    data: dict[str, Any] = {}
    priority: int = 5
    attempts: int = 0
    max_attempts: int = 3
    holder: str | None = None
    fence: str | None = None
    lease_until: str | None = None
    depends_on: tuple[str, ...] = ()
    result_finding_id: str | None = None
    reasons: tuple[_ShownReason, ...] = ()
    run: str = NO_RUN
    not_before: str | None = None
    posted_at: str | None = None
    ended_at: str | None = None
    posted_by: str | None = None
    idempotency_key: str | None = None


_body_decoder = msgspec.json.Decoder(_Body)
_reasons_decoder = msgspec.json.Decoder(list[_Reason])


def keyed_id(space: str, run: str, key: str) -> str:
    """The task id that an idempotency key stands for: the same key is the same task."""
    return str(uuid.uuid5(_SPACES, msgspec.json.encode([space, run, key]).decode()))


def body_of(task: NewTask | Task) -> bytes:
    """What a poster says of the task, as the bus and the store keep it.

    Raises:
        Invalid: the data is no JSON, or larger than a task's may be.
    """
    try:
        size = len(msgspec.json.encode(task.data))
        body = _Body(task.title, dict(task.data), task.idempotency_key, task.posted_by)
        encoded = msgspec.json.encode(body)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise Invalid(f"data must be a JSON object: {error}") from error
    if size > MAX_DATA_BYTES:
        raise Invalid(
            f"data takes {size:,} bytes as JSON; the limit is {MAX_DATA_BYTES:,}: load the text "
            "as a document and name it",
            bytes=size,
            limit=MAX_DATA_BYTES,
        )
    return encoded


def to_json(task: Task) -> dict[str, Any]:
    """The task as people and programs see it. Without a lease it shows no holder and no fence."""
    leased = task.state is TaskState.LEASED
    return {
        "task_id": task.task_id,
        "state": task.state.value,
        "title": task.title,
        "data": dict(task.data),
        "priority": task.priority,
        "attempts": task.attempts,
        "max_attempts": task.max_attempts,
        "holder": task.holder,
        "fence": task.fence if leased else None,
        "lease_until": _stamp(task.lease_until_ms if leased else None),
        "depends_on": list(task.depends_on),
        "result_finding_id": task.result_finding_id,
        "reasons": [
            {
                "attempt": one.attempt,
                "worker": one.worker,
                "reason": one.reason,
                "at": _stamp(one.at_ms),
            }
            for one in task.reasons
        ],
        "run": task.run,
        "not_before": _stamp(task.not_before_ms),
        "posted_at": _stamp(task.posted_at_ms),
        "ended_at": _stamp(task.ended_at_ms),
        "posted_by": task.posted_by,
        "idempotency_key": task.idempotency_key,
    }


def from_json(data: Mapping[str, Any]) -> Task:
    """The task that ``to_json`` wrote, without what only the bus and the store need.

    Raises:
        Invalid: a field is missing or of the wrong type.
    """
    try:
        shown = msgspec.convert(data, _Shown)
        return Task(
            task_id=require_uuid(shown.task_id),
            title=shown.title,
            data=shown.data,
            run=shown.run,
            state=state_named(shown.state),
            priority=shown.priority,
            attempts=shown.attempts,
            max_attempts=shown.max_attempts,
            worker=shown.holder,
            fence=shown.fence,
            lease_until_ms=_milliseconds(shown.lease_until),
            not_before_ms=_milliseconds(shown.not_before),
            depends_on=shown.depends_on,
            result_finding_id=shown.result_finding_id,
            reasons=tuple(
                Reason(
                    attempt=one.attempt,
                    worker=one.worker,
                    reason=one.reason,
                    at_ms=_milliseconds(one.at) or 0,
                )
                for one in shown.reasons
            ),
            idempotency_key=shown.idempotency_key,
            posted_by=shown.posted_by,
            posted_at_ms=_milliseconds(shown.posted_at) or 0,
            ended_at_ms=_milliseconds(shown.ended_at),
        )
    except (msgspec.ValidationError, ValueError) as error:
        raise Invalid(f"this is no task: {error}") from error


def reasons_from(lines: str | bytes) -> tuple[Reason, ...]:
    """The reasons that were written one JSON object a line."""
    if not lines:
        return ()
    text = lines if isinstance(lines, str) else lines.decode()
    joined = text.replace("\n", ",")
    return tuple(
        Reason(attempt=one.attempt, worker=one.worker, reason=one.reason, at_ms=one.at)
        for one in _reasons_decoder.decode(f"[{joined}]")
    )


def reasons_to(reasons: Sequence[Reason]) -> bytes:
    """What ``reasons_from`` reads."""
    return b"\n".join(
        msgspec.json.encode(_Reason(one.attempt, one.worker, one.reason, one.at_ms))
        for one in reasons
    )


def read_body(body: str | bytes) -> tuple[str, dict[str, Any], str | None, str | None]:
    """Title, data, idempotency key and poster of what ``body_of`` wrote.

    Raises:
        Invalid: it is something else.
    """
    try:
        read = _body_decoder.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise Invalid(f"the task's body cannot be read: {error}") from error
    return read.title, read.data, read.idempotency_key, read.posted_by


def _stamp(ms: int | None) -> str | None:
    return None if ms is None else stamp(datetime.fromtimestamp(ms / 1000, UTC))


def _milliseconds(text: str | None) -> int | None:
    return None if text is None else round(datetime.fromisoformat(text).timestamp() * 1000)
