"""``bench query`` (B3): how long ``recall`` and ``ask`` take with 1, 8 and 32 clients."""

from __future__ import annotations

import asyncio
import random
import re
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path

import msgspec

from ifmem import clock
from ifmem.benchmarks import texts
from ifmem.benchmarks.conditions import Conditions, conditions
from ifmem.benchmarks.report import (
    LATENCY_HEADER,
    Goal,
    condition_lines,
    goal_lines,
    latency_row,
    table,
    write,
)
from ifmem.benchmarks.settling import until_embedded
from ifmem.benchmarks.statistics import Latency, latency
from ifmem.benchmarks.texts import Copied
from ifmem.benchmarks.throwaway import throwaway
from ifmem.client.memory import Memory
from ifmem.settings import Settings
from ifmem.wire.answers import Answer
from ifmem.wire.shapes import Recall

_CROWD = 32
CLIENTS = (1, 8, _CROWD)
_WARM_UP = 50
_SEED = 11
_LINE = re.compile(r"^[\s#*>-]*([A-Za-z][\w ,'`()./-]{25,90})[.:]?$", re.MULTILINE)
"""A line of prose: of a comment, a docstring or a document."""


class Point(msgspec.Struct, frozen=True):
    """One verb with so many clients asking at once, each over its own connection."""

    verb: str
    clients: int
    inside: Latency
    """``elapsed_ms`` of the replies: from call to result inside the daemon."""
    end_to_end: Latency
    """From a client's call to its decoded result."""
    per_second: float
    found: float
    """Share of replies with a passage, or an answer."""


class QueryReport(msgspec.Struct, frozen=True):
    tokens: int
    bytes: int
    files: int
    passages: int
    shards: int
    text: list[str]
    """The trees that the text was taken from."""
    ingest_seconds: float
    ingest_mb_per_s: float
    daemon_peak_mb: float | None
    """Highest resident memory of the daemon, in MB; None where the system does not tell."""
    model: str
    points: list[Point]
    goals: list[Goal]
    questions: str
    conditions: Conditions
    written: str = ""


def run(
    *,
    tokens: int = 800_000,
    n: int = 1_000,
    clients: Sequence[int] = CLIENTS,
    directory: Path | None = None,
    semantic: bool = False,
    out: Path | None = None,
    note: Callable[[str], None] = lambda _: None,
) -> QueryReport:
    """Load real text, then ask.

    Args:
        tokens: at least so many o200k tokens are loaded; no text is loaded twice.
        n: questions at each point.
        clients: how many ask at once, one after the other.
        directory: where the text is taken from; by default trees that most machines have.
        semantic: with the extra of that name, once it has embedded everything.
        out: the folder for the raw samples.

    Raises:
        Refused: there is not enough text.
    """
    return asyncio.run(_run(tokens, n, clients, directory, semantic, out, note))


async def _run(
    tokens: int,
    n: int,
    clients: Sequence[int],
    directory: Path | None,
    semantic: bool,
    out: Path | None,
    note: Callable[[str], None],
) -> QueryReport:
    raw: dict[str, list[float]] = {}
    trees = (directory,) if directory else texts.machine_trees()
    async with throwaway(semantic=semantic) as place:
        corpus = place.directory / "corpus"
        copied = await asyncio.to_thread(texts.copy_from_trees, trees, corpus, at_least=tokens)
        note(f"loading {copied.tokens:,} tokens of {copied.files:,} files")
        loaded = await place.memory.load(corpus)
        if semantic:
            await until_embedded(place.memory, note)
        asked = await asyncio.to_thread(questions, corpus, n + _WARM_UP)
        settings = place.memory.settings
        points = []
        for count in clients:
            for verb in ("recall", "ask"):
                note(f"{verb}, {count} at once, {n:,} questions")
                points.append(await _point(settings, verb, count, asked, raw))
        status = await place.memory.status()
        peak = _peak_mb(status.daemon_pid)
    report = QueryReport(
        tokens=loaded.tokens,
        bytes=loaded.bytes,
        files=loaded.documents,
        passages=loaded.passages,
        shards=len(loaded.shards),
        text=list(copied.roots),
        ingest_seconds=loaded.seconds,
        ingest_mb_per_s=round(loaded.bytes / 1e6 / loaded.seconds, 2),
        daemon_peak_mb=peak,
        model="extractive (no language model: 0 ms)",
        points=points,
        goals=_goals(
            points,
            loaded.tokens,
            len(loaded.shards),
            loaded.bytes / 1e6 / loaded.seconds,
            peak,
        ),
        questions=f"{n:,} lines of comments, docstrings and prose of the loaded text, seeded",
        conditions=conditions(status.redis.version, semantic=semantic),
    )
    path = write(
        f"query-{_millions(copied)}" + "-semantic" * semantic,
        report,
        raw,
        lines=lines(report),
        out=out,
        directory=Path.cwd(),
    )
    return msgspec.structs.replace(report, written=str(path))


