"""``bench durability`` (B9): what is lost when servers, daemons and networks fail under load."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from ifmem.benchmarks import durability_blows as blows
from ifmem.benchmarks.conditions import Conditions, conditions
from ifmem.benchmarks.durability_series import Series, partitioned, struck
from ifmem.benchmarks.plain_durability import MODES, PlainLoss, plain_loss
from ifmem.benchmarks.rebuilding import Rebuild, rebuilds
from ifmem.benchmarks.report import (
    LATENCY_HEADER,
    Goal,
    condition_lines,
    goal_lines,
    latency_row,
    table,
    write,
)
from ifmem.benchmarks.throwaway import throwaway

_SEED = 9
_LOAD = (
    "8 writers of findings, 2 posters, 3 workers that claim and finish, all at `durable`, each "
    "over its own connection; half of the writers repeat what is unknown, half leave it"
)
_NOT_SHOWN = (
    "kills are SIGKILL of processes: the page cache survives, so AOF figures say nothing about "
    "power loss"
)


class DurabilityReport(msgspec.Struct, frozen=True):
    series: list[Series]
    kills: int
    lost: int
    """Acknowledged and not in the store, over all series."""
    done_twice: int
    duplicates: int
    breaches: int
    """Everything that did not hold, of any kind."""
    rebuilds: list[Rebuild]
    bare: list[PlainLoss]
    goals: list[Goal]
    load: str
    not_shown: str
    conditions: Conditions
    written: str = ""


def run(
    *,
    kills: int = 50,
    empty: int = 5,
    refused: int = 3,
    daemon_kills: int = 10,
    fault_rounds: int = 3,
    fault_seconds: float = 3.0,
    sizes: Sequence[int] = (10_000, 100_000),
    rebuild_times: int = 5,
    bare_kills: int = 5,
    out: Path | None = None,
    note: Callable[[str], None] = lambda _: None,
) -> DurabilityReport:
    """Strike a memory under load, and compare what its writers were told with what is there.

    Args:
        kills: of the server, its data kept.
        empty: kills of the server, its data gone.
        refused: kills of the server, its data damaged.
        daemon_kills: of the daemon.
        fault_rounds: how often each fault of the network is made.
        fault_seconds: how long one lasts.
        sizes: findings in the store when the time of a rebuild is taken.
        rebuild_times: of each size.
        bare_kills: of a bare server in each mode.
        out: the folder for the raw samples.
    """
    given = _Sizes(kills, empty, refused, daemon_kills, fault_rounds, fault_seconds)
    return asyncio.run(_run(given, sizes, rebuild_times, bare_kills, out, note))


class _Sizes(msgspec.Struct, frozen=True):
    kills: int
    empty: int
    refused: int
    daemon_kills: int
    fault_rounds: int
    fault_seconds: float


async def _run(
    given: _Sizes,
    sizes: Sequence[int],
    rebuild_times: int,
    bare_kills: int,
    out: Path | None,
    note: Callable[[str], None],
) -> DurabilityReport:
    raw: dict[str, list[float]] = {}
    async with throwaway() as place:
        version = (await place.memory.status()).redis.version
    directory = Path(tempfile.mkdtemp(prefix="ifmem-"))
    try:
        series = await _all_series(given, directory, raw, note)
        bare = []
        for mode in MODES:
            note(f"bare server, {mode}")
            loss, raw[f"bare_{mode}"] = await plain_loss(
                mode, directory / mode.replace(" ", "-"), kills=bare_kills, seconds=1.0
            )
            bare.append(loss)
    finally:
        await asyncio.to_thread(shutil.rmtree, directory)
    rebuilt: list[Rebuild] = []
    for size in sizes:
        figures, samples = await rebuilds(size, rebuild_times, note)
        rebuilt += figures
        raw |= samples
    report = _report(series, rebuilt, bare, version)
    path = write("durability", report, raw, lines=lines(report), out=out, directory=Path.cwd())
    return msgspec.structs.replace(report, written=str(path))


async def _all_series(
    given: _Sizes, directory: Path, raw: dict[str, list[float]], note: Callable[[str], None]
) -> list[Series]:
    series = []
    for name, blow, times in (
        ("server killed", blows.kill_server, given.kills),
        ("server killed, data gone", blows.kill_server_and_data, given.empty),
        ("server killed, data damaged", blows.kill_server_and_damage_data, given.refused),
        ("daemon killed", blows.kill_daemon, given.daemon_kills),
    ):
        if times:
            one, raw[name] = await struck(name, blow, times, seed=_SEED, note=note)
            series.append(one)
    if given.fault_rounds:
        one, raw["partition"] = await partitioned(
            directory / "external", given.fault_rounds, given.fault_seconds, seed=_SEED, note=note
        )
        series.append(one)
    return series


def _report(
    series: list[Series], rebuilt: list[Rebuild], bare: list[PlainLoss], version: str
) -> DurabilityReport:
    lost = sum(len(one.breaches.lost) for one in series)
    twice = sum(len(one.breaches.done_twice) for one in series)
    duplicates = sum(len(one.breaches.duplicates) for one in series)
    breaches = sum(one.breaches.count for one in series)
    return DurabilityReport(
        series=series,
        kills=sum(one.blows for one in series if one.name != "partition"),
        lost=lost,
        done_twice=twice,
        duplicates=duplicates,
        breaches=breaches,
        rebuilds=rebuilt,
        bare=bare,
        goals=[
            Goal("acknowledged and lost: 0", lost, lost == 0),
            Goal("done twice: 0", twice, twice == 0),
            Goal("duplicate findings: 0", duplicates, duplicates == 0),
            Goal("anything else that does not hold: 0", breaches, breaches == 0),
        ],
        load=_LOAD,
        not_shown=_NOT_SHOWN,
        conditions=conditions(version),
    )


def lines(report: DurabilityReport) -> list[str]:
    """The report for a person."""
    header = ("", "blows", "acknowledged", "unknown", "refused", "stored", "tasks", "breaches")
    struck_rows = [
        (
            one.name,
            f"{one.blows:,}",
            f"{one.acknowledged:,}",
            f"{one.unknown:,}",
            f"{one.refused:,}",
            f"{one.stored:,}",
            f"{one.tasks:,}",
            f"{one.breaches.count:,}",
        )
        for one in report.series
    ]
    bare_rows = [
        (one.mode, f"{one.kills}", f"{one.acknowledged:,}", f"{one.lost:,}") for one in report.bare
    ]
    rebuild_rows = [
        (
            f"{one.findings:,} findings, data {one.data}",
            str(one.n),
            f"{one.p50_ms:,.0f}",
            f"{one.max_ms:,.0f}",
        )
        for one in report.rebuilds
    ]
    return [
        f"durability: {report.kills} kills under load: {report.load}",
        *condition_lines(report.conditions),
        report.not_shown,
        "",
        *table(header, struck_rows),
        "",
        "from the blow to the acknowledgement of a write begun then",
        *table(LATENCY_HEADER, [latency_row(one.name, one.recovery) for one in report.series]),
        "",
        "the same with many findings, nobody else writing",
        *table(("ms", "n", "p50", "max"), rebuild_rows),
        "",
        "a bare server under the same kills, 8 clients that SET 600 bytes",
        *table(("", "kills", "acknowledged", "lost"), bare_rows),
        *table(LATENCY_HEADER, [latency_row(f"SET, {one.mode}", one.set) for one in report.bare]),
        "",
        *_breach_lines(report.series),
        *goal_lines(report.goals),
        *([f"samples: {report.written}"] if report.written else []),
    ]


def _breach_lines(series: Sequence[Series]) -> list[str]:
    return [
        f"{one.name}, {kind}: {', '.join(found[:5])}{' …' if len(found) > 5 else ''}"
        for one in series
        for kind, found in msgspec.structs.asdict(one.breaches).items()
        if found
    ]
