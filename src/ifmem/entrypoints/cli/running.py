"""Commands that run things: up, down, demo."""

from __future__ import annotations

from typing import Annotated

import typer

from ifmem.entrypoints.cli.paper import Bold, Dim, Paper
from ifmem.entrypoints.cli.progress import shown
from ifmem.entrypoints.cli.session import Session, command


def register(app: typer.Typer) -> None:
    """Add these commands."""
    command(app, "up")(up)
    command(app, "down")(down)
    command(app, "demo")(demo)


async def up(
    session: Session,
    adopt: Annotated[
        bool, typer.Option("--adopt", help="Take over keys that another store has written.")
    ] = False,
    role: Annotated[
        str | None,
        typer.Option(
            "--role",
            help="`client`: no store here; calls go to the owner of the space on the same Redis.",
        ),
    ] = None,
) -> None:
    """Start the daemon, if it does not run."""
    from ifmem.client import launch
    from ifmem.client.memory import Memory

    settings = session.settings(role=role)
    with shown(session, "starting"):
        if adopt:
            # A daemon opens its first space as it starts, so it must be told before.
            await (await launch.connect(settings, adopt=True)).close()
        async with Memory.open(settings=settings) as memory:
            if adopt:
                await memory.adopt()
            status = await memory.status()
    socket = await launch.reach(settings)
    shape = {
        "version": status.version,
        "pid": status.daemon_pid,
        "home": str(settings.home_path),
        "socket": str(socket),
        "redis": status.redis,
    }

    def draw(paper: Paper) -> None:
        bus = "embedded server" if status.redis.embedded else status.redis.url
        paper.line(Bold(f"ifmem {status.version} is up"), f", process {status.daemon_pid}")
        paper.line(Dim(f"home {settings.home_path}, {bus} {status.redis.version}"))

    session.give(shape, draw)


async def down(session: Session) -> None:
    """Stop the daemon and its server; no process is left."""
    from ifmem.client import launch

    with shown(session, "stopping"):
        ran = await launch.stop(session.settings())
    session.give(
        {"stopped": ran}, lambda paper: paper.line("stopped" if ran else "nothing was running")
    )


async def demo(session: Session) -> int | None:
    """A first run of everything on real text; needs nothing and leaves nothing."""
    from ifmem.entrypoints import demo
    from ifmem.entrypoints.cli import demonstration

    with shown(session, "loading") as advance:
        report = await demo.run(on_progress=advance)
    session.give(report, lambda paper: demonstration.draw(paper, report))
    return 1 if report.left_behind else None
