"""Percentiles and ratios, against examples worked by hand."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ifmem.benchmarks.statistics import latency, percentile, ratio

times = st.lists(st.floats(min_value=0.001, max_value=1e6), min_size=1, max_size=50)


def test_percentiles_are_samples_by_nearest_rank() -> None:
    hundred = [float(one) for one in range(100, 0, -1)]
    assert [percentile(hundred, share) for share in (0.5, 0.95, 0.99, 1.0)] == [50, 95, 99, 100]
    assert percentile([3.0, 1.0, 2.0], 0.5) == 2.0
    assert percentile([7.0], 0.99) == 7.0


def test_there_is_no_percentile_of_nothing() -> None:
    with pytest.raises(ValueError, match="no samples"):
        percentile([], 0.5)


@given(times)
def test_percentiles_rise_and_stay_within_the_samples(samples: list[float]) -> None:
    taken = latency(samples)
    assert taken.n == len(samples)
    assert taken.p50_ms <= taken.p95_ms <= taken.p99_ms <= taken.max_ms
    assert percentile(samples, 0.5) in samples


def test_a_ratio_is_of_medians_and_lies_in_its_interval() -> None:
    against = ratio([20.0, 30.0, 40.0], [1.0, 2.0, 3.0])
    assert against.value == 15.0
    assert against.low <= 15.0 <= against.high
    assert against.low >= 20 / 3 - 0.01
    assert against.high <= 40.0


def test_more_samples_narrow_the_interval() -> None:
    few = ratio([20.0, 30.0, 40.0] * 2, [1.0, 2.0, 3.0] * 2)
    many = ratio([20.0, 30.0, 40.0] * 100, [1.0, 2.0, 3.0] * 100)
    assert many.high - many.low < few.high - few.low


def test_a_constant_is_no_baseline() -> None:
    with pytest.raises(ValueError, match="constant"):
        ratio([2500.0, 2500.0, 2500.0], [17.0, 18.0, 19.0])
    with pytest.raises(ValueError, match="at least two"):
        ratio([2500.0], [17.0, 18.0])
