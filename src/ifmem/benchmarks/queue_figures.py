"""How fast task queues enqueue, drain and react, measured side by side in one run."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import msgspec

from ifmem import clock
from ifmem.benchmarks.measured_queue import (
    MeasuredQueue,
    RunningWorker,
    Send,
    WorkerResult,
    worker_process,
)
from ifmem.benchmarks.report import LATENCY_HEADER, Samples, latency_row, table
from ifmem.benchmarks.statistics import Latency, latency, percentile
from ifmem.errors import IntegrityError

_PATIENCE_SECONDS = 120.0


class Pace(msgspec.Struct, frozen=True):
    """Tasks are published at this rate, whether or not the earlier ones were executed."""

    per_second: int = 200
    seconds: int = 10
    warm_up: int = 200
    """So many tasks come first and are not counted."""

    @property
    def tasks(self) -> int:
        return self.per_second * self.seconds


class QueueFigures(msgspec.Struct, frozen=True):
    name: str
    version: str
    delivery: str
    settings: str
    tasks: int
    """In each round; each queue has one worker process."""
    rounds: int
    enqueue_per_s: float
    """Median of the rounds: one client, each call awaited before the next."""
    drain_per_s: float
    """Median of the rounds: from the signal to the worker until the last task was executed."""
    latency: Latency
    """From just before publishing to execution, at the pace."""
    published_per_s: float
    """The pace that was kept."""


async def measure(
    queues: Sequence[MeasuredQueue],
    url: str,
    *,
    tasks: int,
    rounds: int,
    pace: Pace,
    note: Callable[[str], None] = lambda _: None,
) -> tuple[list[QueueFigures], Samples]:
    """The figures of each queue, with their raw samples in milliseconds.

    The queues take turns within each round, so that other work on the machine strikes all alike.

    Args:
        tasks: no-op tasks in each round; the first, smaller round is discarded.

    Raises:
        Failed: a worker does not start, or does not finish.
        IntegrityError: a task was executed twice, or another than those enqueued.
    """
    enqueue: dict[str, list[float]] = {one.name: [] for one in queues}
    drain: dict[str, list[float]] = {one.name: [] for one in queues}
    paced: dict[str, list[float]] = {}
    kept: dict[str, float] = {}
    for turn in range(rounds + 1):
        for one in queues:
            count = tasks if turn else max(1, tasks // 10)
            note(f"{one.name}: round {turn} of {rounds}, {count:,} tasks")
            times = await _round(one, url, _fresh_name(one), count)
            if turn:
                enqueue[one.name].append(times[0])
                drain[one.name].append(times[1])
    for one in queues:
        note(f"{one.name}: {pace.tasks:,} tasks at {pace.per_second} a second")
        paced[one.name], kept[one.name] = await _paced(one, url, _fresh_name(one), pace)
    figures = [
        QueueFigures(
            name=one.name,
            version=one.version or "not installed",
            delivery=one.delivery,
            settings=one.settings,
            tasks=tasks,
            rounds=rounds,
            enqueue_per_s=_per_second(tasks, enqueue[one.name]),
            drain_per_s=_per_second(tasks, drain[one.name]),
            latency=latency(paced[one.name]),
            published_per_s=round(kept[one.name], 1),
        )
        for one in queues
    ]
    samples = {"enqueue": enqueue, "drain": drain, "latency": paced}
    return figures, {
        f"{name}_{what}": taken
        for what, by_name in samples.items()
        for name, taken in by_name.items()
    }


def figure_lines(figures: Sequence[QueueFigures]) -> list[str]:
    """The figures for a person."""
    rates = [
        (
            f"{one.name} {one.version}",
            f"{one.enqueue_per_s:,.0f}",
            f"{one.drain_per_s:,.0f}",
            f"{one.published_per_s:,.0f}",
            f"{one.delivery}; {one.settings}",
        )
        for one in figures
    ]
    return [
        *table(("no-op tasks", "enqueue/s", "drain/s", "paced/s", ""), rates),
        "",
        *table(LATENCY_HEADER, [latency_row(one.name, one.latency) for one in figures]),
    ]


def _fresh_name(measured: MeasuredQueue) -> str:
    """The name of a queue that nobody has written to: some spell their key with it alone."""
    return f"bench-{measured.name}-{clock.new_id()}"


async def _round(measured: MeasuredQueue, url: str, queue: str, count: int) -> tuple[float, float]:
    """Milliseconds of enqueueing and of draining."""
    async with measured.sending(url, queue) as send:
        started = clock.stopwatch_ns()
        for index in range(count):
            await send(index, clock.stopwatch_ns())
        enqueued = clock.milliseconds_since(started)
    async with worker_process(measured, url, queue, expected=count) as worker:
        given = worker.start()
        result = await _executed(measured, worker, count, _PATIENCE_SECONDS)
    last = max(one.executed_ns for one in result.executed)
    return enqueued, (last - given) / 1e6


async def _paced(
    measured: MeasuredQueue, url: str, queue: str, pace: Pace
) -> tuple[list[float], float]:
    """Milliseconds from publishing to execution, and the tasks published each second."""
    count = pace.warm_up + pace.tasks
    async with (
        measured.sending(url, queue) as send,
        worker_process(measured, url, queue, expected=count) as worker,
    ):
        worker.start()
        await _publish(send, count, pace.per_second)
        result = await _executed(measured, worker, count, _PATIENCE_SECONDS)
    counted = [one for one in result.executed if one.index >= pace.warm_up]
    published = [one.published_ns for one in counted]
    seconds = (max(published) - min(published)) / 1e9
    rate = (len(counted) - 1) / seconds if seconds else float(len(counted))
    return [(one.executed_ns - one.published_ns) / 1e6 for one in counted], rate


async def _publish(send: Send, count: int, per_second: int) -> None:
    began = clock.monotonic()
    for index in range(count):
        ahead = began + index / per_second - clock.monotonic()
        if ahead > 0:
            await asyncio.sleep(ahead)
        await send(index, clock.stopwatch_ns())


async def _executed(
    measured: MeasuredQueue, worker: RunningWorker, count: int, within_seconds: float
) -> WorkerResult:
    result = await worker.result(within_seconds=within_seconds)
    if result.repeated or sorted(one.index for one in result.executed) != list(range(count)):
        raise IntegrityError(
            f"{measured.name} executed {len(result.executed):,} of {count:,} tasks and repeated "
            f"{result.repeated:,}: its figures would mean nothing"
        )
    return result


def _per_second(tasks: int, rounds_ms: Sequence[float]) -> float:
    return round(tasks / percentile(rounds_ms, 0.5) * 1000, 1)
