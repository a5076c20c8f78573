"""Tasks: posted, claimed, renewed, released, finished; kept by the store, run on the bus."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from functools import partial
from typing import Any

import msgspec

from ifmem import clock
from ifmem.bus.tasks import Accepted, Claimed, Finish, Result
from ifmem.domain.task import NewTask, Task, state_named
from ifmem.engine.masking import mask, mask_values
from ifmem.errors import Invalid, NotFound
from ifmem.runtime.remembering import complete
from ifmem.runtime.space import Space
from ifmem.store import sessions, tasks
from ifmem.wire import envelopes, finding_json, task_json
from ifmem.wire.calls import (
    RememberCall,
    TaskCall,
    TaskCancelCall,
    TaskClaimCall,
    TaskFinishCall,
    TaskListCall,
    TaskPostCall,
    TaskReleaseCall,
    TaskRenewCall,
    TaskRequeueCall,
)
from ifmem.wire.shapes import Page, TaskShape

LONGEST_WAIT_S = 3_600.0


async def post_task(space: Space, call: TaskPostCall) -> TaskShape:
    """Post a task, durably; its id or idempotency key again changes nothing.

    Raises:
        Invalid: a field breaks its bound; nothing is posted.
        NotFound: it depends on a task that does not exist.
        Refused: its session was ended.
        OutcomeUnknown: post it again with the same id.
    """
    task_id = call.id or clock.new_id()
    if call.idempotency_key is not None:
        task_id = task_json.keyed_id(space.name, call.run, call.idempotency_key)
    data, _ = mask_values(dict(call.data))
    new = NewTask(
        task_id=task_id,
        title=mask(call.title).text,
        data=data if isinstance(data, dict) else {},
        run=call.run,
        priority=call.priority,
        max_attempts=call.max_attempts,
        depends_on=call.depends_on,
        idempotency_key=call.idempotency_key,
        posted_by=call.posted_by,
    )
    # The bus forgets what ended long ago; the store does not, and a key is never used twice.
    stored = await space.read(partial(tasks.get, task_id=task_id))
    if stored is not None:
        return _shape(stored)
    await space.read(partial(sessions.require_open, session_id=new.run))
    done = await space.read(partial(tasks.known_done, ids=new.depends_on, run=new.run))
    accepted = await space.commit(
        lambda: space.bus.tasks.post(new, known_done=done), durable=call.durable, task_id=task_id
    )
    return await _as_it_stands(space, accepted)


async def claim_task(space: Space, call: TaskClaimCall) -> Page[TaskShape]:
    """Lease the first tasks there are; waits for one, if asked to. Empty when there is none.

    Raises:
        Invalid: a name, the lease or the count breaks its rule.
    """
    if not 0 <= call.wait_seconds <= LONGEST_WAIT_S:
        raise Invalid(f"wait is {call.wait_seconds:g} seconds: give 0 to {LONGEST_WAIT_S:,.0f}")
    lease = _seconds(call.lease_seconds, "lease")
    deadline = clock.monotonic() + call.wait_seconds
    while True:
        claimed = await space.insist(partial(_claim, space, call, lease, clock.new_id()))
        left = deadline - clock.monotonic()
        if claimed.tasks or left <= 0:
            return Page([_shape(task) for task in claimed.tasks])
        await space.insist(
            partial(
                space.bus.tasks.wait,
                call.run,
                claimed.wait_ms,
                at_most=timedelta(seconds=left),
            )
        )


async def renew_task(space: Space, call: TaskRenewCall) -> TaskShape:
    """Let the lease end so many seconds from now.

    Raises:
        Refused: it is not held by this worker under this fence, or the lease has ended.
    """
    lease = _seconds(call.lease_seconds, "lease")
    step = partial(
        space.bus.tasks.renew, call.task_id, worker=call.worker, fence=call.fence, lease=lease
    )
    await space.insist(step)
    return _shape(await space.bus.tasks.show(call.task_id))


async def release_task(space: Space, call: TaskReleaseCall) -> TaskShape:
    """Give a task back unchanged, or ask for assistance with it; errors as ``renew_task``."""
    step = partial(
        space.bus.tasks.release,
        call.task_id,
        worker=call.worker,
        fence=call.fence,
        assist=call.assist,
        reason=mask(call.reason).text,
    )
    accepted = await space.commit(step, durable=call.durable, task_id=call.task_id)
    return await _as_it_stands(space, accepted)


async def finish_task(space: Space, call: TaskFinishCall) -> TaskShape:
    """Finish a task that is held: done, with a finding as its result, or failed with a reason.

    Raises:
        Invalid: the finding breaks a rule; the task stays as it is.
        Refused: it is not held by this worker under this fence, or the lease has ended.
        OutcomeUnknown: finish it again with the same fence.
    """
    if call.outcome not in ("done", "failed"):
        raise Invalid(f"outcome is done or failed; it is {call.outcome[:40]!r}")
    result = await _result(space, call)
    finish = Finish(
        task_id=call.task_id,
        worker=call.worker,
        fence=call.fence,
        done=call.outcome == "done",
        reason=mask(call.reason).text,
        final=call.final,
        result=result,
    )
    if result is not None:
        space.publishing.add(result.finding_id)
    accepted = await space.commit(
        lambda: space.bus.tasks.finish(finish), durable=call.durable, task_id=call.task_id
    )
    return await _as_it_stands(space, accepted)


async def cancel_task(space: Space, call: TaskCancelCall) -> TaskShape:
    """End an open task without a result.

    Raises:
        NotFound: there is no such task.
        Refused: it has ended.
    """
    step = partial(
        space.bus.tasks.cancel, call.task_id, actor=call.actor, reason=mask(call.reason).text
    )
    return await _on_the_board(space, call, step)


async def requeue_task(space: Space, call: TaskRequeueCall) -> TaskShape:
    """Let a task that is dead, failed, cancelled or waiting for assistance start anew.

    Raises:
        NotFound: there is no such task.
        Refused: it is open.
    """
    return await _on_the_board(
        space, call, partial(space.bus.tasks.requeue, call.task_id, actor=call.actor)
    )


async def show_task(space: Space, call: TaskCall) -> TaskShape:
    """The task as it stands.

    Raises:
        NotFound: there is no such task.
    """
    return _shape(await _current(space, call.task_id))


async def list_tasks(space: Space, call: TaskListCall) -> Page[TaskShape]:
    """Tasks in the order they were posted, as the store has them; a page at a time."""
    try:
        after = int(call.after or 0)
    except ValueError as error:
        raise Invalid(f"{call.after!r} is no cursor: give one that `tasks list` printed") from error
    limit = max(1, min(call.limit, 10_000))
    rows = await space.read(
        partial(
            tasks.page,
            state=None if call.state is None else state_named(call.state),
            run=call.run,
            after=after,
            limit=limit,
        )
    )
    items = [_shape(task) for _, task in rows]
    return Page(items, next=str(rows[-1][0]) if len(rows) == limit else None)


async def _claim(space: Space, call: TaskClaimCall, lease: timedelta, request: str) -> Claimed:
    return await space.bus.tasks.claim(
        call.worker, lease=lease, run=call.run, count=call.count, request=request
    )


async def _on_the_board(
    space: Space, call: TaskCancelCall | TaskRequeueCall, step: Any
) -> TaskShape:
    """A step of an operator, also on a task that ended so long ago that the bus forgot it."""
    try:
        accepted = await space.commit(step, durable=call.durable, task_id=call.task_id)
    except NotFound:
        waiting = await space.read(partial(tasks.waiting, ids=[call.task_id]))
        if not waiting:
            raise
        await space.insist(partial(space.bus.tasks.correct, waiting))
        accepted = await space.commit(step, durable=call.durable, task_id=call.task_id)
    return await _as_it_stands(space, accepted)


async def _result(space: Space, call: TaskFinishCall) -> Result | None:
    if call.claim is None:
        if call.citations:
            raise Invalid("citations belong to a claim: say with --claim what was found")
        return None
    given: Mapping[str, Any] = {
        "worker_id": call.worker,
        **call.fields,
        "claim": call.claim,
        "citations": list(call.citations),
        "task_id": call.task_id,
    }
    said = RememberCall(dict(given), trust=call.trust, elsewhere=call.elsewhere, within=call.within)
    finding = await complete(space, said)
    body, head = finding_json.to_json(finding), envelopes.head(finding)
    return Result(
        finding_id=finding.finding_id, body=body, head=head, hidden=finding.is_quarantined
    )


async def _as_it_stands(space: Space, accepted: Accepted) -> TaskShape:
    return _shape(await _current(space, accepted.task_id))


async def _current(space: Space, task_id: str) -> Task:
    """From the bus, which knows of renewals; else from the store."""
    try:
        return await space.insist(partial(space.bus.tasks.show, task_id))
    except NotFound as error:
        stored = await space.read(partial(tasks.get, task_id=task_id))
        if stored is None:
            raise NotFound(
                f"there is no task {task_id}: `ifmem tasks list` lists them", task_id=task_id
            ) from error
        return stored


def _seconds(seconds: float, what: str) -> timedelta:
    try:
        return timedelta(seconds=seconds)
    except (OverflowError, ValueError) as error:
        raise Invalid(f"{seconds} is no {what}: give seconds") from error


def _shape(task: Task) -> TaskShape:
    return msgspec.convert(task_json.to_json(task), TaskShape)
