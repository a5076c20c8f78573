"""Commands that search and list: recall, findings, sources."""

from __future__ import annotations

import sys
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ifmem.entrypoints.cli import stdin
from ifmem.entrypoints.cli.paper import Dim, Paper
from ifmem.entrypoints.cli.progress import shown
from ifmem.entrypoints.cli.session import Session, command

if TYPE_CHECKING:
    from ifmem.wire.shapes import FindingLine


class ScopeChoice(StrEnum):
    """What a search is about."""

    PROJECT = "project"
    SPACE = "space"


class ArchiveChoice(StrEnum):
    """When the archive is reached."""

    NEVER = "never"
    AUTO = "auto"
    ALWAYS = "always"


Words = Annotated[
    list[str],
    typer.Argument(
        metavar="QUESTION", callback=stdin.words, help="What to look for; - reads stdin."
    ),
]
Source = Annotated[
    list[str] | None,
    typer.Option("--source", help="Only this path, URL or pattern with *; may be repeated."),
]
Group = Annotated[str | None, typer.Option("--group", help="Only documents of this group.")]
Author = Annotated[str | None, typer.Option("--author", help="Only findings of this author.")]
Since = Annotated[
    str | None, typer.Option("--since", help="Nothing before this date or time (UTC).")
]
Until = Annotated[
    str | None, typer.Option("--until", help="Nothing after this date or time (UTC).")
]
At = Annotated[
    str | None,
    typer.Option("--at", help="What was believed at this date or time: corrections undone."),
]
Scope = Annotated[
    ScopeChoice | None,
    typer.Option("--scope", help="This project (default below a .ifmem.toml) or all of the space."),
]

Archive = Annotated[
    ArchiveChoice | None,
    typer.Option("--archive", help="Whether what ended sessions stored is searched too."),
]


def register(app: typer.Typer) -> None:
    """Add these commands."""
    command(app, "recall")(recall)
    command(app, "findings")(findings)
    command(app, "sources")(sources)


async def recall(
    session: Session,
    words: Words,
    archive: Archive = None,
    max_tokens: Annotated[
        int | None, typer.Option("--max-tokens", min=1, help="o200k tokens of all texts together.")
    ] = None,
    limit: Annotated[
        int | None, typer.Option("--limit", min=1, help="At most so many passages and findings.")
    ] = None,
    source: Source = None,
    group: Group = None,
    author: Author = None,
    since: Since = None,
    until: Until = None,
    at: At = None,
    scope: Scope = None,
) -> None:
    """The best passages and findings under a token budget; no model is called."""
    from ifmem.client.naming import question
    from ifmem.entrypoints.cli import render

    asked = question(" ".join(words))
    with shown(session, "recalling"):
        async with session.memory() as memory:
            found = await memory.recall(
                asked,
                max_tokens=max_tokens,
                limit=limit,
                archive=archive.value if archive else None,
                source=source or (),
                group=group,
                author=author,
                since=since,
                until=until,
                at=at,
                scope=scope.value if scope else None,
            )
    session.give(found, lambda paper: render.recall(paper, found))


async def findings(
    session: Session,
    since: Annotated[
        str | None,
        typer.Option(
            "--since",
            help="A cursor, or a date or time; 0 is the beginning, which is where a list begins. "
            "Without it --follow shows what is new.",
        ),
    ] = None,
    follow: Annotated[
        bool, typer.Option("--follow", help="Go on with findings as they come, until interrupted.")
    ] = False,
    consumer: Annotated[
        str | None,
        typer.Option("--as", help="With --follow: go on where the last run of this name ended."),
    ] = None,
    limit: Annotated[int | None, typer.Option("--limit", min=1, help="At most so many.")] = None,
    task: Annotated[str | None, typer.Option("--task", help="Only those of this task.")] = None,
    topic: Annotated[str | None, typer.Option("--topic", help="Only those of this topic.")] = None,
    tag: Annotated[str | None, typer.Option("--tag", help="Only those with this tag.")] = None,
    worker: Annotated[
        str | None, typer.Option("--worker", help="Only those of this worker; as --author.")
    ] = None,
    quarantined: Annotated[
        bool,
        typer.Option("--quarantined", help="Those that wait for `ifmem release`, and no others."),
    ] = False,
    source: Source = None,
    group: Group = None,
    author: Author = None,
    until: Until = None,
    at: At = None,
    scope: Scope = None,
) -> None:
    """The durable log of findings, oldest first; with --json one object per line."""
    from ifmem.engine.following import Filter
    from ifmem.entrypoints.cli import following, render
    from ifmem.errors import Invalid

    paper = Paper(sys.stdout, session.directory)

    def write(line: FindingLine) -> None:
        if session.options.as_json:
            _write_json(line)
        else:
            render.finding(paper, line)

    if at is not None and (follow or quarantined):
        raise Invalid("--at lists what was believed: leave --follow and --quarantined out")
    if follow and quarantined:
        raise Invalid("--quarantined lists what no follower gets: leave --follow out")
    if follow:
        wanted = following.Wanted(
            since=since,
            consumer=consumer,
            topic=topic,
            task=task,
            worker=worker or author,
            tag=tag,
            run=group,
            source=source or (),
            until=until,
        )
        return await following.follow(session, wanted, limit, write)
    if consumer is not None:
        raise Invalid("--as keeps the place of a --follow: add that, or give --since a cursor")
    last, written = None, 0
    here = Filter(tag=tag, worker=worker)
    async with session.memory() as memory:
        async for line in memory.findings(
            since or "0",
            limit=limit if here == Filter() else None,
            task=task,
            topic=topic,
            quarantined=quarantined,
            source=source or (),
            group=group,
            author=author,
            until=until,
            at=at,
            scope=scope.value if scope else None,
        ):
            last = line
            if here.passes(line.finding):
                write(line)
                written += 1
            if written == limit:
                break
    if last is not None and not session.options.as_json and not session.options.quiet:
        which = " --quarantined" if quarantined else ""
        paper.line(Dim(f"what comes later: ifmem findings{which} --since {last.cursor}"))


async def sources(
    session: Session,
    after: Annotated[
        str, typer.Option("--after", help="Begin after this source: `next` of the page before.")
    ] = "",
    limit: Annotated[int, typer.Option("--limit", min=1, help="At most so many.")] = 1_000,
    source: Source = None,
    group: Group = None,
    scope: Scope = None,
) -> None:
    """What is loaded, and where it lies."""
    from ifmem.entrypoints.cli import render

    async with session.memory() as memory:
        page = await memory.sources(
            after=after,
            limit=limit,
            source=source or (),
            group=group,
            scope=scope.value if scope else None,
        )

    session.give(page, lambda paper: render.sources(paper, page))
    if page.next and not session.options.as_json:
        session.note(f"there are more: ifmem sources --after {page.next!r}")


def _write_json(line: FindingLine) -> None:
    import msgspec

    stored: dict[str, Any] = {
        "finding_id": line.finding.get("finding_id"),
        "cursor": line.cursor,
        **line.finding,
    }
    sys.stdout.write(msgspec.json.encode(stored).decode() + "\n")
