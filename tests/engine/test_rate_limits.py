"""What one caller may use of the server, and that it is nobody else's."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ifmem.engine.rate_limits import Callers, Denied, Limit, Use, begin_call

LIMIT = Limit(calls_per_minute=60, at_once=2, streams=2)
FULL = Use(calls=LIMIT.burst, at=0.0)


def test_half_a_minutes_calls_may_come_at_once_and_the_next_is_told_when() -> None:
    callers = Callers(Limit(calls_per_minute=60, at_once=100))
    assert [callers.begin_call("ada", 0.0) for _ in range(30)] == [None] * 30
    assert callers.begin_call("ada", 0.0) == Denied(1.0, "more than 60 calls a minute")


def test_waiting_as_long_as_told_is_enough() -> None:
    callers = Callers(Limit(calls_per_minute=90, at_once=100))
    while (denied := callers.begin_call("ada", 5.0)) is None:
        pass
    assert callers.begin_call("ada", 5.0 + denied.retry_after_seconds * 0.99) is not None
    assert callers.begin_call("ada", 5.0 + denied.retry_after_seconds) is None


def test_a_caller_that_has_used_up_everything_takes_nothing_from_another() -> None:
    callers = Callers(LIMIT)
    while callers.begin_call("greedy", 0.0) is None:
        callers.end_call("greedy")
    assert callers.begin_call("modest", 0.0) is None


def test_calls_that_run_are_bounded_and_an_ended_one_makes_room() -> None:
    callers = Callers(LIMIT)
    assert callers.begin_call("ada", 0.0) is callers.begin_call("ada", 0.0) is None
    refused = callers.begin_call("ada", 0.0)
    assert refused is not None
    assert refused.reason == "2 calls of yours run at once"
    callers.end_call("ada")
    assert callers.begin_call("ada", 0.0) is None


def test_a_stream_is_no_running_call_and_has_a_bound_of_its_own() -> None:
    callers = Callers(LIMIT)
    assert callers.begin_stream("ada", 0.0) is callers.begin_stream("ada", 0.0) is None
    assert callers.begin_call("ada", 0.0) is callers.begin_call("ada", 0.0) is None
    assert callers.begin_stream("ada", 0.0) is not None
    callers.end_stream("ada")
    assert callers.begin_stream("ada", 0.0) is None


def test_a_refused_call_costs_nothing() -> None:
    one_left = Use(calls=1.0, at=0.0, running=LIMIT.at_once)
    assert isinstance(begin_call(one_left, LIMIT, 0.0), Denied)
    assert one_left.calls == 1.0


def test_callers_that_are_quiet_are_forgotten_and_busy_ones_are_not() -> None:
    callers = Callers(LIMIT)
    for number in range(1_000):
        callers.begin_call(number, 0.0)
        callers.end_call(number)
    callers.begin_call("busy", 0.0)
    callers.begin_call("late", 120.0)
    assert len(callers) == 2


@given(st.lists(st.floats(0, 100), min_size=1).map(sorted))
def test_no_more_is_let_through_than_the_burst_and_what_time_gave(moments: list[float]) -> None:
    use, taken = FULL, 0
    for now in moments:
        outcome = begin_call(use, Limit(calls_per_minute=60, at_once=10**6), now)
        if isinstance(outcome, Use):
            use, taken = outcome, taken + 1
    assert taken <= LIMIT.burst + moments[-1] + 1e-6
    assert 0 <= use.calls <= LIMIT.burst


@given(st.floats(0, 1e6), st.floats(0, 1e6))
def test_a_clock_that_goes_back_gives_nothing(first: float, second: float) -> None:
    empty = Use(calls=0.0, at=max(first, second))
    assert empty.after(LIMIT, min(first, second)).calls == 0
