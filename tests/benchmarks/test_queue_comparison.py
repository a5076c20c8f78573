"""Ratios against queues of the same run: which is the best, and what a missed goal says."""

from __future__ import annotations

import pytest

from ifmem.benchmarks.queue_comparison import best, compare, comparison_lines, goals, tail_ratio
from ifmem.benchmarks.queue_figures import QueueFigures
from ifmem.benchmarks.report import Samples
from ifmem.benchmarks.statistics import latency

CALM = [1.0] * 150 + [4.0] * 50
WILD = [1.0] * 150 + [12.0] * 50


def figures(name: str, drain_ms: list[float], waits: list[float], delivery: str) -> QueueFigures:
    return QueueFigures(
        name=name,
        version="1",
        delivery=delivery,
        settings="none",
        tasks=1_000,
        rounds=3,
        enqueue_per_s=1_000.0,
        drain_per_s=1_000 / sorted(drain_ms)[1] * 1000,
        latency=latency(waits),
        published_per_s=200.0,
    )


def run_of(
    ours: tuple[list[float], list[float]], *others: tuple[str, list[float], list[float], str]
) -> tuple[list[QueueFigures], Samples]:
    queues = [("ifmem", *ours, "at least once"), *others]
    samples: dict[str, list[float]] = {}
    for name, drain, waits, _ in queues:
        samples |= {
            f"{name}_drain": drain,
            f"{name}_enqueue": [900.0, 1_000.0, 1_100.0],
            f"{name}_latency": waits,
        }
    return [figures(*one) for one in queues], samples


OURS = ([90.0, 100.0, 110.0], CALM)
TASKIQ = ("taskiq", [390.0, 400.0, 410.0], CALM, "at least once")
QUICK = ("quick", [115.0, 120.0, 125.0], WILD, "at least once")
FORGETFUL = ("forgetful", [45.0, 50.0, 55.0], CALM, "at most once")


def test_ratios_are_theirs_over_ours_for_times_and_ours_over_theirs_for_the_tail() -> None:
    (ours, *others), samples = run_of(OURS, TASKIQ, QUICK)
    taskiq, quick = compare(ours, others, samples)
    assert (taskiq.drain.value, quick.drain.value) == (4.0, 1.2)
    assert quick.drain.low <= 1.2 <= quick.drain.high
    assert (taskiq.p99.value, quick.p99.value) == (1.0, 0.33)
    assert "4.00" in "\n".join(comparison_lines([taskiq, quick]))


def test_goals_are_against_the_best_that_does_not_lose_tasks() -> None:
    (ours, *others), samples = run_of(OURS, TASKIQ, QUICK, FORGETFUL)
    compared = compare(ours, others, samples)
    drain, tail, taskiq = goals(best([ours, *others], compared), compared)
    assert ("(quick)" in drain.goal, drain.measured, drain.reached) == (True, 1.2, False)
    assert ("(taskiq)" in tail.goal, tail.measured, tail.reached) == (True, 1.0, True)
    assert (taskiq.measured, taskiq.reached) == (4.0, True)


def test_without_a_peer_there_is_no_goal_and_no_ratio_against_a_constant() -> None:
    (ours, *others), samples = run_of(OURS, FORGETFUL)
    assert best([ours, *others], compare(ours, others, samples)) is None
    assert goals(None, compare(ours, others, samples)) == []
    (ours, *others), samples = run_of(OURS, ("still", [100.0] * 3, CALM, "at least once"))
    with pytest.raises(ValueError, match="constant"):
        compare(ours, others, samples)


def test_a_tail_needs_samples_and_its_interval_holds_it() -> None:
    with pytest.raises(ValueError, match="hundred"):
        tail_ratio([1.0] * 99, CALM)
    got = tail_ratio(WILD, CALM)
    assert (got.value, got.low, got.high) == (3.0, 3.0, 3.0)
