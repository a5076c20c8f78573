"""The audit: who did what, whether its chain holds, and checkpoints of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from ifmem.entrypoints.cli.inbox import ListsByDefault
from ifmem.entrypoints.cli.paging import After, Limit, draw_next
from ifmem.entrypoints.cli.paper import Bold, Dim, Paper, count, one_line
from ifmem.entrypoints.cli.session import Session, command

if TYPE_CHECKING:
    from ifmem.wire.audit_calls import AuditCheck, AuditLine


def register(app: typer.Typer) -> None:
    """Add these commands."""
    group = typer.Typer(
        help="Who did what: every write, refusal, grant and decision, in a sealed chain.",
        rich_markup_mode=None,
        cls=ListsByDefault,
    )
    app.add_typer(group, name="audit")
    for name, function in (
        ("list", list_rows),
        ("check", check),
        ("accept", accept),
        ("checkpoint", checkpoint),
        ("keygen", keygen),
    ):
        command(group, name)(function)


async def list_rows(
    session: Session,
    agent: Annotated[str | None, typer.Option("--agent", help="Who did it, or tried to.")] = None,
    task: Annotated[str | None, typer.Option("--task", help="Only of this task.")] = None,
    since: Annotated[str | None, typer.Option("--since", help="A date or time.")] = None,
    until: Annotated[
        str | None, typer.Option("--until", help="The same; a date with its whole day.")
    ] = None,
    type: Annotated[
        str | None, typer.Option("--type", help="write, refusal, grant or decision.")
    ] = None,
    severity: Annotated[
        str | None, typer.Option("--severity", help="info, warning or critical.")
    ] = None,
    action: Annotated[
        str | None, typer.Option("--action", help="The verb, such as remember.")
    ] = None,
    subject: Annotated[
        str | None, typer.Option("--subject", help="The id of what it was done to.")
    ] = None,
    after: After = "",
    limit: Limit = 100,
) -> None:
    """The rows of the audit, newest first; the same as `ifmem audit` alone."""
    async with session.memory() as memory:
        page = await memory.audit(
            agent=agent,
            task=task,
            since=since,
            until=until,
            type=type,
            severity=severity,
            action=action,
            subject=subject,
            after=after,
            limit=limit,
        )

    def draw_page(paper: Paper) -> None:
        for row in page:
            _draw_row(paper, row)
        if not page.items:
            paper.line("the audit has no such row")
        draw_next(paper, page.next)

    session.give(page, draw_page)


async def check(session: Session) -> int:
    """Whether every row is as it was written, and none is missing; exits with 1 if not."""
    async with session.memory() as memory:
        checked = await memory.audit_chain()
    session.give(checked, lambda paper: _draw_check(paper, checked))
    return 0 if checked.intact else 1


async def accept(
    session: Session,
    reason: Annotated[str, typer.Option("--reason", help="Why you know of it; kept.")],
    by: Annotated[
        str | None, typer.Option("--by", help="Who decides; by default you, on this host.")
    ] = None,
) -> int:
    """Say that you know why the first break is there, such as a store restored from a copy.

    Exits with 1 while there are further breaks.
    """
    async with session.memory() as memory:
        checked = await memory.accept_break(reason, by=by)
    session.give(checked, lambda paper: _draw_check(paper, checked))
    return 0 if checked.intact else 1


async def checkpoint(
    session: Session,
    key: Annotated[
        str, typer.Option("--key", metavar="FILE", help="Your Ed25519 private key, in PEM.")
    ],
    output: Annotated[
        str | None, typer.Option("--output", metavar="FILE", help="Write it there instead.")
    ] = None,
) -> None:
    """Sign where the audit ends now, with a key that lies outside the home.

    Keep what it prints elsewhere: `ifmem verify --checkpoint FILE` compares the audit with it.
    """
    import msgspec

    from ifmem.errors import NotPermitted
    from ifmem.wire import audit_checkpoints

    file = session.directory / key
    home = session.settings().home_path
    if file.resolve().is_relative_to(home.resolve()):
        raise NotPermitted(
            f"the key {file} lies in the home {home}: who owns the home could sign as you; keep it "
            "elsewhere"
        )
    async with session.memory() as memory:
        unsigned = await memory.audit_checkpoint()
    signed = audit_checkpoints.sign(unsigned, file)
    if output is None:
        text = msgspec.json.encode(signed).decode()
        session.give(signed, lambda paper: paper.line(text))
        return
    try:
        (session.directory / output).write_bytes(msgspec.json.encode(signed) + b"\n")
    except OSError as error:
        raise NotPermitted(f"{output} cannot be written ({error.strerror})") from error
    session.give(
        signed, lambda paper: paper.line(f"row {signed.rows:,} is signed in ", Bold(output))
    )


def keygen(
    session: Session,
    file: Annotated[str, typer.Argument(metavar="FILE", help="Where the private key goes.")],
) -> None:
    """Make an Ed25519 key for checkpoints; its public half, which checks need, goes to FILE.pub."""
    from ifmem.errors import NotPermitted
    from ifmem.wire import audit_checkpoints

    private = session.directory / file
    half = private.with_name(private.name + ".pub")
    public = audit_checkpoints.make_key(private)
    try:
        half.write_text(public + "\n")
    except OSError as error:
        raise NotPermitted(f"{half} cannot be written ({error.strerror})") from error
    session.give(
        {"file": str(private), "public_key": public},
        lambda paper: paper.line(Dim("public key "), public),
    )


def _draw_row(paper: Paper, row: AuditLine) -> None:
    kind = row.type if row.severity == "info" else f"{row.type}, {row.severity}"
    paper.line(
        Dim(f"{row.row} {row.at} "),
        Bold(row.action),
        f" by {row.actor} ",
        Dim(f"({kind}) "),
        one_line(row.subject),
    )
    paper.line(Dim(f"    {one_line(row.reason)}"))


def _draw_check(paper: Paper, checked: AuditCheck) -> None:
    rows = count(checked.rows, "row")
    accepted = f", {count(checked.accepted, 'accepted break')}" if checked.accepted else ""
    if checked.intact:
        paper.line(Bold("intact"), f": {rows}{accepted}")
    else:
        paper.line(Bold(f"broken at row {checked.first_broken}"), f": {checked.why}")
        paper.line(Dim(f"{rows}{accepted}"))
