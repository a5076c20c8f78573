"""Commands that back a memory up and restore it: export, import."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from ifmem.entrypoints.cli.paper import Dim, count, size
from ifmem.entrypoints.cli.progress import shown
from ifmem.entrypoints.cli.session import Session, command
from ifmem.errors import Invalid

if TYPE_CHECKING:
    from ifmem.entrypoints.cli.paper import Paper
    from ifmem.wire.export_calls import Exported, Imported


def register(app: typer.Typer) -> None:
    """Add these commands."""
    command(app, "export")(export)
    command(app, "import")(import_)


async def export(
    session: Session,
    file: Annotated[str, typer.Argument(metavar="FILE", help="Such as ifmem.tar.")],
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there.")] = False,
) -> None:
    """Write all that the space knows at this moment into one file, with checksums."""
    with shown(session, "exporting") as advance:
        async with session.memory() as memory:
            exported = await memory.export(file, force=force, on_progress=advance)
    session.give(exported, lambda paper: _draw_exported(paper, exported))


async def import_(
    session: Session,
    file: Annotated[str, typer.Argument(metavar="FILE", help="That `ifmem export` wrote.")],
    root: Annotated[
        list[str] | None,
        typer.Option("--root", help="OLD=NEW: where a directory is here; may be repeated."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check everything, and say what would be done.")
    ] = False,
) -> None:
    """Take an export into the space: all of it, or nothing.

    An empty space is restored as it was; into another, what is new is merged.
    """
    moved = dict(_move(one) for one in root or ())
    with shown(session, "importing") as advance:
        async with session.memory() as memory:
            imported = await memory.import_(file, moved=moved, dry_run=dry_run, on_progress=advance)
    session.give(imported, lambda paper: _draw_imported(paper, imported))


def _move(given: str) -> tuple[str, str]:
    old, separator, new = given.partition("=")
    if not (separator and old and new):
        raise Invalid(f"--root takes OLD=NEW, such as /home/ann/src=/srv/src; it was {given!r}")
    return old, new


def _draw_exported(paper: Paper, exported: Exported) -> None:
    paper.line(f"{_counts(exported)} in {exported.seconds:.2f} s")
    paper.line(exported.path, Dim(f"  {size(exported.bytes)}"))
    paper.line(Dim(f"content {exported.content_sha256}"))


def _draw_imported(paper: Paper, imported: Imported) -> None:
    paper.line(f"{imported.outcome}: {_counts(imported)} in {imported.seconds:.2f} s")
    paper.line(Dim(f"content {imported.content_sha256}, exported {imported.at}"))
    if imported.masked:
        paper.line(f"{count(imported.masked, 'credential')} masked")
    for name, taken in imported.members.items():
        told = [
            f"{number:,} {what}"
            for what, number in (
                ("known", taken.known),
                ("differ here and stayed", taken.differing),
                ("forgotten here", taken.blocked),
            )
            if number
        ]
        if told:
            paper.line(f"{name}: {', '.join(told)}")
    for one in imported.differing:
        paper.line(Dim(f"  {one.member} {one.id}"))


def _counts(told: Exported | Imported) -> str:
    return ", ".join(
        (
            count(told.findings, "finding"),
            count(told.documents, "document"),
            count(told.tokens, "token"),
        )
    )
