"""The inbox: what waits for a person, shown and decided."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from ifmem.entrypoints.cli.paging import After, Limit, draw_next
from ifmem.entrypoints.cli.paper import Accent, Bold, Dim, Paper, count, one_line
from ifmem.entrypoints.cli.session import Session, command

if TYPE_CHECKING:
    from ifmem.wire.inbox_calls import InboxItem, SideShape

Item = Annotated[
    str, typer.Argument(metavar="ITEM", help="As `ifmem inbox` lists it, or what it is about.")
]


class ListsByDefault(TyperGroup):
    """A group of commands that lists when none of them is named."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put `list` first where nothing else is meant."""
        if not {"-h", "--help", *self.commands} & set(args):
            args = ["list", *args]
        return super().parse_args(ctx, args)


def register(app: typer.Typer) -> None:
    """Add these commands."""
    group = typer.Typer(
        help="What waits for a person: listed, shown, and decided.",
        rich_markup_mode=None,
        cls=ListsByDefault,
    )
    app.add_typer(group, name="inbox")
    for name, function in (("list", list_items), ("show", show), ("resolve", resolve)):
        command(group, name)(function)


async def list_items(
    session: Session,
    kind: Annotated[
        str | None, typer.Option("--kind", help="Only these, such as conflict or quarantined.")
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="Also what was decided.")] = False,
    after: After = "",
    limit: Limit = 100,
) -> None:
    """What waits for a person; the same as `ifmem inbox` alone."""
    async with session.memory() as memory:
        page = await memory.inbox(kind=kind, all=everything, after=after, limit=limit)

    def draw_page(paper: Paper) -> None:
        for item in page:
            _brief(paper, item)
        if not page.items:
            paper.line("nothing waits for a person")
        draw_next(paper, page.next)

    session.give(page, draw_page)


async def show(session: Session, item: Item) -> None:
    """One item, with the findings it is about and what they cite."""
    async with session.memory() as memory:
        shown = await memory.inbox_item(item)
    session.give(shown, lambda paper: draw(paper, shown))


async def resolve(
    session: Session,
    item: Item,
    keep: Annotated[
        list[str] | None,
        typer.Option("--keep", metavar="FINDING", help="It stands; may be repeated."),
    ] = None,
    both: Annotated[bool, typer.Option("--both", help="All of them stand.")] = False,
    dismiss: Annotated[
        bool, typer.Option("--dismiss", help="There is nothing to decide; needs --reason.")
    ] = False,
    reason: Annotated[str, typer.Option("--reason", help="Kept with the decision.")] = "",
    by: Annotated[
        str | None, typer.Option("--by", help="Who decides; by default you, on this host.")
    ] = None,
) -> None:
    """Decide an item: tasks that it blocked can be claimed again."""
    async with session.memory() as memory:
        done = await memory.resolve(
            item, keep=keep or (), both=both, dismiss=dismiss, reason=reason, by=by
        )
    session.give(done, lambda paper: draw(paper, done))


def draw(paper: Paper, item: InboxItem) -> None:
    """One item for a person."""
    _head(paper, item)
    for one in item.findings:
        draw_side(paper, one)
    if item.findings_count > len(item.findings):
        paper.line(Dim(f"  and {item.findings_count - len(item.findings):,} more"))
    for task in item.tasks:
        paper.line(Dim("  task      "), task)
    if item.outcome is None:
        paper.line(Dim("  next      "), item.next)
    else:
        why = f": {item.reason}" if item.reason else ""
        paper.line(
            Dim("  resolved  "), f"{item.outcome} by {item.closed_by}, {item.closed_at}{why}"
        )


def draw_side(paper: Paper, side: SideShape) -> None:
    """A finding that disagrees or is to be looked at, with what it cites."""
    value = "" if side.value is None else f" = {side.value:g}{f' {side.unit}' if side.unit else ''}"
    mark = {True: "kept", False: "not kept", None: ""}[side.kept]
    if side.superseded_by is not None:
        mark = f"superseded by {side.superseded_by or 'a forgotten finding'}"
    paper.line(
        Dim("  finding   "), Accent(side.finding_id), value, Dim(f"  {mark}" if mark else "")
    )
    paper.line(f"            {one_line(side.claim)}")
    paper.line(
        Dim(
            f"            {side.worker_id}, {side.trust}, confidence {side.confidence:g}, "
            f"{side.timestamp}"
        )
    )
    for cited in side.citations:
        if isinstance(cited, str):
            paper.line(Dim("            cites "), cited)
        else:
            place = paper.place(cited["source"], cited.get("lines"))
            paper.line(
                Dim("            cites "), Accent(place), f"  {one_line(cited['quote'], 100)}"
            )


def _brief(paper: Paper, item: InboxItem) -> None:
    _head(paper, item)
    for one in item.findings[:2]:
        paper.line(f"    {one.finding_id}  {one_line(one.claim, 80)}")
    if item.findings_count > 2:
        paper.line(Dim(f"    of {count(item.findings_count, 'finding')}"))
    if item.outcome is None:
        paper.line(Dim(f"    {item.next}"))


def _head(paper: Paper, item: InboxItem) -> None:
    state = "" if item.outcome is None else f"  ({item.outcome})"
    paper.line(Bold(item.kind), Dim(f"  {item.item}{state}"))
    paper.line(f"  {one_line(item.rationale)}", Dim(f"  since {item.opened_at}"))
