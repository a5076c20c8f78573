"""The command `validate`: the seed paper's phases and claims, run for real."""

from __future__ import annotations

from typing import Annotated

import typer

from ifmem.entrypoints.cli.paper import Bold, Dim, Paper
from ifmem.entrypoints.cli.session import Session, command


def register(app: typer.Typer) -> None:
    """Add the command."""
    command(app, "validate")(validate)


def validate(
    session: Session,
    shard_tokens: Annotated[
        int, typer.Option(min=8_000, help="In each of the four shards that are loaded in parallel.")
    ] = 200_000,
    questions: Annotated[int, typer.Option(min=1, max=60, help="In the account of tokens.")] = 10,
) -> int:
    """Run the seed paper's four phases, and measure each of its claims.

    Needs no key and no network; nothing of it is left. Exits with 1 when a phase fails.
    """
    from ifmem.benchmarks import validation

    report = validation.run(shard_tokens=shard_tokens, questions=questions, note=session.note)

    def draw(paper: Paper) -> None:
        for line in validation.lines(report):
            style = str if not line else Dim if line.startswith(" ") else Bold
            paper.line(style(line))

    session.give(report, draw)
    return int(not report.passed)
