"""``bench claims`` (B8): tasks under fire, and how fast they are, beside other task queues."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

import msgspec

from ifmem.benchmarks.conditions import Conditions, conditions
from ifmem.benchmarks.durable_queue import (
    DurableFigures,
    DurableOrder,
    measure_durable,
    sync_times,
)
from ifmem.benchmarks.our_queue import Ours
from ifmem.benchmarks.peer_queues import LEFT_OUT, installed, peers
from ifmem.benchmarks.plain_list import PlainList
from ifmem.benchmarks.queue_comparison import (
    Best,
    Comparison,
    best,
    compare,
    comparison_lines,
    goals,
)
from ifmem.benchmarks.queue_figures import Pace, QueueFigures, figure_lines, measure
from ifmem.benchmarks.report import (
    LATENCY_HEADER,
    Goal,
    condition_lines,
    goal_lines,
    latency_row,
    table,
    write,
)
from ifmem.benchmarks.skipping import require_parts
from ifmem.benchmarks.statistics import Latency, latency
from ifmem.benchmarks.task_effects import TaskEffects
from ifmem.benchmarks.throwaway import throwaway
from ifmem.benchmarks.under_fire import SWEEP_SECONDS, Fire, under_fire

PARTS = ("fire", "speed", "durable")
_SYNCS = 1_000


class FireReport(msgspec.Struct, frozen=True):
    fire: Fire
    effects: TaskEffects
    kills: int
    workers_killed: int
    """Different ones."""
    pauses: int
    seconds: float
    requeue: Latency | None
    """From a kill until a task that it cut short was begun again; None when it cut none short."""
    requeue_bound_ms: float
    """The lease, and the time between two sweeps."""


class DurableReport(msgspec.Struct, frozen=True):
    tasks: int
    in_flight: int
    """Postings at once."""
    unfinished: int
    """The most tasks begun and not yet durably finished at once."""
    posted_per_s: float
    post: Latency
    """From the call until the store had committed it."""
    finished_per_s: float
    finish: Latency
    """From the end of the handler until the store had committed the completion."""
    sync: Latency
    """4 KB written and synced to the store's disk, one after the other."""
    alone_per_s: float
    """What one sync for each task would allow."""
    together_per_s: float
    """What one sync for as many as are in flight would allow."""


class ClaimsReport(msgspec.Struct, frozen=True):
    fire: FireReport | None
    queues: list[QueueFigures]
    compared: list[Comparison]
    best: Best | None
    left_out: list[str]
    """Queues that are not beside ours, and why."""
    durable: DurableReport | None
    goals: list[Goal]
    conditions: Conditions
    written: str = ""


def run(
    *,
    fire: Fire | None = None,
    queue_tasks: int = 5_000,
    rounds: int = 7,
    pace: Pace | None = None,
    durable_tasks: int = 5_000,
    in_flight: int = 256,
    skip: Collection[str] = (),
    out: Path | None = None,
    note: Callable[[str], None] = lambda _: None,
) -> ClaimsReport:
    """Have tasks worked on under fire, then measure how fast they are.

    Args:
        fire: how many tasks and workers, and what happens to these.
        queue_tasks: no-op tasks in each round of each queue.
        rounds: of each queue; they take turns.
        pace: of the tasks whose latency is measured.
        durable_tasks: posted and finished at ``durable``.
        in_flight: durable postings at once.
        skip: parts that are left out, of ``PARTS``.
        out: the folder for the raw samples.

    Raises:
        Invalid: there is no such part to leave out.
        Failed: workers do not come up, or tasks are not done.
    """
    require_parts(skip, PARTS)
    return asyncio.run(
        _run(
            fire or Fire(),
            queue_tasks,
            rounds,
            pace or Pace(),
            DurableOrder("", "bench-durable", durable_tasks, in_flight),
            skip,
            out,
            note,
        )
    )


async def _run(
    fire: Fire,
    queue_tasks: int,
    rounds: int,
    pace: Pace,
    order: DurableOrder,
    skip: Collection[str],
    out: Path | None,
    note: Callable[[str], None],
) -> ClaimsReport:
    raw: dict[str, list[float]] = {}
    aims: list[Goal] = []
    fought = await _fire(fire, raw, aims, note) if "fire" not in skip else None
    figures: list[QueueFigures] = []
    compared: list[Comparison] = []
    durable: DurableReport | None = None
    missing: list[str] = []
    # The daemon of this memory is the bridge, which drains each step of ours into the store.
    async with throwaway() as place:
        redis = (await place.memory.status(show_secrets=True)).redis
        if "speed" not in skip:
            there, missing = installed(peers())
            queues = [Ours(), *there, PlainList()]
            figures, samples = await measure(
                queues, redis.url, tasks=queue_tasks, rounds=rounds, pace=pace, note=note
            )
            raw |= {what: list(taken) for what, taken in samples.items()}
            compared = compare(figures[0], figures[1:], samples)
            aims += goals(best(figures, compared), compared)
        if "durable" not in skip:
            note(f"{order.tasks:,} tasks at durable, {order.in_flight} in flight")
            order = msgspec.structs.replace(order, url=redis.url)
            durable = _durable(order, await measure_durable(order), place.directory, raw)
    report = ClaimsReport(
        fire=fought,
        queues=figures,
        compared=compared,
        best=best(figures, compared),
        left_out=[*LEFT_OUT, *missing] if figures else [],
        durable=durable,
        goals=aims,
        conditions=conditions(redis.version),
    )
    path = write("claims", report, raw, lines=lines(report), out=out, directory=Path.cwd())
    return msgspec.structs.replace(report, written=str(path))


