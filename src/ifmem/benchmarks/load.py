"""``bench load`` (B1, B2): loading shards from the bus, beside reading their files again."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import msgspec

from ifmem.benchmarks import rereading, texts
from ifmem.benchmarks.conditions import Conditions, conditions
from ifmem.benchmarks.load_probe import ProbeCall, ProbeResult
from ifmem.benchmarks.report import (
    LATENCY_HEADER,
    Goal,
    condition_lines,
    goal_lines,
    latency_row,
    table,
    write,
)
from ifmem.benchmarks.rereading import Packed
from ifmem.benchmarks.statistics import Latency, latency, percentile, ratio
from ifmem.benchmarks.throwaway import Throwaway, throwaway
from ifmem.bus.bus import Bus
from ifmem.bus.connection import connect
from ifmem.domain.shard import Speciality
from ifmem.errors import Failed
from ifmem.settings import PlacementEntry, RedisSettings, Settings, ShardSettings
from ifmem.tokens import TOKENIZER
from ifmem.wire import blob

SHARD_TOKENS = 200_000
ROUNDS = 10
"""Loads and baselines are measured by turns, each in so many rounds."""
_ROOM = 60_000
"""Above what is wanted: the file that completes a shard overshoots by at most half of this."""
_CLAIMS = (17.85, 28.0, 140.0)
"""The seed paper's p50 and p95 in ms, and its ratio; goals here, never a baseline."""
_NEEDED_RATIO = 40.0


class Baseline(msgspec.Struct, frozen=True):
    """One way to get the same text without the bus, measured in the same run."""

    what: str
    n: int
    p50_ms: float
    ratio: float
    """This over the bus, median over median."""
    ratio_low: float
    ratio_high: float
    """The bootstrap 95 % interval of the ratio."""


class LoadBenchReport(msgspec.Struct, frozen=True):
    tokens: int
    bytes: int
    tokenizer: str
    n: int
    p50_ms: float
    p95_ms: float
    baselines: dict[str, Baseline]
    goals: list[Goal]
    modes: dict[str, Latency]
    """``one_pipeline`` is what ``p50_ms`` and ``p95_ms`` tell of."""
    per_shard: Latency
    parallel_efficiency: float
    """Sum of the single shards' times over (shards x wall), all loaded at once; 1 is ideal."""
    shards: list[int]
    """Tokens of each."""
    files: int
    passages: int
    sha256_verified: bool
    """What was loaded equals, file by file, what reading the files again gives."""
    text: str
    """Where the text came from."""
    conditions: Conditions
    written: str = ""


def run(
    *,
    n: int = 1_000,
    baseline_n: int = 200,
    shard_tokens: int = SHARD_TOKENS,
    directory: Path | None = None,
    rounds: int = ROUNDS,
    out: Path | None = None,
    note: Callable[[str], None] = lambda _: None,
) -> LoadBenchReport:
    """Measure, write the samples, and report.

    Args:
        n: measured loads in each mode.
        baseline_n: measured runs of each baseline.
        shard_tokens: at least so many o200k tokens in each of the four shards.
        directory: where the text is taken from; by default Python's standard library.
        rounds: loads and baselines are measured by turns, each in so many.
        out: the folder for the raw samples.

    Raises:
        Failed: what was loaded differs from the files.
    """
    return asyncio.run(_run(n, baseline_n, shard_tokens, directory, rounds, out, note))


