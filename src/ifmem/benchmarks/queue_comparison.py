"""Ours beside the other queues of the same run: ratios, with what chance does to them."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np

from ifmem.benchmarks.queue_figures import QueueFigures
from ifmem.benchmarks.report import Goal, Samples, table
from ifmem.benchmarks.statistics import Ratio, ratio

AT_LEAST_ONCE = "at least once"
DRAIN_GOAL, TAIL_GOAL = 1.5, 2.0
_RESAMPLES = 2_000
_SEED = 7
_TAIL = 99.0


class Comparison(msgspec.Struct, frozen=True):
    """Ours against one other queue."""

    name: str
    delivery: str
    drain: Ratio
    """How many times as many tasks a second ours drains."""
    enqueue: Ratio
    """How many times as many tasks a second one of our clients posts."""
    p99: Ratio
    """How many times as long ours takes at the 99th percentile: below 1 ours is quicker."""


def compare(
    ours: QueueFigures, others: Sequence[QueueFigures], samples: Samples
) -> list[Comparison]:
    """Ours against each other queue, from the samples of one run."""
    return [
        Comparison(
            name=one.name,
            delivery=one.delivery,
            drain=ratio(samples[f"{one.name}_drain"], samples[f"{ours.name}_drain"]),
            enqueue=ratio(samples[f"{one.name}_enqueue"], samples[f"{ours.name}_enqueue"]),
            p99=tail_ratio(samples[f"{ours.name}_latency"], samples[f"{one.name}_latency"]),
        )
        for one in others
    ]


def tail_ratio(ours_ms: Sequence[float], theirs_ms: Sequence[float]) -> Ratio:
    """Our 99th percentile over theirs; a bootstrap 95 % interval.

    Raises:
        ValueError: fewer than a hundred samples on a side have no 99th percentile.
    """
    if min(len(ours_ms), len(theirs_ms)) < 100:
        raise ValueError("a 99th percentile needs at least a hundred measured samples")
    chance = np.random.default_rng(_SEED)
    ours, theirs = np.asarray(ours_ms), np.asarray(theirs_ms)
    picked = [
        float(_tail(chance.choice(ours, len(ours))) / _tail(chance.choice(theirs, len(theirs))))
        for _ in range(_RESAMPLES)
    ]
    low, high = np.percentile(picked, [2.5, 97.5])
    value = float(_tail(ours) / _tail(theirs))
    return Ratio(round(value, 2), round(float(low), 2), round(float(high), 2))


def _tail(samples: np.ndarray[tuple[int], np.dtype[np.float64]]) -> float:
    return float(np.percentile(samples, _TAIL))


class Best(msgspec.Struct, frozen=True):
    """Ours against the best of those that, as ours, do not lose a task with its worker."""

    fastest: str
    drain: float
    """How many times as many tasks a second as the fastest of them ours drains."""
    calmest: str
    p99: float
    """How many times as long as the calmest of them ours takes at the 99th percentile."""


def best(figures: Sequence[QueueFigures], compared: Sequence[Comparison]) -> Best | None:
    """Ours against the best; None without another queue that delivers at least once."""
    by_name = {one.name: one for one in compared if one.delivery == AT_LEAST_ONCE}
    rivals = [one for one in figures if one.name in by_name]
    if not rivals:
        return None
    fastest = max(rivals, key=lambda one: one.drain_per_s).name
    calmest = min(rivals, key=lambda one: one.latency.p99_ms).name
    return Best(fastest, by_name[fastest].drain.value, calmest, by_name[calmest].p99.value)


def goals(given: Best | None, compared: Sequence[Comparison]) -> list[Goal]:
    """What was to be reached against the best, and against taskiq where that is not it."""
    if given is None:
        return []
    wanted = [
        Goal(
            f"drain at least {DRAIN_GOAL}× the best that delivers at least once ({given.fastest})",
            given.drain,
            given.drain >= DRAIN_GOAL,
        ),
        Goal(
            f"p99 at most {TAIL_GOAL:.0f}× the best that delivers at least once ({given.calmest})",
            given.p99,
            given.p99 <= TAIL_GOAL,
        ),
    ]
    for one in compared:
        if one.name == "taskiq" and given.fastest != "taskiq":
            against = one.drain.value
            wanted.append(
                Goal(f"drain at least {DRAIN_GOAL}× taskiq", against, against >= DRAIN_GOAL)
            )
    return wanted


def comparison_lines(compared: Sequence[Comparison]) -> list[str]:
    """The ratios for a person."""
    rows = [
        (one.name, _shown(one.drain), _shown(one.enqueue), _shown(one.p99), one.delivery)
        for one in compared
    ]
    header = ("ours against", "drain ×", "enqueue ×", "p99 × (less is better)", "")
    return table(header, rows)


def _shown(given: Ratio) -> str:
    return f"{given.value:.2f} ({given.low:.2f}-{given.high:.2f})"
