"""The task board: work is posted, claimed under a lease, and finished once."""

from __future__ import annotations

import json
from datetime import timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ifmem.entrypoints.cli import stdin
from ifmem.entrypoints.cli.paging import After, Limit, draw_next
from ifmem.entrypoints.cli.paper import Bold, Dim, Paper
from ifmem.entrypoints.cli.session import Session, command

if TYPE_CHECKING:
    from ifmem.wire.shapes import TaskShape


class Outcome(StrEnum):
    """How a task ended."""

    DONE = "done"
    FAILED = "failed"


Task = Annotated[str, typer.Argument(metavar="ID", help="The task's id.")]
Worker = Annotated[
    str | None,
    typer.Option("--worker", help="Who does it; by default you, on this host: user@host."),
]
Fence = Annotated[str, typer.Option("--fence", help="As `tasks claim` printed it.")]
Lease = Annotated[float, typer.Option("--lease", min=0.1, help="Seconds it is yours.")]
Reason = Annotated[str, typer.Option("--reason", help="Why, for whoever comes next.")]
Accepted = Annotated[
    bool, typer.Option("--accepted", help="Return once the bus has it, before the store has.")
]


def register(app: typer.Typer) -> None:
    """Add these commands."""
    board = typer.Typer(
        help="Work to be claimed under a lease, and finished once.",
        rich_markup_mode=None,
        no_args_is_help=True,
    )
    app.add_typer(board, name="tasks")
    for name, function in (
        ("post", post),
        ("list", list_tasks),
        ("show", show),
        ("claim", claim),
        ("renew", renew),
        ("release", release),
        ("cancel", cancel),
        ("finish", finish),
        ("requeue", requeue),
    ):
        command(board, name)(function)


async def post(
    session: Session,
    title: Annotated[
        str, typer.Argument(callback=stdin.text, help="What is to be done; - reads stdin.")
    ],
    data: Annotated[
        str | None, typer.Option("--data", help="A JSON object for whoever does it.")
    ] = None,
    priority: Annotated[
        int, typer.Option("--priority", min=0, max=10, help="10 is claimed first, 0 last.")
    ] = 5,
    depends_on: Annotated[
        list[str] | None,
        typer.Option("--depends-on", help="A task that must be done before; may be repeated."),
    ] = None,
    key: Annotated[
        str | None, typer.Option("--key", help="Posting the same key again gives the same task.")
    ] = None,
    max_attempts: Annotated[
        int, typer.Option("--max-attempts", min=1, help="Attempts that may fail.")
    ] = 3,
    task_id: Annotated[
        str | None, typer.Option("--id", help="A uuid; repeating with it posts it once.")
    ] = None,
    accepted: Accepted = False,
) -> None:
    """Post a task, durably."""
    async with session.memory() as memory:
        task = await memory.post(
            title.strip(),
            data=_object(data),
            priority=priority,
            depends_on=depends_on or (),
            idempotency_key=key,
            max_attempts=max_attempts,
            id=task_id,
            durable=not accepted,
        )
    session.give(task, lambda paper: _line(paper, task))


async def list_tasks(
    session: Session,
    state: Annotated[str | None, typer.Option("--state", help="Only those in this state.")] = None,
    after: After = "",
    limit: Limit = 1_000,
) -> None:
    """The run's tasks in the order they were posted."""
    async with session.memory() as memory:
        page = await memory.tasks(state=state, after=after, limit=limit)

    def draw(paper: Paper) -> None:
        paper.table(
            ("task", "state", "priority", "attempts", "holder", "title"),
            [
                (one.task_id, one.state, one.priority, one.attempts, one.holder, one.title)
                for one in page.items
            ],
        )
        draw_next(paper, page.next)

    session.give(page, draw)


async def show(session: Session, task_id: Task) -> None:
    """One task, with the reasons of its attempts."""
    async with session.memory() as memory:
        task = await memory.task(task_id)
    session.give(task, lambda paper: _whole(paper, task))


async def claim(
    session: Session,
    worker: Worker = None,
    lease: Lease = 600.0,
    wait: Annotated[float, typer.Option("--wait", min=0, help="Seconds to wait for a task.")] = 0.0,
) -> None:
    """Lease the first task there is; exits with 3 when there is none."""
    from ifmem.errors import NotFound

    async with session.memory() as memory:
        task = await memory.claim(worker, lease=timedelta(seconds=lease), wait=wait)
    if task is None:
        raise NotFound("no task is ready: --wait SECONDS waits for one, `tasks list` shows them")
    session.give(task, lambda paper: _whole(paper, task))


