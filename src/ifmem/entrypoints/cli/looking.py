"""Commands that tell the state: spaces, shards, workers, librarians, status, doctor, config."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from ifmem.entrypoints.cli.paper import Dim, Paper
from ifmem.entrypoints.cli.session import Session, command

if TYPE_CHECKING:
    from ifmem.wire.shapes import Check

ShowSecrets = Annotated[
    bool, typer.Option("--show-secrets", help="Print passwords in URLs as they are.")
]


def register(app: typer.Typer) -> None:
    """Add these commands."""
    config = typer.Typer(help="The settings.", rich_markup_mode=None, no_args_is_help=True)
    app.add_typer(config, name="config")
    command(config, "show")(show_config)
    command(app, "spaces")(spaces)
    command(app, "shards")(shards)
    command(app, "workers")(workers)
    command(app, "librarians")(librarians)
    command(app, "status")(status)
    command(app, "doctor")(doctor)


async def spaces(session: Session) -> None:
    """The isolated memories of this home."""
    from ifmem.entrypoints.cli import render

    async with session.memory() as memory:
        page = await memory.spaces()
    session.give(page, lambda paper: render.spaces(paper, page))


async def shards(session: Session) -> None:
    """The shards, what they hold, and who holds them."""
    from ifmem.entrypoints.cli import render

    async with session.memory() as memory:
        page = await memory.shards()
    session.give(page, lambda paper: render.shards(paper, page.items))


async def workers(session: Session) -> None:
    """The workers and their last heartbeats."""
    from ifmem.entrypoints.cli import render

    async with session.memory() as memory:
        page = await memory.workers()
    session.give(page, lambda paper: render.workers(paper, page.items))


async def librarians(session: Session) -> None:
    """The librarians and what is left of their quotas."""
    from ifmem.entrypoints.cli import render
    from ifmem.wire.shapes import Page

    async with session.memory() as memory:
        rows = (await memory.status()).librarians
    session.give(Page(rows), lambda paper: render.librarians(paper, rows))


async def status(session: Session, show_secrets: ShowSecrets = False) -> None:
    """Everything at a glance."""
    from ifmem.entrypoints.cli import render

    async with session.memory() as memory:
        seen = await memory.status(show_secrets=show_secrets)
    session.give(seen, lambda paper: render.status(paper, seen))


async def doctor(
    session: Session,
    repair: Annotated[bool, typer.Option("--repair", help="Repair what can be repaired.")] = False,
) -> int:
    """Find what is wrong, from Python up to the bus, and try each connected agent."""
    from ifmem.entrypoints.cli import render
    from ifmem.entrypoints.cli.installing import agent_checks
    from ifmem.errors import IfMemError
    from ifmem.wire.shapes import Check, Checkup

    checks = _local_checks()
    code = 0
    try:
        async with session.memory() as memory:
            checks.append(Check("daemon", True, f"answers, home {memory.settings.home_path}"))
            checks += (await memory.doctor(repair=repair)).checks
    except IfMemError as error:
        checks.append(Check("daemon", False, error.message))
        code = error.exit_code
    checks += await agent_checks(session)
    seen = Checkup(checks)
    session.give(seen, lambda paper: render.checkup(paper, seen))
    return code or int(not all(check.ok for check in checks))


async def show_config(
    session: Session,
    origin: Annotated[
        bool, typer.Option("--origin", help="Say where each setting was read.")
    ] = False,
    show_secrets: ShowSecrets = False,
) -> None:
    """Every setting with its value."""
    import os

    import msgspec

    from ifmem.settings import as_flags, read_settings
    from ifmem.wire.shapes import Page

    options = session.options
    flags = as_flags(
        [("space", options.space), ("home", options.home), ("redis.url", options.redis)]
    )
    settings, origins = read_settings(
        flags=flags, environment=os.environ, directory=session.directory
    )
    rows = [_shown(one, str(settings.home_path), show_secrets) for one in origins]
    if not origin:
        rows = [{"name": row["name"], "value": row["value"]} for row in rows]

    def draw(paper: Paper) -> None:
        for row in rows:
            value = msgspec.json.encode(row["value"]).decode()
            paper.line(f"{row['name']} = {value}", Dim(f"  # {row['origin']}" if origin else ""))

    session.give(Page(rows), draw)


def _shown(one: Any, home: str, show_secrets: bool) -> dict[str, object]:
    value = one.value
    if one.name == "home":
        value = home
    elif one.name == "redis.url" and not show_secrets:
        from ifmem.settings import without_password

        value = without_password(str(value))
    return {"name": one.name, "value": value, "origin": one.origin}


def _local_checks() -> list[Check]:
    import platform
    import sqlite3

    from ifmem.wire.shapes import Check

    python = platform.python_version_tuple()
    return [
        Check("python", (int(python[0]), int(python[1])) >= (3, 11), platform.python_version()),
        Check("sqlite", sqlite3.sqlite_version_info >= (3, 37), sqlite3.sqlite_version),
    ]
