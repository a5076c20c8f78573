"""Percentiles of samples, and ratios of medians with their uncertainty."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np

_RESAMPLES = 2_000
_SEED = 7


class Latency(msgspec.Struct, frozen=True):
    """Times in milliseconds."""

    n: int
    p50_ms: float
    p95_ms: float
    p99_ms: float
    max_ms: float


class Ratio(msgspec.Struct, frozen=True):
    """How many times longer a baseline takes, median over median; a bootstrap 95 % interval."""

    value: float
    low: float
    high: float


def percentile(samples: Sequence[float], share: float) -> float:
    """The sample that ``share`` of all samples do not exceed (nearest rank).

    Raises:
        ValueError: there are no samples.
    """
    if not samples:
        raise ValueError("no samples")
    ordered = sorted(samples)
    rank = max(1, -(-round(share * 1000) * len(ordered) // 1000))
    return ordered[rank - 1]


def latency(samples_ms: Sequence[float]) -> Latency:
    """The summary of samples in milliseconds."""
    return Latency(
        n=len(samples_ms),
        p50_ms=round(percentile(samples_ms, 0.5), 3),
        p95_ms=round(percentile(samples_ms, 0.95), 3),
        p99_ms=round(percentile(samples_ms, 0.99), 3),
        max_ms=round(max(samples_ms), 3),
    )


def ratio(baseline_ms: Sequence[float], ours_ms: Sequence[float]) -> Ratio:
    """Baseline over ours; both must be samples, because a constant proves nothing.

    Raises:
        ValueError: fewer than two samples on a side, or a baseline whose samples are all equal.
    """
    for samples in (baseline_ms, ours_ms):
        if len(samples) < 2:
            raise ValueError("a ratio needs at least two measured samples on each side")
    if len(set(baseline_ms)) == 1:
        raise ValueError("the baseline is a constant, not a measurement: no ratio is printed")
    chance = np.random.default_rng(_SEED)
    medians = [_resampled_medians(samples, chance) for samples in (baseline_ms, ours_ms)]
    low, high = np.percentile(medians[0] / medians[1], [2.5, 97.5])
    value = float(np.median(baseline_ms) / np.median(ours_ms))
    return Ratio(round(value, 2), round(float(low), 2), round(float(high), 2))


def _resampled_medians(
    samples: Sequence[float], chance: np.random.Generator
) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    values = np.asarray(samples)
    picked = (chance.choice(values, len(values)) for _ in range(_RESAMPLES))
    return np.array([np.median(one) for one in picked])
