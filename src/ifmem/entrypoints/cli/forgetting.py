"""The command that forgets, by id or by description, and that lets the forgotten come back."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from ifmem.entrypoints.cli.paper import Dim, Paper, count
from ifmem.entrypoints.cli.session import Session, command
from ifmem.errors import Invalid

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ifmem.client.memory import Memory
    from ifmem.wire.forget_calls import ForgottenReport, Unreachable

_SHOWN = 20


def register(app: typer.Typer) -> None:
    """Add this command."""
    command(app, "forget")(forget)


@dataclass(frozen=True, slots=True)
class _Wanted:
    """What is to be forgotten by description."""

    source: Sequence[str]
    session: str | None
    older_than: str | None
    everything: bool

    @property
    def is_given(self) -> bool:
        return bool(self.source or self.session or self.older_than or self.everything)


async def forget(
    session: Session,
    id: Annotated[
        str | None,
        typer.Argument(metavar="ID", help="Of a finding or passage, or a document's source."),
    ] = None,
    source: Annotated[
        list[str] | None,
        typer.Option(
            "--source", help="Documents at a path and below, a URL, or a pattern; may be repeated."
        ),
    ] = None,
    of_session: Annotated[
        str | None, typer.Option("--session", help="What was stored in this session.")
    ] = None,
    older_than: Annotated[
        str | None,
        typer.Option("--older-than", help="What was loaded or said longer ago: 30d, 12h, a date."),
    ] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="The whole space, which --space must name.")
    ] = False,
    captured: Annotated[
        bool,
        typer.Option("--captured", help="All that hooks of agents brought, here and locally."),
    ] = False,
    since: Annotated[
        str | None, typer.Option("--since", help="With --captured: only from this moment on.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only tell what would go; not with an ID.")
    ] = False,
    lift: Annotated[
        bool,
        typer.Option(
            "--lift", help="Let what was forgotten be stored again: ID, --session, --all."
        ),
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask before --all.")] = False,
) -> None:
    """Remove whatever recall or ask can return, everywhere it can be reached."""
    wanted = _Wanted(source or (), of_session, older_than, everything)
    if everything and session.options.space is None:
        raise Invalid("--all forgets a whole space: name it with --space")
    if lift:
        named = [id is not None, of_session is not None, everything].count(True)
        if named != 1 or captured or since is not None or dry_run or source or older_than:
            raise Invalid("--lift takes an ID, --session or --all, and nothing else")
        return await _lift(session, id, of_session, everything)
    if captured:
        if id is not None or wanted.is_given or dry_run:
            raise Invalid("--captured stands alone, with --since MOMENT if wanted")
        return await _captured(session, since)
    if id is not None and dry_run:
        raise Invalid(
            "an ID is forgotten as it stands: leave --dry-run out, or choose with --source, "
            "--session, --older-than or --all"
        )
    if since is not None or (id is None) == (not wanted.is_given):
        raise Invalid(
            "give the ID of what to forget; or --source, --session, --older-than, which must all "
            "fit; or --all; or --captured, with --since MOMENT if wanted"
        )
    if id is not None:
        return await _one(session, id)
    async with session.memory() as memory:
        if everything and not (dry_run or yes):
            await _ask(session, memory)
        report = await memory.forget_matching(
            source=wanted.source,
            session=of_session,
            older_than=older_than,
            everything=everything,
            dry_run=dry_run,
        )
    session.give(report, lambda paper: _draw(paper, report))


async def _one(session: Session, id: str) -> None:
    async with session.memory() as memory:
        gone = await memory.forget(id)

    def draw(paper: Paper) -> None:
        paper.line(f"forgotten: {gone.kind} {gone.id}")
        _draw_rest(paper, len(gone.revoked), gone.unreachable)

    session.give(gone, draw)


async def _captured(session: Session, since: str | None) -> None:
    async with session.memory() as memory:
        ended = await memory.forget_captured(since)
    gone = count(ended.documents, "captured document")
    session.give(ended, lambda paper: paper.line(f"forgotten: {gone}"))


async def _lift(session: Session, id: str | None, of_session: str | None, everything: bool) -> None:
    async with session.memory() as memory:
        lifted = await memory.lift(id, session=of_session, everything=everything)
    marks = count(lifted.tombstones, "mark")
    session.give(
        lifted, lambda paper: paper.line(f"lifted: {marks}; what was removed can be stored again")
    )


async def _ask(session: Session, memory: Memory) -> None:
    """Have a person confirm.

    Raises:
        Invalid: nobody is there, or it was not confirmed.
    """
    name = session.options.space
    if not sys.stdin.isatty():
        raise Invalid("--all forgets a whole space: say --yes where nobody can be asked")
    report = await memory.forget_matching(everything=True, dry_run=True)
    counts = ", ".join(_counts(report)) or "nothing"
    sys.stderr.write(f"This removes {counts}. Write the name of the space to go on: ")
    sys.stderr.flush()
    if sys.stdin.readline().strip() != name:
        raise Invalid(f"nothing was forgotten: write {name} to confirm")


def _draw(paper: Paper, report: ForgottenReport) -> None:
    counts = ", ".join(_counts(report)) or "nothing"
    paper.line(f"would be forgotten: {counts}" if report.dry_run else f"forgotten: {counts}")
    for one in report.examples[:_SHOWN]:
        paper.line(Dim(f"  {paper.place(one)}"))
    left = report.documents + report.findings - min(len(report.examples), _SHOWN)
    if report.dry_run and left > 0:
        paper.line(Dim(f"  and {left:,} more"))
    _draw_rest(paper, report.revoked_count, report.unreachable)


def _draw_rest(paper: Paper, revoked: int, unreachable: Sequence[Unreachable]) -> None:
    if revoked:
        paper.line(f"{count(revoked, 'finding')} lost a quote of it")
    for one in unreachable:
        until = f" until {one.until}" if one.until else ""
        paper.line(Dim(f"not reached{until}: {one.what} ({one.why})"))


def _counts(report: ForgottenReport) -> list[str]:
    counted = (
        (report.documents, "document"),
        (report.passages, "passage"),
        (report.findings, "finding"),
        (report.tasks, "task"),
        (report.messages, "message"),
    )
    return [count(number, what) for number, what in counted if number]
