"""Commands for agents that come over HTTP: the server, and their tokens."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ifmem.entrypoints.cli.paper import Bold, Dim, Paper
from ifmem.entrypoints.cli.progress import shown
from ifmem.entrypoints.cli.session import Session, command
from ifmem.errors import Invalid, NotFound

if TYPE_CHECKING:
    import msgspec

    from ifmem.client.connection import Result
    from ifmem.wire.agent_calls import TokenShape

Name = Annotated[
    str, typer.Argument(metavar="NAME", help="The agent: letters, digits and . _ @ -.")
]
_SECONDS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 7 * 86_400}


def register(app: typer.Typer) -> None:
    """Add these commands."""
    command(app, "serve")(serve)
    tokens = typer.Typer(
        help="Tokens of agents that come over HTTP.", rich_markup_mode=None, no_args_is_help=True
    )
    app.add_typer(tokens, name="token")
    for name, function in (("create", create), ("list", list_tokens), ("revoke", revoke)):
        command(tokens, name)(function)


async def serve(
    session: Session,
    port: Annotated[
        int | None,
        typer.Option("--port", min=0, max=65_535, help="On 127.0.0.1; 0 takes a free one."),
    ] = None,
) -> int:
    """Serve agents over HTTP on this machine, until interrupted."""
    from ifmem.entrypoints import serving

    def ready(url: str) -> None:
        session.give({"url": url}, lambda paper: paper.line(Bold(url)))
        session.note(
            "Give each agent a token of its own (`ifmem token create NAME`); it sends it as\n"
            "`Authorization: Bearer TOKEN`. Ctrl-C ends the server."
        )

    return await serving.serve(session.settings(), port=port, ready=ready)


async def create(
    session: Session,
    name: Name,
    scope: Annotated[
        str, typer.Option("--scope", help="What it may do: read, write, admin, with commas.")
    ] = "read,write",
    expires: Annotated[
        str | None, typer.Option("--expires", help="For how long: 12h, 30d, 8w; else for ever.")
    ] = None,
    root: Annotated[
        list[Path] | None,
        typer.Option("--root", help="A directory it may load from and cite; may be repeated."),
    ] = None,
    quarantine: Annotated[
        bool, typer.Option("--quarantine", help="What it says waits until you release it.")
    ] = False,
) -> None:
    """Make a token for one agent, and show it this once."""
    from ifmem.wire.agent_calls import TokenCreateCall, TokenShape

    call = TokenCreateCall(
        name=name,
        scopes=tuple(one for one in re.split(r"[,\s]+", scope.strip()) if one),
        roots=tuple(_directory(session, one) for one in root or ()),
        expires_seconds=None if expires is None else seconds(expires),
        quarantine=quarantine,
    )
    made = await _call(session, "token_create", call, TokenShape)
    session.give(made, lambda paper: paper.line(made.token or ""))
    session.note(
        f"The token of {made.name} for the space {made.space} ({_allows(made)}). It is not shown "
        "again:\nput it where the agent keeps secrets. It is sent as `Authorization: Bearer TOKEN` "
        f"to\n`ifmem serve`; `ifmem token revoke {made.name}` ends it."
    )


async def list_tokens(session: Session) -> None:
    """Who has or had a token."""
    from ifmem.wire.agent_calls import TokenShape
    from ifmem.wire.shapes import Page

    page = await _call(session, "token_list", None, Page[TokenShape])

    def draw(paper: Paper) -> None:
        if not page.items:
            paper.line("Nobody has a token.")
            return
        paper.table(
            ("name", "state", "space", "scopes", "trust", "expires", "roots"),
            [
                (
                    one.name,
                    one.state,
                    one.space,
                    ",".join(one.scopes),
                    one.trust,
                    one.expires_at,
                    ", ".join(map(paper.place, one.roots)) or None,
                )
                for one in page
            ],
        )

    session.give(page, draw)


async def revoke(session: Session, name: Name) -> None:
    """End a token at once, also where it is in use."""
    from ifmem.wire.agent_calls import TokenRevokeCall, TokenShape

    ended = await _call(session, "token_revoke", TokenRevokeCall(name), TokenShape)
    session.give(
        ended, lambda paper: paper.line(f"{ended.name}: ", Dim(f"revoked at {ended.revoked_at}"))
    )


def seconds(text: str) -> float:
    """A duration as a person writes it: ``90s``, ``12h``, ``30d``, ``8w``.

    Raises:
        Invalid: it is written otherwise.
    """
    match = re.fullmatch(r"(\d{1,9}) ?([smhdw])", text.strip())
    if match is None:
        raise Invalid(f"{text[:40]!r} is no duration: write 90s, 15m, 12h, 30d or 8w")
    return float(int(match[1]) * _SECONDS[match[2]])


async def _call(
    session: Session, method: str, params: msgspec.Struct | None, returns: type[Result]
) -> Result:
    from ifmem.client import launch

    settings = session.settings()
    with shown(session, "starting"):
        connection = await launch.connect(settings)
    try:
        return await connection.call(method, params, returns=returns, space=settings.space)
    finally:
        await connection.close()


def _directory(session: Session, root: Path) -> str:
    place = session.directory / root.expanduser()
    if not place.is_dir():
        raise NotFound(f"{root} is no directory: --root names one that is there", path=str(root))
    return str(place.resolve())


def _allows(token: TokenShape) -> str:
    until = f"until {token.expires_at}" if token.expires_at else "without end"
    return f"{', '.join(token.scopes)}, {until}"
