"""The command that connects coding agents to the memory: install."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ifmem.entrypoints.cli.paper import Accent, Bold, Dim, Paper
from ifmem.entrypoints.cli.session import Session, command

if TYPE_CHECKING:
    from ifmem.agents.clients import Surroundings
    from ifmem.agents.connecting import Wish
    from ifmem.agents.files import Change
    from ifmem.agents.launch import Launch
    from ifmem.wire.shapes import Check

_NAME = r"[A-Za-z0-9_-]{1,64}"


def register(app: typer.Typer) -> None:
    """Add this command."""
    command(app, "install")(install)


def install(
    session: Session,
    agent: Annotated[
        str, typer.Argument(help="claude, codex, gemini, cursor or vscode.", show_default=False)
    ],
    scope: Annotated[
        str,
        typer.Option(
            "--scope", help="`user`: for all projects; `project`: in files of this directory."
        ),
    ] = "user",
    capture: Annotated[
        bool,
        typer.Option("--capture", help="Also keep what the agent reads, searches and tests."),
    ] = False,
    share: Annotated[
        bool,
        typer.Option("--share", help="With --capture: in the space itself, for everybody on it."),
    ] = False,
    name: Annotated[str, typer.Option("--name", help="What the agent calls the server.")] = "ifmem",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would change, and change nothing.")
    ] = False,
    uninstall: Annotated[
        bool,
        typer.Option("--uninstall", help="Take it out again; with --capture: the hooks alone."),
    ] = False,
) -> None:
    """Connect a coding agent: show what changes in its files, copy them aside, and edit them."""
    from ifmem import clock
    from ifmem.agents import connecting

    wish = _wish(agent, scope, name, capture=capture, share=share, uninstall=uninstall)
    launch = this_launch(session)
    changes = connecting.plan(wish, launch, surroundings(session))
    backups = [None] * len(changes) if dry_run else connecting.carry_out(changes, clock.now())
    notes = _notes(wish, launch) if changes and not uninstall and not dry_run else []
    shape = {
        "agent": wish.client.name,
        "files": [
            {
                "path": str(change.path),
                "diff": change.diff,
                "backup": None if backup is None else str(backup),
            }
            for change, backup in zip(changes, backups, strict=True)
        ],
        "changed": bool(changes) and not dry_run,
        "notes": notes,
    }

    def draw(paper: Paper) -> None:
        for change, backup in zip(changes, backups, strict=True):
            _draw_change(paper, change, backup)
        paper.line(Bold(_told(wish, changes, dry_run=dry_run)))
        for note in notes:
            paper.line(note)

    session.give(shape, draw)


async def agent_checks(session: Session) -> list[Check]:
    """Every agent that is connected, tried as it would start."""
    import asyncio

    from ifmem.agents.checking import check_agents
    from ifmem.wire.shapes import Check

    around = surroundings(session)
    # In a thread: it waits for the processes that it starts.
    seen = await asyncio.to_thread(lambda: list(check_agents(around)))
    return [Check(one.name, one.ok, one.message) for one in seen]


def this_launch(session: Session) -> Launch:
    """How agents start this installation, for the memory that this command would use."""
    from ifmem.agents.launch import Launch
    from ifmem.settings import as_flags, read_settings

    options = session.options
    settings, origins = read_settings(
        flags=as_flags([("space", options.space), ("home", options.home)]),
        environment=os.environ,
        directory=session.directory,
    )
    # What a file says, the agent's own start reads there, also after it has changed.
    said = {one.name for one in origins if one.origin in ("flag", "environment")}
    own_data = "home" in said or bool(os.environ.get("XDG_DATA_HOME"))
    variables = ("IFMEM_CONFIG", "XDG_CONFIG_HOME")
    return Launch(
        program=_program(),
        home=str(settings.home_path) if own_data else None,
        space=settings.space if "space" in said else None,
        environment={one: os.environ[one] for one in variables if os.environ.get(one)},
    )


def surroundings(session: Session) -> Surroundings:
    """Where this person's agents keep their files."""
    from ifmem.agents.clients import Surroundings

    return Surroundings(
        home=Path.home(),
        project=session.directory,
        environment=os.environ,
        macos=sys.platform == "darwin",
    )


def _wish(
    agent: str, scope: str, name: str, *, capture: bool, share: bool, uninstall: bool
) -> Wish:
    import re

    from ifmem.agents.clients import CLIENTS, ScopeOfFile
    from ifmem.agents.connecting import Wish
    from ifmem.errors import Invalid

    if agent not in CLIENTS:
        raise Invalid(f"{agent} is none of the agents {', '.join(CLIENTS)}: name one of them")
    if scope not in set(ScopeOfFile):
        raise Invalid(f"--scope is user or project, not {scope}")
    if not re.fullmatch(_NAME, name):
        raise Invalid(f"--name {name!r} is no name: take letters, digits, - and _, 64 at most")
    if share and not capture:
        raise Invalid("--share says where captured text goes: give --capture with it")
    return Wish(
        client=CLIENTS[agent],
        scope=ScopeOfFile(scope),
        name=name,
        capture=capture,
        share=share,
        uninstall=uninstall,
    )


def _program() -> tuple[str, ...]:
    """What starts this installation, by its whole path: an agent may have another PATH."""
    import sysconfig

    # Not where a link of the interpreter leads: the environment lies where the link is.
    beside = Path(sys.executable).parent, Path(sysconfig.get_path("scripts"))
    for directory in beside:
        script = directory / "ifmem"
        if script.is_absolute() and os.access(script, os.X_OK):
            return (str(script),)
    return (sys.executable, "-m", "ifmem")


def _notes(wish: Wish, launch: Launch) -> list[str]:
    """What a person still has to do, or should know."""
    from importlib.util import find_spec

    said = wish.client.notes
    keys = [str(wish.scope), *(["capture"] if wish.capture else [])]
    notes = [said[key] for key in keys if key in said]
    if find_spec("mcp") is None:
        notes.append("Agents need the extra `mcp`: pip install 'ifmem[mcp]'.")
    if any(part in ("archive-v0", "builds-v0") for part in Path(launch.program[0]).parts):
        notes.append(
            f"{launch.program[0]} lies in a cache that is emptied: install ifmem, and run this "
            "again from there."
        )
    return notes


def _told(wish: Wish, changes: list[Change], *, dry_run: bool) -> str:
    title = wish.client.title
    if not changes:
        return f"{title}: nothing to change"
    if dry_run:
        return "nothing was changed: --dry-run"
    if wish.uninstall:
        return f"{title} does not use ifmem from its next session on"
    return f"{title} uses ifmem from its next session on; `ifmem doctor` tries it now"


def _draw_change(paper: Paper, change: Change, backup: Path | None) -> None:
    for line in change.diff.splitlines():
        style = {"+": Accent, "-": Dim}.get(line[:1], str)
        paper.line(style(line))
    if backup is not None:
        paper.line(Dim(f"a copy of what it was: {backup}"))
