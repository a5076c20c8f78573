"""The next call's turn: no minute holds more than its limit, and what a provider says is heard."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ifmem.domain.model import RateLimits
from ifmem.engine.throttling import WINDOW_S, Allowance

QUICK = 0.001
"""The least that a caller waits before it asks again."""
calls = st.lists(st.tuples(st.floats(0, 90), st.integers(0, 700)), min_size=1, max_size=60)
"""Seconds after the call before, and prompt tokens."""


def times_of(allowance: Allowance, wanted: list[tuple[float, int]]) -> list[tuple[float, int]]:
    """When each call went, each as early as it could."""
    at, gone = 0.0, []
    for pause, tokens in wanted:
        at += pause
        while (wait := allowance.wait(at, tokens)) > 0:
            at += max(wait, QUICK)
        allowance, _ = allowance.grant(at, tokens)
        gone.append((at, tokens))
    return gone


@given(st.integers(1, 20), calls)
def test_no_minute_has_more_requests_than_the_limit(
    limit: int, wanted: list[tuple[float, int]]
) -> None:
    gone = times_of(Allowance(requests_per_minute=limit), wanted)
    for start, _ in gone:
        assert sum(start <= at < start + WINDOW_S for at, _ in gone) <= limit


@given(st.integers(100, 2_000), calls)
def test_no_minute_has_more_tokens_than_the_limit_but_for_one_call_that_is_larger(
    limit: int, wanted: list[tuple[float, int]]
) -> None:
    gone = times_of(Allowance(tokens_per_minute=limit), wanted)
    for start, _ in gone:
        within = [tokens for at, tokens in gone if start <= at < start + WINDOW_S and tokens]
        assert sum(within) <= limit or len(within) == 1


@given(st.integers(1, 20), st.integers(100, 2_000), calls)
def test_nobody_waits_longer_than_it_takes_for_all_others_to_be_a_minute_ago(
    requests: int, tokens: int, wanted: list[tuple[float, int]]
) -> None:
    allowance = Allowance(requests_per_minute=requests, tokens_per_minute=tokens)
    at = 0.0
    for pause, size in wanted:
        at += pause
        assert allowance.wait(at, size) <= WINDOW_S + QUICK
        at += allowance.wait(at, size) + QUICK
        allowance, _ = allowance.grant(at, size)
    assert len(allowance.grants) <= len(wanted)


def test_without_limits_every_call_goes_at_once() -> None:
    assert times_of(Allowance(), [(0.0, 10**9)] * 5) == [(0.0, 10**9)] * 5


def test_the_third_of_two_a_minute_waits_until_the_first_is_a_minute_ago() -> None:
    allowance = Allowance(requests_per_minute=2)
    for at in (10.0, 20.0):
        allowance, _ = allowance.grant(at, 1)
    assert allowance.wait(25.0, 1) == 45.0
    assert allowance.wait(70.0, 1) == 0.0


def test_a_call_that_counted_less_than_it_might_have_makes_room() -> None:
    allowance, grant = Allowance(tokens_per_minute=1_000).grant(0.0, 900)
    assert allowance.wait(1.0, 200) == 59.0
    assert allowance.corrected(grant, 50).wait(1.0, 200) == 0.0


def test_after_a_refusal_nothing_goes_for_as_long_as_the_provider_said() -> None:
    closed = Allowance().refused(5.0, 12.5)
    assert closed.wait(5.0, 1) == 12.5
    assert closed.wait(17.5, 1) == 0.0


def test_a_later_refusal_does_not_shorten_an_earlier_one() -> None:
    assert Allowance().refused(5.0, 60.0).refused(6.0, 1.0).wait(6.0, 1) == 59.0


def test_a_refusal_that_names_no_time_closes_for_a_second() -> None:
    assert Allowance().refused(5.0, None).wait(5.0, 1) == 1.0


@pytest.mark.parametrize(
    ("left", "tokens", "wait"),
    [
        (RateLimits(requests_left=1), 10, 0.0),
        (RateLimits(requests_left=0, resets_in=timedelta(seconds=7)), 10, 7.0),
        (RateLimits(tokens_left=9, resets_in=timedelta(seconds=7)), 10, 7.0),
        (RateLimits(tokens_left=10, resets_in=timedelta(seconds=7)), 10, 0.0),
        (RateLimits(requests_left=0), 10, WINDOW_S),
        (RateLimits(), 10, 0.0),
        (None, 10, 0.0),
    ],
)
def test_what_the_headers_said_is_left_is_all_that_goes_until_it_is_filled_up(
    left: RateLimits | None, tokens: int, wait: float
) -> None:
    told = Allowance().heard(100.0, left)
    assert told.wait(100.0, tokens) == wait
    assert told.wait(100.0 + wait, tokens) == 0.0


def test_what_is_let_go_is_taken_off_what_was_said_to_be_left() -> None:
    told = Allowance().heard(0.0, RateLimits(requests_left=2, resets_in=timedelta(seconds=30)))
    once, _ = told.grant(1.0, 5)
    twice, _ = once.grant(2.0, 5)
    assert (once.wait(3.0, 5), twice.wait(3.0, 5)) == (0.0, 27.0)


def test_headers_that_say_nothing_leave_what_was_said_before() -> None:
    told = Allowance().heard(0.0, RateLimits(requests_left=0, resets_in=timedelta(seconds=30)))
    assert told.heard(1.0, RateLimits()).wait(1.0, 1) == 29.0


def test_a_minute_is_filled_to_its_last_token_and_no_further() -> None:
    allowance, _ = Allowance(tokens_per_minute=1_000).grant(0.0, 900)
    assert allowance.wait(1.0, 100) == 0.0
    assert allowance.wait(1.0, 101) == 59.0
