"""Commands that write: load, remember, release."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from ifmem.entrypoints.cli import stdin
from ifmem.entrypoints.cli.paper import Dim
from ifmem.entrypoints.cli.progress import shown
from ifmem.entrypoints.cli.session import Session, command


def register(app: typer.Typer) -> None:
    """Add these commands."""
    command(app, "load")(load)
    command(app, "remember")(remember)
    command(app, "release")(release)


async def load(
    session: Session,
    paths: Annotated[list[str], typer.Argument(metavar="PATH…", help="Files and directories.")],
    watch: Annotated[
        bool, typer.Option("--watch", help="Stay, and load again whenever something changes.")
    ] = False,
) -> int | None:
    """Read files and trees, split, count, and place them into shards.

    Exits with 1 when the shards had no room for all of them.
    """
    from ifmem.entrypoints.cli import render

    if watch:
        from ifmem.entrypoints.cli.watching import watch as watch_paths

        return await watch_paths(session, paths)
    with shown(session, "loading") as advance:
        async with session.memory() as memory:
            report = await memory.load(*paths, on_progress=advance)
    session.give(report, lambda paper: render.load(paper, report))
    if report.refused:
        session.note(
            f"ifmem: {report.refused:,} documents found no room: raise [shards] limit, or "
            "forget some"
        )
    return 1 if report.refused else None


async def remember(
    session: Session,
    claim: Annotated[
        str,
        typer.Argument(callback=stdin.text, help="What was found, in a sentence; - reads stdin."),
    ],
    cite: Annotated[
        list[str] | None,
        typer.Option("--cite", help="SOURCE:LINE[-LINE], finding:ID or a URL; may be repeated."),
    ] = None,
    confidence: Annotated[float, typer.Option("--confidence", help="0 to 1.")] = 1.0,
    topic: Annotated[str | None, typer.Option("--topic", help="What it is about.")] = None,
    value: Annotated[
        float | None, typer.Option("--value", help="What was measured, to compare on the topic.")
    ] = None,
    unit: Annotated[str | None, typer.Option("--unit", help="Of the value.")] = None,
    tag: Annotated[list[str] | None, typer.Option("--tag", help="May be repeated.")] = None,
    task: Annotated[str | None, typer.Option("--task", help="The task it came from.")] = None,
    supersedes: Annotated[
        str | None, typer.Option("--supersedes", help="The id of an earlier finding.")
    ] = None,
    finding_id: Annotated[
        str | None, typer.Option("--id", help="A uuid; repeating with it stores it once.")
    ] = None,
    accepted: Annotated[
        bool, typer.Option("--accepted", help="Return once the bus has it, before the store has.")
    ] = False,
) -> None:
    """Store a finding, durably, for every process of this memory."""
    given: dict[str, Any] = {
        "value": value,
        "unit": unit,
        "task_id": task,
        "supersedes": supersedes,
    }
    async with session.memory() as memory:
        stored = await memory.remember(
            claim.strip(),
            cite=cite or (),
            confidence=confidence,
            topic=topic,
            tags=tag or (),
            id=finding_id,
            durable=not accepted,
            **{name: one for name, one in given.items() if one is not None},
        )
    known = " (it was known)" if stored.outcome == "known" else ""
    session.give(
        stored,
        lambda paper: paper.line(stored.finding_id, Dim(f"  cursor {stored.cursor}{known}")),
    )


async def release(
    session: Session,
    id: Annotated[
        str, typer.Argument(metavar="ID", help="Of a finding that `findings --quarantined` lists.")
    ],
) -> None:
    """Take a finding out of quarantine: it is said again, as the same author's."""
    async with session.memory() as memory:
        said = await memory.release_finding(id)
    known = " (it was released before)" if said.outcome == "known" else ""
    session.give(
        said, lambda paper: paper.line(said.finding_id, Dim(f"  cursor {said.cursor}{known}"))
    )