async def _fire(
    fire: Fire,
    raw: dict[str, list[float]],
    aims: list[Goal],
    note: Callable[[str], None],
) -> FireReport:
    note(f"starting {fire.workers} workers")
    async with throwaway() as place:
        fought = await under_fire(place, fire, note=note)
    raw["requeue"] = fought.requeue_ms
    bound = (fire.lease_seconds + SWEEP_SECONDS) * 1000
    report = FireReport(
        fire=fire,
        effects=fought.effects,
        kills=fought.kills,
        workers_killed=fought.workers_killed,
        pauses=fought.pauses,
        seconds=fought.seconds,
        requeue=latency(fought.requeue_ms) if fought.requeue_ms else None,
        requeue_bound_ms=bound,
    )
    aims += [
        Goal(f"{what}: 0", count, count == 0) for what, count in fought.effects.violations.items()
    ]
    if report.requeue is not None:
        slowest = report.requeue.max_ms
        what = f"begun again within lease and sweep of a kill, {bound:,.0f} ms"
        aims.append(Goal(what, slowest, slowest <= bound))
    return report


def _durable(
    order: DurableOrder, taken: DurableFigures, directory: Path, raw: dict[str, list[float]]
) -> DurableReport:
    syncs = sync_times(directory, _SYNCS)
    raw |= {"durable_post": taken.post_ms, "durable_finish": taken.finish_ms, "sync": syncs}
    sync = latency(syncs)
    return DurableReport(
        tasks=order.tasks,
        in_flight=order.in_flight,
        unfinished=taken.together,
        posted_per_s=round(order.tasks / taken.posting_ms * 1000, 1),
        post=latency(taken.post_ms),
        finished_per_s=round(order.tasks / taken.finishing_ms * 1000, 1),
        finish=latency(taken.finish_ms),
        sync=sync,
        alone_per_s=round(1000 / sync.p50_ms, 1),
        together_per_s=round(order.in_flight * 1000 / sync.p50_ms, 1),
    )


def lines(report: ClaimsReport) -> list[str]:
    """The report for a person."""
    return [
        "claims: tasks under fire, and how fast they are",
        *condition_lines(report.conditions),
        *(_fire_lines(report.fire) if report.fire else []),
        *(_speed_lines(report) if report.queues else []),
        *(_durable_lines(report.durable) if report.durable else []),
        "",
        *goal_lines(report.goals),
        *([f"samples: {report.written}"] if report.written else []),
    ]


def _fire_lines(given: FireReport) -> list[str]:
    fire, effects = given.fire, given.effects
    violations = [f"{what} {count:,}" for what, count in effects.violations.items()]
    requeue = [latency_row("kill to begun again", given.requeue)] if given.requeue else []
    return [
        "",
        f"{effects.posted:,} durable tasks by {fire.workers} processes of {fire.concurrency} "
        f"places, lease {fire.lease_seconds:g} s, in {given.seconds:,.0f} s; {given.kills} kills "
        f"(of {given.workers_killed} workers), {given.pauses} pauses, seed {fire.seed}",
        f"done {effects.done:,}; {', '.join(violations)}",
        f"executions {effects.executions:,}, {effects.executed_again:,} of them again; cut short "
        f"by a kill {effects.cut_short:,}; completions too late and refused {effects.late:,} (in "
        f"the audit {effects.audited:,})",
        *table(LATENCY_HEADER, requeue),
    ]


def _speed_lines(report: ClaimsReport) -> list[str]:
    return [
        "",
        *figure_lines(report.queues),
        "",
        *comparison_lines(report.compared),
        *(f"left out: {one}" for one in report.left_out),
    ]


def _durable_lines(given: DurableReport) -> list[str]:
    rows: Sequence[list[str]] = [
        latency_row(f"post, durable, {given.in_flight} at once", given.post),
        latency_row(f"finish, durable, up to {given.unfinished:,} at once", given.finish),
        latency_row("4 KB synced, one at a time", given.sync),
    ]
    return [
        "",
        *table(LATENCY_HEADER, rows),
        f"durable: {given.posted_per_s:,.0f} posted/s, {given.finished_per_s:,.0f} claimed and "
        f"finished/s. The disk allows {given.alone_per_s:,.0f}/s with a sync for each, and "
        f"{given.together_per_s:,.0f}/s with one for {given.in_flight}",
    ]