async def _run(
    n: int,
    baseline_n: int,
    shard_tokens: int,
    directory: Path | None,
    rounds: int,
    out: Path | None,
    note: Callable[[str], None],
) -> LoadBenchReport:
    async with throwaway(_settings(shard_tokens)) as place:
        tree = place.directory / "corpus"
        source = directory or texts.standard_library()
        files = texts.files_below(directory) if directory else texts.library_files()
        await asyncio.to_thread(_spread, files, source, tree, shard_tokens)
        note(f"loading 4 × {shard_tokens:,} tokens of {source}")
        loaded = await place.memory.load(tree)
        numbers = tuple(shard.shard for shard in loaded.shards)
        status = await place.memory.status(show_secrets=True)
        call = ProbeCall(
            url=status.redis.url,
            space=place.memory.settings.space,
            shards=numbers,
            n=max(1, n // rounds),
            warm_up=3,
        )
        packed = await _pack(call, place)
        wanted = await asyncio.to_thread(rereading.digests, tree)
        result, samples = await _in_rounds(call, tree, packed, baseline_n, wanted, rounds, note)
        ours = result.samples_ms["one_pipeline"]
        walls = result.samples_ms["connections"]
        report = LoadBenchReport(
            tokens=sum(shard.tokens for shard in loaded.shards),
            bytes=loaded.bytes,
            tokenizer=TOKENIZER,
            n=len(ours),
            p50_ms=latency(ours).p50_ms,
            p95_ms=latency(ours).p95_ms,
            baselines={name: _baseline(name, taken, ours) for name, taken in samples.items()},
            goals=_goals(ours, samples["full"]),
            modes={name: latency(taken) for name, taken in result.samples_ms.items()},
            per_shard=latency(result.per_shard_ms),
            parallel_efficiency=round(sum(result.per_shard_ms) / (len(numbers) * sum(walls)), 3),
            shards=[shard.tokens for shard in loaded.shards],
            files=loaded.documents,
            passages=result.passages,
            sha256_verified=True,
            text=texts.name_of(source),
            conditions=conditions(status.redis.version),
        )
    raw = {f"bus_{name}": taken for name, taken in result.samples_ms.items()} | samples
    path = write("load", report, raw, lines=lines(report), out=out, directory=Path.cwd())
    return msgspec.structs.replace(report, written=str(path))


def lines(report: LoadBenchReport) -> list[str]:
    """The report for a person."""
    rows = [latency_row(f"bus, {name}", taken) for name, taken in report.modes.items()]
    rows.append(latency_row("one shard of four at once", report.per_shard))
    against = [
        [
            name,
            f"{one.n}",
            f"{one.p50_ms:.2f}",
            f"{one.ratio:.2f}×",
            f"{one.ratio_low:.2f}–{one.ratio_high:.2f}",
            one.what,
        ]
        for name, one in report.baselines.items()
    ]
    header = ("baseline", "n", "p50 ms", "ratio", "95 % interval", "")
    return [
        f"load: {len(report.shards)} shards, {report.tokens:,} tokens, {report.bytes:,} bytes, "
        f"{report.files} files, {report.passages:,} passages",
        f"text of {report.text}; sha256 of every file's text verified",
        *condition_lines(report.conditions),
        "",
        *table(LATENCY_HEADER, rows),
        f"parallel efficiency over 4 connections: {report.parallel_efficiency:.2f}",
        "",
        "Each baseline over `bus, one_pipeline`, median over median:",
        *table(header, against),
        "",
        *goal_lines(report.goals),
        *([f"samples: {report.written}"] if report.written else []),
    ]


def _settings(shard_tokens: int) -> Settings:
    return Settings(
        shards=ShardSettings(capacity=shard_tokens + _ROOM),
        # One folder a shard, so that each of the seed's four holds the same amount.
        placement=tuple(
            PlacementEntry(speciality, paths=(f"{speciality}/",)) for speciality in Speciality
        ),
    )


def _spread(files: Iterator[Path], root: Path, tree: Path, shard_tokens: int) -> None:
    for speciality in Speciality:
        texts.copy_text(files, root, tree / speciality, at_least=shard_tokens)


async def _probed(call: ProbeCall) -> ProbeResult:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "ifmem.benchmarks.load_probe",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        said, _ = await process.communicate(msgspec.json.encode(call))
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode:
        raise Failed("the measuring process failed: its message is above")
    return msgspec.json.decode(said, type=ProbeResult)


async def _pack(call: ProbeCall, place: Throwaway) -> list[Packed]:
    server = await connect(RedisSettings(url=call.url), place.directory)
    try:
        bus = Bus(server.client, server.keys(call.space))
        contexts, _ = await bus.load_contexts(call.shards, {})
    finally:
        await server.client.aclose()
    packed = []
    for context in contexts:
        text = "".join(text for loaded in context.parts for text in loaded.texts)
        entry, data = blob.encode([loaded.part for loaded in context.parts], text)
        path = place.directory / f"shard-{context.shard}.packed"
        path.write_bytes(data)
        packed.append(Packed(path, entry))
    return packed


async def _in_rounds(
    call: ProbeCall,
    tree: Path,
    packed: Sequence[Packed],
    baseline_n: int,
    wanted: dict[str, str],
    rounds: int,
    note: Callable[[str], None],
) -> tuple[ProbeResult, dict[str, list[float]]]:
    """The loads and the baselines by turns, so that other work on the machine meets all alike."""
    samples: dict[str, list[float]] = {}
    results = []
    for turn in range(rounds):
        note(
            f"round {turn + 1} of {rounds}: {call.n} loads in each of 3 modes, from a process "
            "that holds only the URL; then the baselines"
        )
        result = await _probed(call)
        if result.digests != wanted:
            raise Failed("what was loaded from the bus differs from the files: no time counts")
        results.append(result)
        for name, (work, before) in rereading.baselines(tree, packed).items():
            taken = await asyncio.to_thread(
                rereading.measure, work, before, n=max(1, baseline_n // rounds), warm_up=1
            )
            samples.setdefault(name, []).extend(taken)
    return _joined(results), samples


def _joined(results: Sequence[ProbeResult]) -> ProbeResult:
    return msgspec.structs.replace(
        results[0],
        samples_ms={
            mode: [taken for result in results for taken in result.samples_ms[mode]]
            for mode in results[0].samples_ms
        },
        per_shard_ms=[taken for result in results for taken in result.per_shard_ms],
    )


def _baseline(name: str, taken: Sequence[float], ours: Sequence[float]) -> Baseline:
    against = ratio(taken, ours)
    return Baseline(
        what=rereading.WHAT[name],
        n=len(taken),
        p50_ms=round(percentile(taken, 0.5), 3),
        ratio=against.value,
        ratio_low=against.low,
        ratio_high=against.high,
    )


def _goals(ours: Sequence[float], full: Sequence[float]) -> list[Goal]:
    p50, p95, times = _CLAIMS
    against = ratio(full, ours).value
    return [
        Goal(
            f"p50 at most {p50} ms", round(percentile(ours, 0.5), 3), percentile(ours, 0.5) <= p50
        ),
        Goal(
            f"p95 at most {p95} ms", round(percentile(ours, 0.95), 3), percentile(ours, 0.95) <= p95
        ),
        Goal(
            f"at least {_NEEDED_RATIO:.0f}× faster than `full`", against, against >= _NEEDED_RATIO
        ),
        Goal(f"the paper's {times:.0f}× against `full`", against, against >= times),
    ]
