"""The schedule of kills and pauses: seeded, exact in its counts, never two blows at once."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ifmem.benchmarks.chaos import Blow, ChaosEvent, schedule

seeds = st.integers(0, 2**32)
runs = st.builds(
    schedule,
    seeds,
    processes=st.integers(1, 12),
    seconds=st.floats(0.1, 100),
    kills=st.integers(0, 20),
    pauses=st.integers(0, 20),
)


def test_the_same_seed_gives_the_same_blows_and_another_seed_others() -> None:
    def of(seed: int) -> tuple[ChaosEvent, ...]:
        return schedule(seed, processes=4, seconds=10, kills=5, pauses=5)

    assert of(1) == of(1)
    assert of(1) != of(2)


@given(seeds, st.integers(1, 12), st.integers(0, 20), st.integers(0, 20))
def test_there_are_exactly_as_many_kills_and_pauses_as_asked_for(
    seed: int, processes: int, kills: int, pauses: int
) -> None:
    events = schedule(seed, processes=processes, seconds=10, kills=kills, pauses=pauses)
    assert Counter(event.blow for event in events) == Counter(
        {Blow.KILL: kills, Blow.PAUSE: pauses, Blow.RESUME: pauses}
    )
    assert all(0 <= event.index < processes for event in events)
    assert all(0 <= event.at_seconds <= 10 for event in events)


@given(runs)
def test_events_are_in_order_of_time(events: tuple[ChaosEvent, ...]) -> None:
    times = [event.at_seconds for event in events]
    assert times == sorted(times)


@given(runs)
def test_a_paused_process_is_resumed_before_anything_else_happens_to_it(
    events: tuple[ChaosEvent, ...],
) -> None:
    paused: set[int] = set()
    for event in events:
        if event.blow is Blow.RESUME:
            paused.remove(event.index)
            continue
        assert event.index not in paused
        if event.blow is Blow.PAUSE:
            paused.add(event.index)
    assert not paused


def test_with_many_blows_every_process_is_struck_at_some_time() -> None:
    events = schedule(3, processes=4, seconds=10, kills=20, pauses=20)
    assert {event.index for event in events} == {0, 1, 2, 3}


@pytest.mark.parametrize(
    ("processes", "seconds", "kills"), [(0, 10.0, 1), (3, 0.0, 1), (3, 10.0, -1)]
)
def test_a_schedule_that_cannot_be_is_refused(processes: int, seconds: float, kills: int) -> None:
    with pytest.raises(ValueError, match="no schedule of"):
        schedule(1, processes=processes, seconds=seconds, kills=kills, pauses=0)
