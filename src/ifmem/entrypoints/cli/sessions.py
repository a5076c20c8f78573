"""Sessions: the runs that work was done in, listed, shown, and ended."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from ifmem.entrypoints.cli.inbox import ListsByDefault
from ifmem.entrypoints.cli.paging import After, Limit, draw_next
from ifmem.entrypoints.cli.paper import Bold, Dim, Paper, count
from ifmem.entrypoints.cli.progress import shown
from ifmem.entrypoints.cli.session import Session, command

if TYPE_CHECKING:
    from ifmem.wire.session_calls import EndedSession, SessionDetail, SessionShape


class State(StrEnum):
    """Whether a session goes on."""

    OPEN = "open"
    ENDED = "ended"


Name = Annotated[str, typer.Argument(metavar="ID", help="As `ifmem sessions` lists it.")]


def register(app: typer.Typer) -> None:
    """Add these commands."""
    group = typer.Typer(
        help="The runs that work was done in: listed, shown, and ended.",
        rich_markup_mode=None,
        cls=ListsByDefault,
    )
    app.add_typer(group, name="sessions")
    for name, function in (("list", list_sessions), ("show", show), ("end", end)):
        command(group, name)(function)


async def list_sessions(
    session: Session,
    state: Annotated[
        State | None, typer.Option("--state", help="Only those that go on, or have ended.")
    ] = None,
    after: After = "",
    limit: Limit = 100,
) -> None:
    """Sessions, those that began last first; the same as `ifmem sessions` alone."""
    async with session.memory() as memory:
        page = await memory.sessions(
            state=None if state is None else state.value, after=after, limit=limit
        )

    def draw(paper: Paper) -> None:
        for one in page:
            _brief(paper, one)
        if not page.items:
            paper.line("No session: work belongs to one when it is done with --run NAME.")
        draw_next(paper, page.next)

    session.give(page, draw)


async def show(session: Session, name: Name) -> None:
    """One session: who worked in it, what it stored, what became of its tasks."""
    async with session.memory() as memory:
        told = await memory.session(name)
    session.give(told, lambda paper: _detail(paper, told))


async def end(
    session: Session,
    name: Name,
    by: Annotated[
        str | None, typer.Option("--by", help="Who ends it; by default you, on this host.")
    ] = None,
) -> None:
    """End a session: what is its alone goes to the archive, its open tasks are cancelled."""
    with shown(session, "ending"):
        async with session.memory() as memory:
            ended = await memory.end_session(name, by=by)
    session.give(ended, lambda paper: _ended(paper, ended))


def _brief(paper: Paper, one: SessionShape) -> None:
    paper.line(
        Bold(one.session_id),
        f"  {one.state}  {_counts(one)}",
        Dim(f"  {one.agent} · {one.started_at} to {one.ended_at or one.last_at}"),
    )


def _detail(paper: Paper, told: SessionDetail) -> None:
    _brief(paper, told)
    if told.state == "ended":
        by = f"by {told.ended_by}" if told.ended_by else "because it was idle"
        paper.line(f"  ended {by}; {count(told.archived_documents, 'document')} in the archive")
    for author, said in told.authors.items():
        paper.line(f"  {count(said, 'finding')} by {author}")
    for state, number in told.tasks.items():
        paper.line(f"  {count(number, 'task')} {state}")


def _ended(paper: Paper, ended: EndedSession) -> None:
    if ended.outcome == "known":
        by = ended.ended_by or "itself: it was idle"
        paper.line(f"{ended.session_id} was ended before, at {ended.ended_at} by {by}")
        return
    paper.line(Bold(ended.session_id), " ended")
    paper.line(
        f"{count(ended.findings, 'finding')} and {count(ended.documents, 'document')} archived, "
        f"{count(ended.tasks, 'task')} cancelled"
    )


def _counts(one: SessionShape) -> str:
    return f"{count(one.findings, 'finding')}, {count(one.documents, 'document')}"
