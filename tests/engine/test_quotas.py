"""Days of calls, shares, back-offs and the order in which librarians are asked."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise, permutations
from zoneinfo import ZoneInfo

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from ifmem.domain.quota import Denied, Refusal
from ifmem.engine.quotas import (
    FIRST_BACK_OFF,
    LONGEST_BACK_OFF,
    LONGEST_TOLD,
    BackOff,
    Bounds,
    Candidate,
    Tier,
    Use,
    back_off,
    day_of,
    denied,
    in_order,
    left,
    shares,
)
from ifmem.errors import ConfigError

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
NEW_YORK = ZoneInfo("America/New_York")
ZONES = [
    UTC,
    *map(ZoneInfo, ("America/Los_Angeles", "Asia/Kathmandu", "Pacific/Apia", "Europe/Berlin")),
]
MOMENTS = st.integers(0, 28 * 366 * 86_400).map(
    lambda seconds: datetime(2008, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)
)


# Days


@given(moment=MOMENTS, minute=st.integers(0, 1_439), zone=st.sampled_from(ZONES))
def test_every_moment_lies_in_one_day_which_the_next_one_follows(
    moment: datetime, minute: int, zone: ZoneInfo
) -> None:
    day = day_of(moment, minute, zone)
    assert day.begins <= moment < day.ends
    assert timedelta(hours=22) <= day.ends - day.begins <= timedelta(hours=26)
    assert day_of(day.begins, minute, zone) == day
    assert day_of(day.ends - timedelta(microseconds=1), minute, zone) == day
    assert day_of(day.ends, minute, zone).begins == day.ends


@given(moment=MOMENTS, hour=st.integers(5, 23), zone=st.sampled_from(ZONES[:2]))
def test_a_day_begins_at_the_stated_time_of_the_stated_zone(
    moment: datetime, hour: int, zone: ZoneInfo
) -> None:
    begins = day_of(moment, 60 * hour + 30, zone).begins.astimezone(zone)
    assert (begins.hour, begins.minute) == (hour, 30)


def test_a_day_of_pacific_midnights_begins_at_eight_in_utc_in_winter_and_at_seven_in_summer() -> (
    None
):
    zone = ZoneInfo("America/Los_Angeles")
    assert day_of(NOON, 0, zone).begins == NOON.replace(hour=8)
    summer = datetime(2026, 7, 1, 6, 59, tzinfo=UTC)
    assert day_of(summer, 0, zone).begins == datetime(2026, 6, 30, 7, tzinfo=UTC)


def test_a_time_of_day_that_is_skipped_begins_the_day_an_hour_later() -> None:
    # On 8 March 2026 New York goes from 01:59 to 03:00.
    day = day_of(datetime(2026, 3, 8, 12, tzinfo=UTC), 150, NEW_YORK)
    assert day.begins.astimezone(NEW_YORK).isoformat() == "2026-03-08T03:30:00-04:00"
    assert day.ends - day.begins == timedelta(hours=23)


def test_a_time_of_day_that_comes_twice_begins_the_day_once_and_the_first_time() -> None:
    # On 1 November 2026 New York has 01:30 at 05:30 UTC and again at 06:30 UTC.
    first = datetime(2026, 11, 1, 5, 30, tzinfo=UTC)
    for hours in (0, 1, 2, 23):
        assert day_of(first + timedelta(hours=hours), 90, NEW_YORK).begins == first
    assert day_of(first, 90, NEW_YORK).ends == first + timedelta(hours=25)


def test_a_date_that_a_zone_leaves_out_makes_no_day_of_no_length() -> None:
    # Samoa had no 30 December 2011.
    apia = ZoneInfo("Pacific/Apia")
    start = datetime(2011, 12, 28, 12, tzinfo=UTC)
    begun = sorted({day_of(start + timedelta(hours=n), 0, apia).begins for n in range(96)})
    assert {b - a for a, b in pairwise(begun)} == {timedelta(hours=24)}


# What is left


@given(
    pool=st.integers(1, 20),
    librarian=st.integers(1, 20),
    used=st.tuples(st.integers(0, 40), st.integers(0, 40)),
)
def test_what_is_left_is_never_below_nothing_and_bounded_by_both(
    pool: int, librarian: int, used: tuple[int, int]
) -> None:
    bounds, use = Bounds(pool=pool, librarian=librarian), Use(pool=used[0], librarian=used[1])
    calls = left(bounds, use)
    assert 0 <= calls <= min(pool, librarian)
    assert (denied(bounds, use, now=NOON, day_ends=NOON) is None) == (calls > 0)
    assert calls == 0 or (used[0] + calls <= pool and used[1] + calls <= librarian)


def test_of_several_reasons_the_one_that_lasts_longest_is_told() -> None:
    minute = NOON + timedelta(seconds=30)
    waiting = BackOff(began=NOON, duration=timedelta(minutes=5), streak=1)
    bounds = Bounds(pool=1, librarian=1)
    ends = NOON + timedelta(hours=2)

    def told(use: Use) -> Denied | None:
        return denied(bounds, use, now=NOON, day_ends=ends)

    assert told(Use()) is None
    assert told(Use(minute_until=NOON)) is None
    assert told(Use(minute_until=minute)) == Denied(Refusal.MINUTE, minute)
    both = Use(minute_until=minute, back_off=waiting)
    assert told(both) == Denied(Refusal.BACKING_OFF, waiting.until)
    assert told(Use(pool=1, back_off=waiting)) == Denied(Refusal.EXHAUSTED, ends)


# Back-offs


def test_a_pool_waits_twice_as_long_at_each_refusal_in_a_row_up_to_a_quarter_of_an_hour() -> None:
    wait, now, seconds = None, NOON, []
    for _ in range(10):
        wait = back_off(wait, reserved=now, now=now, told_s=None)
        seconds.append(wait.duration.total_seconds())
        now = wait.until
    assert seconds == [5, 10, 20, 40, 80, 160, 320, 640, 900, 900]


def test_calls_that_were_under_way_together_are_one_refusal() -> None:
    wait = back_off(None, reserved=NOON, now=NOON + timedelta(seconds=1), told_s=None)
    again = back_off(wait, reserved=NOON, now=NOON + timedelta(seconds=2), told_s=None)
    assert (again.streak, again.duration) == (1, FIRST_BACK_OFF)


def test_a_provider_that_says_how_long_is_believed_up_to_a_day() -> None:
    for told, meant in ((37.5, timedelta(seconds=37.5)), (1e300, LONGEST_TOLD)):
        assert back_off(None, reserved=NOON, now=NOON, told_s=told).duration == meant


@pytest.mark.parametrize("told", [0, -1, float("nan"), float("inf"), float("-inf"), None])
def test_a_provider_that_says_nothing_that_can_be_waited_for_is_asked_after_our_own_time(
    told: float | None,
) -> None:
    assert back_off(None, reserved=NOON, now=NOON, told_s=told).duration == FIRST_BACK_OFF


@given(
    st.lists(
        st.tuples(
            st.floats(0, 5_000), st.one_of(st.none(), st.floats(allow_nan=True)), st.booleans()
        ),
        min_size=1,
        max_size=30,
    )
)
def test_a_later_refusal_never_shortens_a_back_off(
    steps: list[tuple[float, float | None, bool]],
) -> None:
    wait, now = None, NOON
    for seconds, told, was_under_way in steps:
        now += timedelta(seconds=seconds)
        reserved = NOON - timedelta(1) if was_under_way else now
        after = back_off(wait, reserved=reserved, now=now, told_s=told)
        assert timedelta(0) < after.duration <= max(LONGEST_BACK_OFF, LONGEST_TOLD)
        assert wait is None or after.until >= wait.until
        wait = after


# Shares


@given(
    daily=st.integers(1, 5_000),
    stated=st.dictionaries(
        st.integers(1, 64), st.one_of(st.none(), st.integers(1, 900)), min_size=1
    ),
)
def test_shares_are_as_stated_else_equal_and_never_more_than_the_pool(
    daily: int, stated: dict[int, int | None]
) -> None:
    own = sum(calls for calls in stated.values() if calls is not None)
    equal = [number for number, calls in stated.items() if calls is None]
    if own + len(equal) > daily:
        with pytest.raises(ConfigError, match="lower `daily`"):
            shares("free", daily, stated)
        return
    held = shares("free", daily, stated)
    assert {n: held[n] for n in stated if n not in equal} == {
        n: calls for n, calls in stated.items() if calls is not None
    }
    assert sum(held.values()) == (daily if equal else own)
    parts = [held[n] for n in equal]
    assert not parts or (min(parts) >= 1 and max(parts) - min(parts) <= 1)


# The order


def vendor(number: int, calls: int, **more: object) -> Candidate:
    return Candidate(librarian=number, tier=Tier.VENDOR, calls=calls, **more)  # type: ignore[arg-type]


LOCAL = Candidate(librarian=1, tier=Tier.LOCAL, calls=1_500)
EXTRACTIVE = Candidate(librarian=2, tier=Tier.EXTRACTIVE, calls=1_500)
USED = Denied(Refusal.EXHAUSTED, NOON)


def test_vendors_with_the_most_calls_left_come_first_then_local_then_extractive() -> None:
    some = [EXTRACTIVE, LOCAL, vendor(5, 3), vendor(3, 80), vendor(4, 80)]
    for shuffled in permutations(some):
        assert in_order(shuffled, hint=None).ask == (3, 4, 5, 1, 2)


def test_the_hinted_librarian_comes_first_and_the_others_follow() -> None:
    some = [EXTRACTIVE, LOCAL, vendor(5, 3), vendor(3, 80)]
    assert in_order(some, hint=2).ask == (2, 3, 5, 1)
    assert in_order(some, hint=9).ask == (3, 5, 1, 2)


def test_who_may_not_be_asked_is_passed_over_with_the_reason_even_when_hinted() -> None:
    waiting = Denied(Refusal.BACKING_OFF, NOON - timedelta(minutes=1))
    some = [
        EXTRACTIVE,
        vendor(3, 0, denied=USED),
        vendor(4, 9, denied=waiting),
        vendor(5, 9, offline="GEMINI_API_KEY is not set"),
    ]
    order = in_order(some, hint=3)
    assert order.ask == (2,)
    assert [(one.librarian, one.reason) for one in order.passed_over] == [
        (3, "its calls of today are used: again at 2026-03-01T12:00:00Z"),
        (4, "its provider asked to wait: again at 2026-03-01T11:59:00Z"),
        (5, "GEMINI_API_KEY is not set"),
    ]


@given(
    st.lists(
        st.builds(
            Candidate,
            librarian=st.integers(1, 64),
            tier=st.sampled_from(Tier),
            calls=st.integers(0, 9),
            denied=st.sampled_from([None, USED]),
            offline=st.sampled_from([None, "no key"]),
        ),
        unique_by=lambda one: one.librarian,
    ),
    st.integers(0, 64),
)
def test_everybody_is_either_asked_or_passed_over(some: list[Candidate], hint: int) -> None:
    assume(some)
    order = in_order(some, hint=hint)
    over = [one.librarian for one in order.passed_over]
    assert sorted([*order.ask, *over]) == sorted(one.librarian for one in some)
    able = {one.librarian for one in some if one.denied is None and one.offline is None}
    assert set(order.ask) == able
    assert hint not in able or order.ask[0] == hint
