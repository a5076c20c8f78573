"""The command that asks, and what it says when a limit ends it half-way."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from ifmem.entrypoints.cli import stdin
from ifmem.entrypoints.cli.paper import Dim, Paper
from ifmem.entrypoints.cli.progress import shown
from ifmem.entrypoints.cli.searching import Archive, Author, Group, Scope, Since, Source, Until
from ifmem.entrypoints.cli.session import Session, command

if TYPE_CHECKING:
    from ifmem.errors import BudgetExceeded


def register(app: typer.Typer) -> None:
    """Add the command."""
    command(app, "ask")(ask)


async def ask(
    session: Session,
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="QUESTION",
            callback=lambda given: stdin.words(given or []),
            help="What to answer; - reads stdin.",
        ),
    ] = None,
    over: Annotated[
        list[str] | None, typer.Option("--over", help="Load these paths first, and ask them alone.")
    ] = None,
    shard: Annotated[int | None, typer.Option("--shard", help="Ask this shard alone.")] = None,
    model: Annotated[
        str | None,
        typer.Option(
            "--model", help="Who answers: PROVIDER:MODEL, local, or extractive (no model at all)."
        ),
    ] = None,
    max_cost: Annotated[
        str | None,
        typer.Option(
            "--max-cost", metavar="USD", help="What it may cost, below what the settings allow."
        ),
    ] = None,
    estimate: Annotated[
        bool, typer.Option("--estimate", help="Say what it would cost, and call no model.")
    ] = False,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Not an answer kept from the same question before.")
    ] = False,
    archive: Archive = None,
    kept: Annotated[
        str | None,
        typer.Option(
            "--answer", metavar="QUERY_ID", help="Read the answer to a question that was kept."
        ),
    ] = None,
    source: Source = None,
    group: Group = None,
    author: Author = None,
    since: Since = None,
    until: Until = None,
    scope: Scope = None,
) -> None:
    """Answer a question from what is loaded, with citations."""
    from ifmem.client.naming import WhereAndWhen, question
    from ifmem.entrypoints.cli import answers
    from ifmem.errors import BudgetExceeded, Invalid

    if kept is not None:
        if words:
            raise Invalid("--answer asks nothing new: leave out the question")
        async with session.memory() as memory:
            told_later = await memory.archive_answer(kept)
        session.give(told_later, lambda paper: answers.answer(paper, told_later))
        return
    if not words:
        raise Invalid("ask something, or read a kept answer with --answer QUERY_ID")
    # `ask "Q" --over a b`: the shell's further words are paths, not part of the question.
    paths = [*over, *words[1:]] if over else []
    asked = question(words[0] if over else " ".join(words))
    where = WhereAndWhen(
        source=source or (),
        group=group,
        author=author,
        since=since,
        until=until,
        scope=scope.value if scope else None,
    )
    if estimate and paths:
        raise Invalid("--estimate loads nothing: load the paths first, then ask with --source")
    if estimate:
        async with session.memory() as memory:
            told = await memory.estimate(
                asked, shard=shard, model=model, max_cost=max_cost, **where
            )
        session.give(told, lambda paper: answers.estimate(paper, told))
        return
    try:
        with shown(session, "asking") as advance:
            async with session.memory() as memory:
                answer = await memory.ask(
                    asked,
                    over=paths,
                    shard=shard,
                    model=model,
                    max_cost=max_cost,
                    fresh=fresh,
                    archive=archive.value if archive else None,
                    on_progress=advance,
                    **where,
                )
    except BudgetExceeded as error:
        _so_far(session, error)
        raise
    session.give(answer, lambda paper: answers.answer(paper, answer))


def _so_far(session: Session, error: BudgetExceeded) -> None:
    """What was found before the limit; with --json it is in the error."""
    import msgspec

    from ifmem.entrypoints.cli import answers
    from ifmem.wire.answers import Answer

    found = error.facts.get("so_far")
    if session.options.as_json or not isinstance(found, dict):
        return
    answer = msgspec.convert(found, Answer)
    if answer.found:
        paper = Paper(sys.stdout, session.directory)
        paper.line(Dim("found before the limit was reached:"))
        answers.answer(paper, answer)
        sys.stdout.flush()
