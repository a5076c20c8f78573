"""The command that agents start: mcp."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ifmem.entrypoints.cli.session import Session, command


def register(app: typer.Typer) -> None:
    """Add this command."""
    command(app, "mcp")(mcp)


def mcp(
    session: Session,
    root: Annotated[
        Path | None,
        typer.Option(
            "--root",
            help="The agent's project, whose files it may load and cite. "
            "[default: $CLAUDE_PROJECT_DIR, else where it is started]",
            show_default=False,
        ),
    ] = None,
    agent: Annotated[
        str | None,
        typer.Option("--agent", help="The agent's name, as the author of what it says."),
    ] = None,
) -> int:
    """Serve one agent over MCP, on standard input and output; agents start this themselves."""
    from ifmem.shim import stdio

    options = session.options
    where = None if root is None else str(root)
    return stdio.serve(stdio.identity(options.home, options.space, where, agent))
