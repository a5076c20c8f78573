"""The command `conflicts`: what disagrees, with both sides and what they cite."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from ifmem.entrypoints.cli.inbox import draw_side
from ifmem.entrypoints.cli.paging import After, Limit, draw_next
from ifmem.entrypoints.cli.paper import Bold, Dim, Paper
from ifmem.entrypoints.cli.session import Session, command

if TYPE_CHECKING:
    from ifmem.wire.inbox_calls import ConflictShape


def register(app: typer.Typer) -> None:
    """Add the command."""
    command(app, "conflicts")(conflicts)


async def conflicts(
    session: Session,
    everything: Annotated[bool, typer.Option("--all", help="Also what was resolved.")] = False,
    topic: Annotated[str | None, typer.Option("--topic", help="Only about this topic.")] = None,
    after: After = "",
    limit: Limit = 100,
) -> None:
    """Findings that disagree, with both sides; `ifmem inbox resolve` decides."""
    async with session.memory() as memory:
        page = await memory.conflicts(all=everything, topic=topic, after=after, limit=limit)

    def draw_page(paper: Paper) -> None:
        for one in page:
            draw(paper, one)
        if not page.items:
            paper.line("nothing disagrees")
        draw_next(paper, page.next)

    session.give(page, draw_page)


def draw(paper: Paper, conflict: ConflictShape) -> None:
    """One conflict for a person."""
    about = f"{conflict.topic} ({conflict.unit})" if conflict.unit else conflict.topic
    paper.line(Bold(about), Dim(f"  {conflict.conflict_id}"))
    paper.line(f"  {conflict.rationale}", Dim(f"  since {conflict.opened_at}"))
    for side in conflict.sides:
        draw_side(paper, side)
    if conflict.sides_count > len(conflict.sides):
        paper.line(Dim(f"  and {conflict.sides_count - len(conflict.sides):,} more"))
    for task in conflict.tasks:
        paper.line(Dim("  task      "), task)
    if conflict.outcome is None:
        decide = f"ifmem inbox resolve {conflict.conflict_id} --keep FINDING, --both or --dismiss"
        paper.line(Dim("  next      "), decide)
    else:
        why = f": {conflict.reason}" if conflict.reason else ""
        paper.line(
            Dim("  resolved  "),
            f"{conflict.outcome} by {conflict.resolved_by}, {conflict.resolved_at}{why}",
        )
