"""Lists that come a page at a time: where one begins, and how the next is asked for."""

from __future__ import annotations

import shlex
from typing import Annotated

import typer

from ifmem.entrypoints.cli.paper import Dim, Paper

After = Annotated[str, typer.Option("--after", help="Go on after this `next`.")]
Limit = Annotated[int, typer.Option("--limit", min=1, help="At most so many.")]


def draw_next(paper: Paper, after: str | None) -> None:
    """How the next page is asked for, when there is one."""
    if after is not None:
        paper.line(Dim(f"more: --after {shlex.quote(after)}"))
