"""The commands `bench …`: each runs one benchmark and prints what it measured."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import typer

from ifmem.entrypoints.cli.paper import Paper
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
    bench = typer.Typer(
        help="Benchmarks; each prints its baselines.", rich_markup_mode=None, no_args_is_help=True
    )
    app.add_typer(bench, name="bench")
    command(bench, "load")(bench_load)
    command(bench, "query")(bench_query)
    command(bench, "cost")(bench_cost)
    command(bench, "needles")(bench_needles)
    command(bench, "retrieval")(bench_retrieval)
    command(bench, "claims")(bench_claims)
    command(bench, "delivery")(bench_delivery)
    command(bench, "durability")(bench_durability)
    command(bench, "scale")(bench_scale)
    command(bench, "hot")(bench_hot)
    command(bench, "tokens")(bench_tokens)
    command(bench, "overhead")(bench_overhead)
    command(bench, "agents")(bench_agents)
    command(bench, "archive")(bench_archive)


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


def bench_agents(
    session: Session,
    tokens: Annotated[int, typer.Option(min=1_000, help="Tokens to load.")] = 800_000,
    n: Annotated[int, typer.Option(min=10, help="Recalls by each way.")] = 1_000,
    starts: Annotated[int, typer.Option(min=2, help="Starts of a shim.")] = 20,
    out: Out = None,
) -> None:
    """How long agents wait over MCP, how soon one hears of another, and what is lost."""
    _bench(session, "agents", tokens=tokens, n=n, starts=starts, out=out)


def bench_archive(
    session: Session,
    findings: Annotated[int, typer.Option(min=100, help="Findings to archive.")] = 100_000,
    n: Annotated[int, typer.Option(min=10, help="Questions, and briefs.")] = 1_000,
    rounds: Annotated[int, typer.Option(min=1, help="Reservations of each caller.")] = 1_000,
    out: Out = None,
) -> None:
    """What a large archive costs: answers, briefs, checks, quotas, a back-up."""
    _bench(session, "archive", findings=findings, n=n, rounds=rounds, out=out)


def bench_cost(
    session: Session,
    queries: Annotated[int, typer.Option(min=1, help="Questions a day.")] = 6_000,
    out: Out = None,
) -> None:
    """What 800K tokens cost a question, in shards and in one window, at the prices of now."""
    _bench(session, "cost", queries=queries, settings=session.settings(), out=out)


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


def bench_durability(
    session: Session,
    kills: Annotated[
        int, typer.Option(min=1, help="Kills of the server under load, its data kept.")
    ] = 50,
    empty: Annotated[int, typer.Option(min=0, help="Kills after which its data is gone.")] = 5,
    refused: Annotated[
        int, typer.Option(min=0, help="Kills after which its data cannot be read.")
    ] = 3,
    daemon_kills: Annotated[int, typer.Option(min=0, help="Kills of the daemon.")] = 10,
    fault_rounds: Annotated[
        int, typer.Option(min=0, help="How often each fault of the network is made.")
    ] = 3,
    out: Out = None,
) -> None:
    """What is lost when servers, daemons and networks fail under load."""
    _bench(
        session,
        "durability",
        kills=kills,
        empty=empty,
        refused=refused,
        daemon_kills=daemon_kills,
        fault_rounds=fault_rounds,
        out=out,
    )


def bench_scale(
    session: Session,
    size: Annotated[
        list[int] | None,
        typer.Option(min=1_000, help="Findings in the store; by default 10,000 to a million."),
    ] = None,
    n: Annotated[int, typer.Option(min=2, help="Calls of each verb at each size.")] = 300,
    out: Out = None,
) -> None:
    """Whether status, claim and lists take longer with a million findings than with few."""
    sizes = {} if size is None else {"sizes": sorted(size)}
    _bench(session, "scale", n=n, out=out, **sizes)


def bench_hot(
    session: Session,
    size: Annotated[
        list[int] | None,
        typer.Option(min=256, help="Tokens before the question; by default 512, 2,000 and 7,000."),
    ] = None,
    n: Annotated[int, typer.Option(min=2, help="Hot questions at each size.")] = 20,
    minutes: Annotated[
        float, typer.Option(min=0, help="After so many no further cold prompt is begun.")
    ] = 14,
    out: Out = None,
) -> None:
    """Time to the first token on the local model: cold, hot, and restored in a new process."""
    sizes = {} if size is None else {"sizes": sorted(size)}
    settings = session.settings().local
    _bench(session, "hot", n=n, minutes=minutes, settings=settings, out=out, **sizes)


def bench_claims(
    session: Session,
    tasks: Annotated[int, typer.Option(min=10, help="Tasks under fire.")] = 5_000,
    workers: Annotated[int, typer.Option(min=2, help="Processes that work on them.")] = 32,
    kills: Annotated[int, typer.Option(min=0, help="Processes killed, and replaced.")] = 7,
    queue_tasks: Annotated[
        int, typer.Option(min=100, help="No-op tasks in a round of each queue.")
    ] = 5_000,
    rounds: Annotated[int, typer.Option(min=2, help="Rounds of each queue.")] = 7,
    pace_seconds: Annotated[
        int, typer.Option(min=1, help="Seconds of 200 tasks each for the latencies.")
    ] = 10,
    durable_tasks: Annotated[int, typer.Option(min=10, help="Tasks at `durable`.")] = 5_000,
    skip: Annotated[
        list[str] | None,
        typer.Option("--skip", help="Leave out `fire`, `speed` or `durable`; may be repeated."),
    ] = None,
    out: Out = None,
) -> None:
    """Tasks while workers are killed, and how fast they are beside other task queues."""
    from ifmem.benchmarks.queue_figures import Pace
    from ifmem.benchmarks.under_fire import Fire

    _bench(
        session,
        "claims",
        fire=Fire(tasks=tasks, workers=workers, kills=kills, pauses=kills),
        queue_tasks=queue_tasks,
        rounds=rounds,
        pace=Pace(seconds=pace_seconds),
        durable_tasks=durable_tasks,
        skip=skip or (),
        out=out,
    )


def bench_delivery(
    session: Session,
    findings: Annotated[
        int, typer.Option(min=100, help="Findings published while followers are struck.")
    ] = 10_000,
    followers: Annotated[int, typer.Option(min=1, help="Processes that follow them.")] = 8,
    kills: Annotated[int, typer.Option(min=0, help="Kills; as many pauses.")] = 24,
    paced: Annotated[
        int, typer.Option(min=100, help="Findings published in peace, for the latencies.")
    ] = 2_000,
    skip: Annotated[
        list[str] | None,
        typer.Option("--skip", help="Leave out `chaos` or `latency`."),
    ] = None,
    out: Out = None,
) -> None:
    """Findings to followers that are killed and paused, beside bare pub/sub."""
    from ifmem.benchmarks.delivery import Paced, Struck

    _bench(
        session,
        "delivery",
        struck=Struck(findings=findings, followers=followers, kills=kills, pauses=kills),
        paced=Paced(findings=paced),
        skip=skip or (),
        out=out,
    )


def bench_tokens(
    session: Session,
    tokens: Annotated[int, typer.Option(min=30_000, help="Tokens of all documents.")] = 200_000,
    loops: Annotated[
        int, typer.Option(min=1, max=60, help="Questions; the report looks at fewer, too.")
    ] = 50,
    workers: Annotated[int, typer.Option(min=1, help="Agents that take turns.")] = 4,
    local_questions: Annotated[
        int, typer.Option(min=0, max=24, help="Asked of the local model, twice; 0 leaves it out.")
    ] = 20,
    out: Out = None,
) -> None:
    """What agents' loops are billed for, by this memory and by reading again."""
    points = sorted({n for n in (1, 2, 5, 10, 50) if n < loops} | {loops})
    _bench(
        session,
        "tokens",
        tokens=tokens,
        loops=points,
        workers=workers,
        local_questions=local_questions,
        out=out,
    )


def bench_overhead(
    session: Session,
    tokens: Annotated[int, typer.Option(min=30_000, help="Tokens to load.")] = 800_000,
    n: Annotated[int, typer.Option(min=2, help="Questions.")] = 200,
    out: Out = None,
) -> None:
    """What a question to models takes beyond the models, over whole shards."""
    _bench(session, "overhead", tokens=tokens, n=n, out=out)


def _bench(session: Session, name: str, **options: Any) -> None:
    module = import_module(f"ifmem.benchmarks.{name}")
    report = module.run(**options, note=session.note)

    def draw(paper: Paper) -> None:
        for line in module.lines(report):
            paper.line(line)

    session.give(report, draw)
