"""``bench scale`` (B10): what is asked often, with ten thousand to a million findings."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from ifmem.benchmarks.conditions import Conditions, conditions
from ifmem.benchmarks.filled_store import fill
from ifmem.benchmarks.report import (
    LATENCY_HEADER,
    Goal,
    condition_lines,
    goal_lines,
    latency_row,
    table,
    write,
)
from ifmem.benchmarks.scale_point import DEFAULT, LIFTED, VERBS, Point, measured
from ifmem.benchmarks.statistics import Ratio, ratio
from ifmem.benchmarks.throwaway import throwaway

_GOAL = 2.0
_JUDGED = ("status", "claim", "findings since", "findings of a task")
_FILLING = (
    "the store was filled by its own functions, 10,000 findings in a transaction, before its "
    "daemon was started, which then put the window on the bus: not through a million calls"
)


class ScaleReport(msgspec.Struct, frozen=True):
    points: list[Point]
    ratios: dict[str, dict[str, Ratio]]
    """By point and verb: its median over that with the fewest findings."""
    largest_ratio: float
    """Of the judged verbs, over all points."""
    scans: int
    """KEYS and SCAN commands during the measured calls, by the server's own statistics."""
    goals: list[Goal]
    filling: str
    conditions: Conditions
    written: str = ""


def run(
    *,
    sizes: Sequence[int] = (10_000, 100_000, 1_000_000),
    n: int = 300,
    out: Path | None = None,
    note: Callable[[str], None] = lambda _: None,
) -> ScaleReport:
    """Measure each size with the default window, and the largest with the window lifted as well.

    Args:
        sizes: findings in the store, ascending.
        n: measured calls of each verb at each size.
        out: the folder for the raw samples.
    """
    return asyncio.run(_run(sizes, n, out, note))


async def _run(
    sizes: Sequence[int], n: int, out: Path | None, note: Callable[[str], None]
) -> ScaleReport:
    raw: dict[str, list[float]] = {}
    points: list[Point] = []
    async with throwaway() as place:
        version = (await place.memory.status()).redis.version
    for size in sizes:
        directory = Path(tempfile.mkdtemp(prefix="ifmem-"))
        try:
            bytes_of_json = await asyncio.to_thread(fill, directory / "home", size, note)
            windows = (DEFAULT, LIFTED) if size == max(sizes) else (DEFAULT,)
            for window in windows:
                note(f"{size:,} findings, {window} window")
                point, samples = await measured(
                    directory / "home", size, window, n, bytes_of_json, note
                )
                points.append(point)
                raw |= {f"{point.name}, {what}": took for what, took in samples.items()}
        finally:
            await asyncio.to_thread(shutil.rmtree, directory)
    ratios = _ratios(points, raw)
    worst = max((r[verb].value for r in ratios.values() for verb in _JUDGED), default=1.0)
    scans = sum(point.scans for point in points)
    report = ScaleReport(
        points=points,
        ratios=ratios,
        largest_ratio=worst,
        scans=scans,
        goals=[
            Goal(f"at most {_GOAL:g} times the time at {sizes[0]:,}", worst, worst <= _GOAL),
            Goal("KEYS and SCAN during the calls: 0", scans, scans == 0),
        ],
        filling=_FILLING,
        conditions=conditions(version),
    )
    path = write("scale", report, raw, lines=lines(report), out=out, directory=Path.cwd())
    return msgspec.structs.replace(report, written=str(path))


def _ratios(points: Sequence[Point], raw: dict[str, list[float]]) -> dict[str, dict[str, Ratio]]:
    least = points[0].name
    return {
        point.name: {
            verb: ratio(raw[f"{point.name}, {verb}"], raw[f"{least}, {verb}"]) for verb in VERBS
        }
        for point in points[1:]
    }


def lines(report: ScaleReport) -> list[str]:
    """The report for a person."""
    times = [
        latency_row(f"{verb}, {point.name}", point.latencies[verb])
        for verb in VERBS
        for point in report.points
    ]
    ratios = [
        (
            name,
            *(f"{r[verb].value:.2f} ({r[verb].low:.2f}-{r[verb].high:.2f})" for verb in VERBS),
        )
        for name, r in report.ratios.items()
    ]
    return [
        f"scale: {', '.join(point.name for point in report.points)}",
        *condition_lines(report.conditions),
        report.filling,
        "",
        *table(LATENCY_HEADER, times),
        "",
        f"median over that of {report.points[0].name}, with 95 % intervals",
        *table(("times", *VERBS), ratios),
        "",
        *table(_COST_HEADER, map(_cost_row, report.points)),
        "",
        *_command_lines(report.points),
        *goal_lines(report.goals),
        *([f"samples: {report.written}"] if report.written else []),
    ]


_COST_HEADER = (
    "",
    "first start s",
    "later start s",
    "daemon MB",
    "server MB",
    "server B/finding",
    "store B/finding",
    "JSON B/finding",
)


def _cost_row(point: Point) -> list[str]:
    first = "-" if point.first_start_s is None else f"{point.first_start_s:,.1f}"
    return [
        point.name,
        first,
        f"{point.later_start_s:,.1f}",
        "not told" if point.daemon_mb is None else f"{point.daemon_mb:,.0f}",
        f"{point.server_bytes / 1e6:,.0f}",
        f"{point.server_bytes_per_finding:,.0f}",
        f"{point.store_bytes / point.findings:,.0f}",
        f"{point.json_bytes / point.findings:,.0f}",
    ]


def _command_lines(points: Sequence[Point]) -> list[str]:
    """What the server says it was asked: the costly ones first."""
    last = points[-1]
    most = sorted(last.commands.items(), key=lambda item: -item[1].usec_per_call)[:12]
    rows = [(name, f"{of.calls:,}", f"{of.usec_per_call:,.1f}") for name, of in most]
    return [f"commands, {last.name}", *table(("", "calls", "µs each"), rows), ""]