async def renew(
    session: Session, task_id: Task, fence: Fence, worker: Worker = None, lease: Lease = 600.0
) -> None:
    """Let the lease of a task that you hold end that much later than now."""
    async with session.memory() as memory:
        task = await memory.renew(task_id, fence, worker=worker, lease=timedelta(seconds=lease))
    session.give(task, lambda paper: _line(paper, task))


async def release(
    session: Session,
    task_id: Task,
    fence: Fence,
    worker: Worker = None,
    assist: Annotated[
        bool, typer.Option("--assist", help="Ask for assistance: somebody else must take it.")
    ] = False,
    reason: Reason = "",
) -> None:
    """Give a task that you hold back, unchanged."""
    async with session.memory() as memory:
        task = await memory.release(task_id, fence, worker=worker, assist=assist, reason=reason)
    session.give(task, lambda paper: _line(paper, task))


async def cancel(session: Session, task_id: Task, reason: Reason = "") -> None:
    """End an open task without a result."""
    async with session.memory() as memory:
        task = await memory.cancel(task_id, reason=reason)
    session.give(task, lambda paper: _line(paper, task))


async def finish(
    session: Session,
    task_id: Task,
    fence: Fence,
    worker: Worker = None,
    outcome: Annotated[Outcome, typer.Option("--outcome", help="How it ended.")] = Outcome.DONE,
    claim: Annotated[
        str | None,
        typer.Option("--claim", callback=stdin.text, help="What was found, as a finding."),
    ] = None,
    cite: Annotated[
        list[str] | None,
        typer.Option("--cite", help="SOURCE:LINE[-LINE], finding:ID or a URL; may be repeated."),
    ] = None,
    confidence: Annotated[float, typer.Option("--confidence", help="0 to 1.")] = 1.0,
    topic: Annotated[str | None, typer.Option("--topic", help="What it is about.")] = None,
    reason: Reason = "",
    final: Annotated[
        bool, typer.Option("--final", help="Failed for good: no further attempt.")
    ] = False,
    accepted: Accepted = False,
) -> None:
    """Finish a task that you hold, with its fence; a late finish is refused."""
    about: dict[str, Any] = {} if claim is None else {"confidence": confidence}
    if claim is not None and topic is not None:
        about["topic"] = topic
    async with session.memory() as memory:
        task = await memory.finish(
            task_id,
            fence,
            worker=worker,
            outcome=outcome.value,
            claim=claim,
            cite=cite or (),
            reason=reason,
            final=final,
            durable=not accepted,
            **about,
        )
    session.give(task, lambda paper: _line(paper, task))


async def requeue(session: Session, task_id: Task) -> None:
    """Let a task that is dead, failed, cancelled or waiting for assistance start anew."""
    async with session.memory() as memory:
        task = await memory.requeue(task_id)
    session.give(task, lambda paper: _line(paper, task))


def _object(text: str | None) -> dict[str, Any] | None:
    from ifmem.errors import Invalid

    if text is None:
        return None
    try:
        value = json.loads(text)
    except ValueError as error:
        raise Invalid(f"--data is no JSON: {error}") from error
    if not isinstance(value, dict):
        raise Invalid('--data is no JSON object: write {"name": value}')
    return value


def _line(paper: Paper, task: TaskShape) -> None:
    paper.line(task.task_id, Dim(f"  {task.state}"), f"  {task.title}")


def _whole(paper: Paper, task: TaskShape) -> None:
    paper.line(Bold(task.title))
    for name, value in (
        ("task", task.task_id),
        ("state", task.state),
        ("priority", task.priority),
        ("attempts", f"{task.attempts} of {task.max_attempts}"),
        ("holder", task.holder),
        ("fence", task.fence),
        ("until", task.lease_until),
        ("result", task.result_finding_id),
        ("waits for", ", ".join(task.depends_on) if task.state == "blocked" else None),
        ("data", json.dumps(task.data, ensure_ascii=False) if task.data else None),
    ):
        if value not in (None, ""):
            paper.line(Dim(f"{name:<10}"), str(value))
    for one in task.reasons:
        paper.line(Dim(f"attempt {one.attempt}"), f"  {one.worker}: {one.reason}")
