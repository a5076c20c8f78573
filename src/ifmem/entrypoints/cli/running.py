"""Commands that run things: up, down, demo, bench."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import typer

from ifmem.entrypoints.cli.paper import Bold, Dim, Paper
from ifmem.entrypoints.cli.progress import shown
from ifmem.entrypoints.cli.session import Session, command

Out = Annotated[
    Path | None,
    typer.Option(
        "--out",
        help="Folder for the report with its raw samples; by default benchmarks/results in a "
        "checkout, else ifmem-bench.",
    ),
]
Semantic = Annotated[
    bool,
    typer.Option("--semantic", help="With the extra `semantic`, once it has embedded everything."),
]
TextDirectory = Annotated[
    Path | None,
    typer.Option("--dir", help="Where the text is taken from; by default what this machine has."),
]


def register(app: typer.Typer) -> None:
    """Add these commands."""
    command(app, "up")(up)
    command(app, "down")(down)
    command(app, "demo")(demo)
    bench = typer.Typer(
        help="Benchmarks; each prints its baselines.", rich_markup_mode=None, no_args_is_help=True
    )
    app.add_typer(bench, name="bench")
    command(bench, "load")(bench_load)
    command(bench, "query")(bench_query)
    command(bench, "needles")(bench_needles)
    command(bench, "retrieval")(bench_retrieval)


async def up(
    session: Session,
    adopt: Annotated[
        bool, typer.Option("--adopt", help="Take over keys that another store has written.")
    ] = False,
) -> None:
    """Start the daemon, if it does not run."""
    from ifmem.client import launch

    settings = session.settings()
    with shown(session, "starting"):
        if adopt:
            # A daemon opens its first space as it starts, so it must be told before.
            await (await launch.connect(settings, adopt=True)).close()
        async with session.memory() as memory:
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


def bench_load(
    session: Session,
    n: Annotated[int, typer.Option(min=2, help="Measured loads in each mode.")] = 1_000,
    baseline_n: Annotated[int, typer.Option(min=2, help="Measured runs of each baseline.")] = 200,
    shard_tokens: Annotated[int, typer.Option(min=8_000, help="Tokens in each shard.")] = 200_000,
    directory: TextDirectory = None,
    out: Out = None,
) -> None:
    """How fast shards are loaded, beside reading and tokenising their files again."""
    _bench(
        session,
        "load",
        n=n,
        baseline_n=baseline_n,
        shard_tokens=shard_tokens,
        directory=directory,
        out=out,
    )


def bench_query(
    session: Session,
    tokens: Annotated[int, typer.Option(min=1_000, help="Tokens to load.")] = 800_000,
    n: Annotated[int, typer.Option(min=2, help="Questions at each point.")] = 1_000,
    directory: TextDirectory = None,
    semantic: Semantic = False,
    out: Out = None,
) -> None:
    """How long recall and ask take, with 1, 8 and 32 clients at once."""
    _bench(session, "query", tokens=tokens, n=n, directory=directory, semantic=semantic, out=out)


def bench_needles(
    session: Session,
    directory: Annotated[
        Path | None,
        typer.Option("--dir", help="A labelled set; by default own facts are planted."),
    ] = None,
    tokens: Annotated[int, typer.Option(min=1_000, help="Tokens to plant them in.")] = 800_000,
    seed: Annotated[int, typer.Option(help="Decides names, numbers and places.")] = 23,
    semantic: Semantic = False,
    out: Out = None,
) -> None:
    """Whether one sentence in a page of something else is found, and nothing is made up."""
    _bench(
        session,
        "needles",
        directory=directory,
        tokens=tokens,
        seed=seed,
        semantic=semantic,
        out=out,
    )


def bench_retrieval(
    session: Session,
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="A data set in BEIR's format.")],
    run_file: Annotated[
        Path | None, typer.Option("--run", help="Write what was found for each query here.")
    ] = None,
    semantic: Semantic = False,
    out: Out = None,
) -> None:
    """Retrieval quality on a labelled set, beside SQLite's FTS5."""
    _bench(session, "retrieval", directory=directory, run_file=run_file, semantic=semantic, out=out)


def _bench(session: Session, name: str, **options: Any) -> None:
    module = import_module(f"ifmem.benchmarks.{name}")
    report = module.run(**options, note=session.note)

    def draw(paper: Paper) -> None:
        for line in module.lines(report):
            paper.line(line)

    session.give(report, draw)
