"""The tools of the task board: the caller posts, holds and finishes under its own name."""

from __future__ import annotations

from ifmem import clock
from ifmem.errors import OutcomeUnknown
from ifmem.mcp_server import sources
from ifmem.mcp_server.arguments import (
    TaskCancelArguments,
    TaskClaimArguments,
    TaskFinishArguments,
    TaskPostArguments,
    TaskReleaseArguments,
    TaskRenewArguments,
)
from ifmem.mcp_server.fitting import Fitting
from ifmem.mcp_server.invocation import Invocation
from ifmem.mcp_server.memory_tools import with_id
from ifmem.mcp_server.replies import ClaimedReply, NoTaskReply, TaskReply
from ifmem.mcp_server.shortening import task_replies
from ifmem.wire import calls
from ifmem.wire.shapes import Page, TaskShape

TASK_TOKENS = 10_000
"""More than other replies have: whoever claims a task needs its data."""


async def post(made: Invocation, given: TaskPostArguments) -> Fitting:
    """Post a task."""
    task_id = clock.new_id()
    call = calls.TaskPostCall(
        title=given.title.strip(),
        data=given.data or {},
        priority=given.priority,
        depends_on=tuple(given.depends_on),
        idempotency_key=given.idempotency_key,
        id=task_id,
        posted_by=made.caller.agent,
    )
    try:
        return _told(await made.call("task_post", call, TaskShape))
    except OutcomeUnknown as error:
        raise with_id(error, "task_id", task_id) from error


async def claim(made: Invocation, given: TaskClaimArguments) -> Fitting:
    """Lease the first task there is."""
    call = calls.TaskClaimCall(made.caller.agent, lease_seconds=given.lease_seconds)
    page = await made.call("task_claim", call, Page[TaskShape])
    if not page.items:
        return Fitting([NoTaskReply(claimed=False)], TASK_TOKENS)
    return Fitting(task_replies(page.items[0], ClaimedReply, claimed=True), TASK_TOKENS)


async def renew(made: Invocation, given: TaskRenewArguments) -> Fitting:
    """Let the caller's lease end later."""
    call = calls.TaskRenewCall(
        given.task_id, made.caller.agent, given.fence, lease_seconds=given.lease_seconds
    )
    return _told(await made.call("task_renew", call, TaskShape))


async def release(made: Invocation, given: TaskReleaseArguments) -> Fitting:
    """Give a task of the caller's back."""
    call = calls.TaskReleaseCall(
        given.task_id,
        made.caller.agent,
        given.fence,
        assist=given.assist,
        reason=given.reason or "",
    )
    return _told(await made.call("task_release", call, TaskShape))


async def cancel(made: Invocation, given: TaskCancelArguments) -> Fitting:
    """End an open task without a result."""
    call = calls.TaskCancelCall(given.task_id, made.caller.agent, given.reason or "")
    return _told(await made.call("task_cancel", call, TaskShape))


async def finish(made: Invocation, given: TaskFinishArguments) -> Fitting:
    """Finish a task of the caller's, with what was found."""
    call = calls.TaskFinishCall(
        given.task_id,
        made.caller.agent,
        given.fence,
        outcome=given.outcome,
        claim=given.claim,
        citations=tuple(sources.cited(made.caller, given.citations)),
        reason=given.reason or "",
        trust=made.caller.trust,
        within=made.caller.roots,
    )
    return _told(await made.call("task_finish", call, TaskShape))


def _told(task: TaskShape) -> Fitting:
    return Fitting(task_replies(task, TaskReply), TASK_TOKENS)