def lines(report: QueryReport) -> list[str]:
    """The report for a person."""
    rows = []
    for point in report.points:
        what = f"{point.verb}, {point.clients} at once"
        rows.append(latency_row(f"{what}, inside the daemon", point.inside))
        rows.append(latency_row(f"{what}, end to end", point.end_to_end))
    peak = "not told" if report.daemon_peak_mb is None else f"{report.daemon_peak_mb:,.0f} MB"
    return [
        f"query: {report.tokens:,} tokens, {report.bytes:,} bytes, {report.files:,} files, "
        f"{report.passages:,} passages in {report.shards} shards; model: {report.model}",
        f"text of {', '.join(report.text)}",
        f"questions: {report.questions}",
        *condition_lines(report.conditions),
        "",
        *table(LATENCY_HEADER, rows),
        "",
        f"ingest {report.ingest_seconds:.1f} s, {report.ingest_mb_per_s:.2f} MB/s from files to "
        f"searchable; peak memory of the daemon {peak}",
        *goal_lines(report.goals),
        *([f"samples: {report.written}"] if report.written else []),
    ]


def questions(corpus: Path, count: int) -> list[str]:
    """Lines of prose from the text itself, picked by a seed; repeated when there are too few.

    Raises:
        ValueError: the text has no line of prose.
    """
    held: set[str] = set()
    for path in texts.files_below(corpus):
        held.update(_LINE.findall(path.read_text(encoding="utf-8")))
    if not held:
        raise ValueError(f"no line of prose in {corpus}")
    chosen = random.Random(_SEED).sample(sorted(held), min(count, len(held)))
    return [chosen[turn % len(chosen)] for turn in range(count)]


async def _point(
    settings: Settings,
    verb: str,
    clients: int,
    asked: Sequence[str],
    raw: dict[str, list[float]],
) -> Point:
    async with AsyncExitStack() as stack:
        memories = [
            await stack.enter_async_context(Memory.open(settings=settings)) for _ in range(clients)
        ]
        await _ask_all(memories, verb, asked[:_WARM_UP])
        started = clock.stopwatch_ns()
        taken = await _ask_all(memories, verb, asked[_WARM_UP:])
        wall = clock.milliseconds_since(started) / 1000
    inside = [one[0] for one in taken]
    outside = [one[1] for one in taken]
    raw[f"{verb}_{clients}_inside"] = inside
    raw[f"{verb}_{clients}_end_to_end"] = outside
    return Point(
        verb=verb,
        clients=clients,
        inside=latency(inside),
        end_to_end=latency(outside),
        per_second=round(len(taken) / wall, 1),
        found=round(sum(one[2] for one in taken) / len(taken), 3),
    )


async def _ask_all(
    memories: Sequence[Memory], verb: str, asked: Sequence[str]
) -> list[tuple[float, float, bool]]:
    """Milliseconds inside and end to end, and whether something was found, of each question."""
    waiting = list(reversed(asked))
    taken: list[tuple[float, float, bool]] = []

    async def client(memory: Memory) -> None:
        ask: Callable[..., Awaitable[Recall | Answer]] = (
            memory.recall if verb == "recall" else memory.ask
        )
        while waiting:
            question = waiting.pop()
            started = clock.stopwatch_ns()
            said = await ask(question, scope="space")
            outside = clock.milliseconds_since(started)
            found = said.found if isinstance(said, Answer) else bool(said.passages)
            taken.append((said.elapsed_ms, outside, found))

    async with asyncio.TaskGroup() as group:
        for memory in memories:
            group.create_task(client(memory))
    return taken


def _goals(
    points: Sequence[Point], tokens: int, shards: int, mb_per_s: float, peak: float | None
) -> list[Goal]:
    alone = {point.verb: point.inside for point in points if point.clients == 1}
    small = tokens <= 2_000_000
    bound = 5.0 if small else 10.0
    goals = [Goal("ingest at least 1 MB/s", round(mb_per_s, 2), mb_per_s >= 1)]
    if peak is not None:
        goals.append(Goal("peak memory at most 1,500 MB", peak, peak <= 1_500))
    if recall := alone.get("recall"):
        goals += [
            Goal(
                f"recall inside the daemon, one client, p50 at most {bound:.0f} ms",
                recall.p50_ms,
                recall.p50_ms <= bound,
            ),
            Goal(
                "recall inside the daemon, one client, p95 at most 20 ms",
                recall.p95_ms,
                recall.p95_ms <= 20,
            ),
        ]
    if ask := alone.get("ask"):
        goals.append(
            Goal(
                f"ask over {shards} shards inside the daemon, one client, p95 at most 50 ms",
                ask.p95_ms,
                ask.p95_ms <= 50,
            )
        )
    crowd = next((p.end_to_end for p in points if (p.verb, p.clients) == ("ask", _CROWD)), None)
    if crowd is not None and small:
        goals.append(
            Goal(
                f"ask end to end, {_CROWD} clients at once, p95 at most 100 ms",
                crowd.p95_ms,
                crowd.p95_ms <= 100,
            )
        )
    return goals


def _peak_mb(pid: int) -> float | None:
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace")
    except OSError:
        return None
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    return None if found is None else round(int(found[1]) * 1024 / 1e6, 1)


def _millions(copied: Copied) -> str:
    return f"{copied.tokens / 1e6:.1f}M"
