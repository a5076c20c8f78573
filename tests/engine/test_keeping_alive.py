"""Keeping a prefix alive: pings cost at most one write since the last question, then it goes."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ifmem.domain.model import CacheRules, Caching, Warming
from ifmem.domain.price import FREE, Price, Rates
from ifmem.engine.hotness import Heat, Hotness
from ifmem.engine.keeping_alive import (
    Plan,
    Step,
    lifetime_for,
    object_pays,
    ping_cost,
    plan,
    rewrite_cost,
    storage_token_hours,
)

NINE = datetime(2026, 1, 2, 9, tzinfo=UTC)
MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)
SHORT = 5 * MINUTE
TOKENS = 10_000
BREAKPOINT = CacheRules(caching=Caching.BREAKPOINT, lifetimes=(SHORT, HOUR))
OBJECT = CacheRules(
    caching=Caching.OBJECT,
    warming=Warming.CREATE,
    least_tokens=1_024,
    lifetimes=(SHORT, HOUR),
    read_extends=False,
)


def price(*, read: int = 100, write_5m: int = 1_250, storage: int = 0, output: int = 0) -> Price:
    return Price(
        rates=Rates(
            uncached=1_000,
            cache_write_5m=write_5m,
            cache_write_1h=2_000,
            cache_write_other=1_000,
            cache_read=read,
            output=output,
            reasoning=output,
        ),
        storage=storage,
        source="settings",
        as_of="2026-01-01",
    )


def hot(**known: object) -> Hotness:
    made = Hotness(
        model="v:m",
        prefix_sha256="f",
        caching=Caching.BREAKPOINT,
        reported=Heat.HOT,
        hot_until=NINE + SHORT,
        prefix_tokens=TOKENS,
        lifetime=SHORT,
        last_call_at=NINE,
        last_question_at=NINE,
    )
    return replace(made, **known)  # type: ignore[arg-type]


def an_object(**known: object) -> Hotness:
    return hot(
        **{
            "caching": Caching.OBJECT,
            "handle": "o1",
            "lifetime": HOUR,
            "hot_until": NINE + HOUR,
            "held_since": NINE,
            **known,
        }
    )


def test_a_hot_prefix_is_pinged_shortly_before_it_would_lapse() -> None:
    assert plan(hot(), price(), BREAKPOINT, NINE) == Plan(Step.WAIT, NINE + 4.5 * MINUTE)
    assert plan(hot(), price(), BREAKPOINT, NINE + 4.5 * MINUTE) == Plan(Step.PING)


@pytest.mark.parametrize(
    ("known", "paid", "rules"),
    [
        (hot(hot_until=None), price(), BREAKPOINT),
        (hot(reported=Heat.COLD), price(), BREAKPOINT),
        (hot(hot_until=NINE), price(), BREAKPOINT),
        (hot(), None, BREAKPOINT),
        (hot(), FREE, BREAKPOINT),
        (hot(), price(), replace(BREAKPOINT, read_extends=False)),
        (hot(ping_cost=12 * 100 * TOKENS), price(), BREAKPOINT),
        (hot(), price(read=1_251), BREAKPOINT),
    ],
    ids=["no promise", "cold", "lapsed", "no price", "free", "reads do not help", "paid", "dear"],
)
def test_what_a_ping_does_not_help_or_pay_is_let_go(
    known: Hotness, paid: Price | None, rules: CacheRules
) -> None:
    assert plan(known, paid, rules, NINE + timedelta(seconds=1)) == Plan(Step.LET_GO)


def test_twelve_pings_are_paid_at_five_minutes_and_a_tenth() -> None:
    eleven = hot(ping_cost=11 * 100 * TOKENS)
    assert plan(eleven, price(), BREAKPOINT, NINE + 4.9 * MINUTE) == Plan(Step.PING)


def test_writing_for_an_hour_pays_for_more_pings() -> None:
    known = hot(lifetime=HOUR, hot_until=NINE + HOUR, ping_cost=19 * 100 * TOKENS)
    assert plan(known, price(), BREAKPOINT, NINE + 55 * MINUTE) == Plan(Step.PING)


def test_the_output_of_a_ping_is_part_of_what_it_costs() -> None:
    assert ping_cost(hot(), price(output=10)) == 100 * TOKENS + 160


@given(
    st.integers(1, 2_000),
    st.integers(1, 4_000),
    st.integers(0, 500),
    st.lists(st.integers(1, 600), max_size=6),
)
def test_pings_since_the_last_question_never_cost_more_than_one_write(
    read: int, write: int, output: int, questions: list[int]
) -> None:
    """The loop of a day: pings as planned, questions after so many minutes."""
    paid = price(read=read, write_5m=write, output=output)
    known, asked = hot(), [NINE + sum(questions[:n], 0) * MINUTE for n in range(1, len(questions))]
    at, most = NINE, 0
    while at < NINE + 24 * HOUR:
        step = plan(known, paid, BREAKPOINT, at)
        following = min((one for one in asked if one > at), default=NINE + 24 * HOUR)
        if step.step is Step.PING:
            known = replace(
                known, ping_cost=known.ping_cost + ping_cost(known, paid), hot_until=at + SHORT
            )
            most = max(most, known.ping_cost)
            assert at < known.hot_until
        elif step.step is Step.WAIT and step.until is not None and step.until < following:
            assert step.until > at
            at = step.until
        else:
            at = following
            known = replace(known, ping_cost=0, hot_until=at + SHORT)
    assert most <= rewrite_cost(known, paid)


def test_an_object_is_held_until_its_storage_has_cost_what_making_it_did() -> None:
    # 1,000 a token to make, 500 a token and hour to hold: two hours.
    known = an_object(hot_until=NINE + 3 * HOUR)
    assert plan(known, price(storage=500), OBJECT, NINE) == Plan(Step.WAIT, NINE + 2 * HOUR)
    assert plan(known, price(storage=500), OBJECT, NINE + 2 * HOUR) == Plan(Step.DROP)


def test_an_object_that_ends_before_that_is_prolonged_shortly_before_its_end() -> None:
    known = an_object()
    assert plan(known, price(storage=500), OBJECT, NINE) == Plan(Step.WAIT, NINE + 54 * MINUTE)
    assert plan(known, price(storage=500), OBJECT, NINE + 54 * MINUTE) == Plan(Step.PING)


def test_a_question_starts_the_count_of_storage_anew() -> None:
    known = an_object(hot_until=NINE + 9 * HOUR, last_question_at=NINE + HOUR)
    assert plan(known, price(storage=500), OBJECT, NINE + 2 * HOUR) == Plan(
        Step.WAIT, NINE + 3 * HOUR
    )


def test_an_object_that_was_never_asked_is_held_for_as_long_from_when_it_was_made() -> None:
    known = an_object(hot_until=NINE + 3 * HOUR, last_question_at=NINE - 9 * HOUR)
    assert plan(known, price(storage=500), OBJECT, NINE + HOUR).step is Step.WAIT


def test_an_object_whose_time_is_over_is_dropped() -> None:
    assert plan(an_object(), price(storage=500), OBJECT, NINE + HOUR) == Plan(Step.DROP)


@pytest.mark.parametrize(
    ("gap", "lifetime"),
    [
        (None, SHORT),
        (MINUTE, SHORT),
        (SHORT, SHORT),
        (6 * MINUTE, HOUR),
        (HOUR, HOUR),
        (3 * HOUR, SHORT),
    ],
)
def test_the_lifetime_outlasts_the_gaps_between_questions_if_any_does(
    gap: timedelta | None, lifetime: timedelta
) -> None:
    lapsed = NINE + 9 * HOUR
    assert lifetime_for(BREAKPOINT, hot(gap=gap), lapsed) == lifetime


def test_a_hot_prefix_keeps_the_lifetime_that_it_was_written_for() -> None:
    assert lifetime_for(BREAKPOINT, hot(gap=30 * MINUTE), NINE) == SHORT
    assert lifetime_for(BREAKPOINT, hot(gap=30 * MINUTE), NINE + SHORT) == HOUR


def test_without_a_choice_of_lifetimes_none_is_asked_for() -> None:
    assert lifetime_for(replace(BREAKPOINT, lifetimes=()), hot(), NINE) is None
    assert lifetime_for(BREAKPOINT, None, NINE) == SHORT
    assert lifetime_for(OBJECT, None, NINE) == HOUR


@pytest.mark.parametrize(
    ("gap", "pays"),
    # Each question saves 900 of 1,000; making and holding for an hour costs 1,500.
    [(None, False), (HOUR, False), (38 * MINUTE, False), (30 * MINUTE, True), (MINUTE, True)],
)
def test_an_object_is_made_when_questions_of_an_hour_save_more_than_it_costs(
    gap: timedelta | None, pays: bool
) -> None:
    assert object_pays(hot(gap=gap), price(storage=500), OBJECT) is pays


@pytest.mark.parametrize(
    ("known", "paid", "rules"),
    [
        (None, price(storage=500), OBJECT),
        (hot(gap=MINUTE), None, OBJECT),
        (hot(gap=MINUTE), price(storage=0), OBJECT),
        (hot(gap=MINUTE), price(storage=500), BREAKPOINT),
        (hot(gap=MINUTE, prefix_tokens=1_023), price(storage=500), OBJECT),
        (hot(gap=timedelta()), price(storage=500), OBJECT),
        (hot(gap=MINUTE, read_tokens=9_000), price(storage=500), OBJECT),
    ],
)
def test_no_object_is_made_where_its_price_or_use_is_not_known(
    known: Hotness | None, paid: Price | None, rules: CacheRules
) -> None:
    assert object_pays(known, paid, rules) is False


def test_storage_is_counted_in_whole_token_hours_and_rounded_up() -> None:
    assert storage_token_hours(TOKENS, NINE, NINE + HOUR) == TOKENS
    assert storage_token_hours(TOKENS, NINE, NINE + 90 * MINUTE) == 15_000
    assert storage_token_hours(1, NINE, NINE + timedelta(microseconds=1)) == 1
    assert storage_token_hours(TOKENS, NINE, NINE) == 0
    assert storage_token_hours(TOKENS, NINE, NINE - HOUR) == 0
