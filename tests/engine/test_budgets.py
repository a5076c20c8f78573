"""Limits: no call costs more than its bound, and the first limit it would pass is told."""

from __future__ import annotations

from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from ifmem.domain.price import Price, Rates, Tier
from ifmem.domain.usage import TokenUsage
from ifmem.engine.budgets import Denied, Granted, Purse, Which, decide, upper_bound

FIVE_MINUTES, HOUR = timedelta(minutes=5), timedelta(hours=1)
DOLLARS_PER_MILLION = 1_000_000

amounts = st.integers(0, 10_000_000)
rates = st.builds(
    Rates,
    uncached=amounts,
    cache_write_5m=amounts,
    cache_write_1h=amounts,
    cache_write_other=amounts,
    cache_read=amounts,
    output=amounts,
    reasoning=amounts,
)
tiers = st.lists(
    st.tuples(st.integers(1, 500), rates), max_size=2, unique_by=lambda one: one[0]
).map(lambda steps: tuple(Tier(above=a, rates=r) for a, r in sorted(steps, key=lambda s: s[0])))
prices = st.builds(Price, rates=rates, tiers=tiers, source=st.just("test"), as_of=st.just(""))
lifetimes = st.sampled_from([None, FIVE_MINUTES, timedelta(minutes=30), HOUR])


@given(
    prices,
    st.integers(0, 600),
    st.integers(0, 300),
    lifetimes,
    st.tuples(*(st.integers(0, 600) for _ in range(3))),
    st.tuples(st.integers(0, 300), st.integers(0, 300)),
)
def test_no_call_within_its_lengths_costs_more_than_its_bound(
    price: Price,
    prompt_tokens: int,
    max_output: int,
    lifetime: timedelta | None,
    prompt: tuple[int, int, int],
    generated: tuple[int, int],
) -> None:
    uncached = min(prompt[0], prompt_tokens)
    written = min(prompt[1], prompt_tokens - uncached)
    read = min(prompt[2], prompt_tokens - uncached - written)
    output = min(generated[0], max_output)
    bucket = {FIVE_MINUTES: "cache_write_5m", HOUR: "cache_write_1h"}.get(
        lifetime or timedelta(), "cache_write_other"
    )
    usage = TokenUsage(
        uncached=uncached,
        cache_read=read,
        output=output,
        reasoning=min(generated[1], max_output - output),
        **{bucket: written},
    )
    bound = upper_bound(
        price, prompt_tokens=prompt_tokens, max_output=max_output, lifetime=lifetime
    )
    assert price.cost(usage) <= bound


def priced(*, uncached: int, write_hour: int, output: int) -> Rates:
    """Dollars per million tokens."""
    unit = DOLLARS_PER_MILLION
    return Rates(
        uncached=uncached * unit,
        cache_write_5m=uncached * unit,
        cache_write_1h=write_hour * unit,
        cache_write_other=uncached * unit,
        cache_read=0,
        output=output * unit,
        reasoning=output * unit,
    )


STEPPED = Price(
    rates=priced(uncached=1, write_hour=2, output=5),
    tiers=(Tier(above=100_000, rates=priced(uncached=5, write_hour=10, output=25)),),
    source="test",
    as_of="2026-01-02",
)


def test_the_bucket_of_the_lifetime_and_the_step_of_the_length_count() -> None:
    unit = DOLLARS_PER_MILLION
    plain = upper_bound(STEPPED, prompt_tokens=100_000, max_output=1_000)
    assert plain == (100_000 * 1 + 1_000 * 5) * unit
    written = upper_bound(STEPPED, prompt_tokens=100_000, max_output=1_000, lifetime=HOUR)
    assert written == (100_000 * 2 + 1_000 * 5) * unit
    over = upper_bound(STEPPED, prompt_tokens=100_001, max_output=1_000, lifetime=HOUR)
    assert over == (100_001 * 10 + 1_000 * 25) * unit


def test_where_long_prompts_are_cheaper_a_shorter_one_is_the_bound() -> None:
    falling = Price(
        rates=priced(uncached=5, write_hour=5, output=5),
        tiers=(Tier(above=100, rates=priced(uncached=1, write_hour=1, output=1)),),
        source="test",
        as_of="",
    )
    bound = upper_bound(falling, prompt_tokens=101, max_output=0)
    assert bound == 100 * 5 * DOLLARS_PER_MILLION


QUESTION = Purse(which=Which.QUESTION, limit=100, spent=60)
DAY = Purse(which=Which.DAY, limit=1_000, spent=970)


def test_a_call_that_just_fits_is_granted_and_one_above_names_the_limit() -> None:
    assert decide([QUESTION, DAY], 30) == Granted()
    assert decide([QUESTION, DAY], 31) == Denied(DAY, 31)
    assert decide([QUESTION, DAY], 41) == Denied(QUESTION, 41)


def test_what_costs_nothing_is_granted_although_a_limit_was_passed() -> None:
    passed = Purse(which=Which.DAY, limit=10, spent=25)
    assert passed.left == 0
    assert decide([passed], 0) == Granted()
    assert decide([passed], 1) == Denied(passed, 1)
