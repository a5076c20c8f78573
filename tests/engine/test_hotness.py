"""Hot or cold as the provider reported it, until when, and why it went cold."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ifmem.domain.model import (
    CacheRules,
    Caching,
    Completion,
    ModelCall,
    ModelCard,
    ModelRef,
    Purpose,
    Stop,
    Warming,
)
from ifmem.domain.prompt import Prompt
from ifmem.domain.usage import TokenUsage
from ifmem.engine.hotness import (
    CACHE_NOT_TOLD,
    STANDS,
    Heat,
    Hotness,
    after_call,
    is_readable,
    never_asked,
)
from ifmem.llm import openai_compatible_model

NINE = datetime(2026, 1, 2, 9, tzinfo=UTC)
MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)
SHORT = 5 * MINUTE
PREFIX = 10_000
BREAKPOINT = CacheRules(
    caching=Caching.BREAKPOINT,
    warming=Warming.ZERO_TOKENS,
    least_tokens=1_024,
    lifetimes=(SHORT, HOUR),
)
IMPLICIT = CacheRules(caching=Caching.IMPLICIT, least_tokens=1_024)
OBJECT = CacheRules(
    caching=Caching.OBJECT,
    warming=Warming.CREATE,
    least_tokens=1_024,
    lifetimes=(SHORT, HOUR),
    read_extends=False,
)
TWO = CacheRules(caching=Caching.IMPLICIT, warming=Warming.TWO_QUESTIONS)
ENGINE = CacheRules(caching=Caching.ENGINE)
NONE = CacheRules(caching=Caching.NONE)


def card(rules: CacheRules) -> ModelCard:
    return ModelCard(
        ref=ModelRef("vendor", "model"),
        window=100_000,
        max_output=1_000,
        cache=rules,
        tokens_per_o200k=1.0,
        structured=True,
    )


def prompt(documents: str = "d" * 9_900) -> Prompt:
    """99 of 100 characters stand before the boundary."""
    return Prompt(name="p", version=1, rules="", documents=documents, question="q" * 100)


def call(purpose: Purpose = Purpose.ANSWER, **changes: Any) -> ModelCall:
    made = ModelCall(
        call_id="c",
        prompt=prompt(),
        purpose=purpose,
        max_output=100,
        shard=2,
        generation=1,
        lifetime=SHORT,
    )
    return replace(made, **changes)


def completion(*, read: int = 0, written: int = 0, uncached: int = 100, **told: Any) -> Completion:
    return Completion(
        text="a",
        stop=Stop.END,
        usage=TokenUsage(cache_read=read, cache_write_5m=written, uncached=uncached, output=5),
        model="model",
        first_token_ms=1.0,
        total_ms=2.0,
        **told,
    )


COLD = completion(written=PREFIX)
HOT = completion(read=PREFIX)


def met(*calls: tuple[timedelta, ModelCall, Completion], rules: CacheRules = BREAKPOINT) -> Hotness:
    """What is known after these calls, each so long after nine."""
    known: Hotness | None = None
    for after, one, answer in calls:
        known = after_call(known, card(rules), one, answer, NINE + after)
    assert known is not None
    return known


def at(minutes: float) -> timedelta:
    return minutes * MINUTE


def test_a_prefix_that_the_provider_reports_as_written_is_hot_until_the_lifetime_ends() -> None:
    known = met((at(0), call(), COLD))
    assert (known.state(NINE), known.hot_until) == (Heat.HOT, NINE + SHORT)
    assert known.state(NINE + SHORT - timedelta(microseconds=1)) is Heat.HOT
    assert known.state(NINE + SHORT) is Heat.COLD
    assert known.why_missed == "first call of this generation"


def test_a_read_starts_the_lifetime_anew() -> None:
    known = met((at(0), call(), COLD), (at(4), call(), HOT))
    assert known.hot_until == NINE + at(9)
    assert known.read_tokens == known.prefix_tokens == PREFIX


def test_what_the_provider_promised_goes_before_what_was_asked_for() -> None:
    promised = replace(HOT, cached_until=NINE + at(2))
    assert met((at(0), call(), promised)).hot_until == NINE + at(2)


@pytest.mark.parametrize(("read", "state"), [(8_999, Heat.COLD), (9_000, Heat.HOT)])
def test_nine_tenths_of_a_prefix_must_have_been_read(read: int, state: Heat) -> None:
    # 10,101 tokens of prompt, of which 10,000 stand before the boundary by their characters.
    part = completion(read=read, uncached=10_101 - read)
    assert met((at(0), call(), part), rules=IMPLICIT).state(NINE) is state


def test_the_question_does_not_count_against_the_prefix() -> None:
    long = call(prompt=replace(prompt(), question="q" * 9_900))
    answer = completion(read=10_000, uncached=10_000)
    assert met((at(0), long, answer), rules=IMPLICIT).state(NINE) is Heat.HOT


def test_a_shard_that_grew_by_little_is_read_and_stays_hot() -> None:
    grown = completion(read=9_500, written=500)
    known = met((at(0), call(), COLD), (at(1), call(prompt=prompt("e" * 9_900)), grown))
    assert known.state(NINE + at(2)) is Heat.HOT
    assert known.prefix_tokens == PREFIX


@pytest.mark.parametrize(
    ("rules", "calls", "why"),
    [
        (IMPLICIT, [(at(0), call(), completion(uncached=10_101))], "first call of this generation"),
        (
            IMPLICIT,
            [(at(0), call(), HOT), (at(1), call(generation=2), completion(uncached=10_101))],
            "first call of this generation",
        ),
        (
            IMPLICIT,
            [
                (at(0), call(), HOT),
                (at(1), call(prompt=prompt("e" * 9_900)), completion(uncached=10_101)),
            ],
            "documents were added since the last call",
        ),
        (
            IMPLICIT,
            [(at(0), call(), HOT), (at(1), call(), completion(uncached=10_101))],
            "the provider no longer held it",
        ),
        (
            IMPLICIT,
            [
                (at(0), call(), HOT),
                (at(1), call(), completion(uncached=10_101, miss_reason="model_changed")),
            ],
            "the provider wrote it anew: model_changed",
        ),
        (
            IMPLICIT,
            [(at(0), call(), completion(uncached=900))],
            "the prefix is shorter than the 1,024 tokens that are cached",
        ),
        (
            BREAKPOINT,
            [(at(0), call(lifetime=None), completion(uncached=10_100))],
            "the call did not ask for it to be kept",
        ),
        (NONE, [(at(0), call(), completion(uncached=10_100))], "the provider keeps no prefixes"),
        (
            TWO,
            [(at(0), call(), completion(uncached=99)), (at(1), call(), completion(uncached=99))],
            "it is stored once two different questions have shared it",
        ),
        (
            OBJECT,
            [
                (at(0), call(), completion(uncached=9_999)),
                (at(1), call(), completion(uncached=9_999)),
            ],
            "questions come too rarely for a cache object",
        ),
    ],
)
def test_why_it_is_cold(
    rules: CacheRules, calls: list[tuple[timedelta, ModelCall, Completion]], why: str
) -> None:
    known = met(*calls, rules=rules)
    assert (known.state(NINE + at(1)), known.why_cold(NINE + at(1))) == (Heat.COLD, why)


@pytest.mark.parametrize(
    ("passed", "ago"),
    [
        (timedelta(seconds=40), "40 s"),
        (at(7), "7 min"),
        (at(59.9), "59 min"),
        (3 * HOUR, "3 h"),
        (timedelta(hours=30), "30 h"),
        (timedelta(days=3), "3 days"),
    ],
)
def test_a_prefix_whose_lifetime_ended_lapsed_so_long_ago(passed: timedelta, ago: str) -> None:
    known = met((at(0), call(), COLD))
    assert known.why_cold(NINE + SHORT + passed) == f"lapsed {ago} ago"
    again = after_call(known, card(BREAKPOINT), call(), COLD, NINE + SHORT + passed)
    assert again.why_missed == f"lapsed {ago} ago"


def test_a_lapse_explains_a_miss_before_any_word_of_the_provider() -> None:
    told = replace(COLD, miss_reason="messages_changed")
    known = met((at(0), call(), COLD), (at(12), call(), told))
    assert known.why_missed == "lapsed 7 min ago"


def test_why_it_was_cold_is_not_said_while_it_is_hot() -> None:
    known = met((at(0), call(), COLD), (at(1), call(), HOT))
    assert known.why_cold(NINE + at(1)) is None
    assert known.why_missed == "first call of this generation"


def test_a_server_that_says_nothing_of_its_cache_is_neither_hot_nor_cold() -> None:
    silent = completion(uncached=10_100, miss_reason=CACHE_NOT_TOLD)
    known = met((at(0), call(), silent), rules=IMPLICIT)
    assert (known.state(NINE), known.why_cold(NINE)) == (Heat.UNKNOWN, CACHE_NOT_TOLD)


def test_the_adapter_says_it_in_the_same_words() -> None:
    assert openai_compatible_model.CACHE_NOT_TOLD == CACHE_NOT_TOLD


def test_a_report_without_a_promise_stands_for_minutes_and_then_nobody_knows() -> None:
    known = met((at(0), call(lifetime=None), HOT), rules=IMPLICIT)
    assert (known.hot_until, known.state(NINE + STANDS / 2)) == (None, Heat.HOT)
    assert known.state(NINE + STANDS) is Heat.UNKNOWN
    why = known.why_cold(NINE + at(12))
    assert why == "last reported 12 min ago, and the provider promises no time"


def test_the_engine_keeps_its_slots_as_long_as_the_process_lives() -> None:
    known = met((at(0), call(lifetime=None, handle=None), replace(HOT, handle="s1")), rules=ENGINE)
    assert known.state(NINE + 3 * HOUR) is Heat.HOT
    again = known.restarted()
    assert (again.state(NINE), again.handle) == (Heat.UNKNOWN, "s1")
    assert again.why_cold(NINE) == "the daemon was started anew"


def test_a_slot_that_was_filled_is_hot_before_anything_was_read_from_it() -> None:
    filled = completion(uncached=10_100, handle="s1")
    known = met((at(0), call(lifetime=None), filled), rules=ENGINE)
    assert (known.state(NINE), known.read_tokens) == (Heat.HOT, 0)


def test_what_others_hold_outlives_a_restart() -> None:
    known = met((at(0), call(), COLD))
    assert known.restarted() == known


def test_an_object_that_is_made_is_hot_until_it_ends_and_reading_it_changes_nothing() -> None:
    made = completion(written=PREFIX, uncached=0, handle="o1", cached_until=NINE + HOUR)
    read = completion(read=PREFIX, handle="o1")
    known = met((at(0), call(Purpose.WARM), made), (at(9), call(handle="o1"), read), rules=OBJECT)
    assert (known.hot_until, known.handle, known.is_object) == (NINE + HOUR, "o1", True)


def test_prolonging_an_object_takes_no_tokens_and_keeps_what_was_known() -> None:
    made = completion(written=PREFIX, uncached=0, handle="o1", cached_until=NINE + HOUR)
    longer = replace(
        completion(uncached=0, handle="o1", cached_until=NINE + 2 * HOUR),
        usage=TokenUsage(),
    )
    known = met(
        (at(0), call(Purpose.WARM), made),
        (at(50), call(Purpose.KEEP_ALIVE, handle="o1"), longer),
        rules=OBJECT,
    )
    assert (known.hot_until, known.prefix_tokens) == (NINE + 2 * HOUR, PREFIX)
    assert known.why_missed == "first call of this generation"


def test_an_object_that_is_gone_is_no_longer_named() -> None:
    made = completion(written=PREFIX, uncached=0, handle="o1", cached_until=NINE + HOUR)
    gone = completion(uncached=10_100, miss_reason="the cache object is gone")
    known = met((at(0), call(Purpose.WARM), made), (at(1), call(handle="o1"), gone), rules=OBJECT)
    assert (known.state(NINE + at(1)), known.is_object) == (Heat.COLD, False)
    assert known.why_cold(NINE + at(1)) == "the provider wrote it anew: the cache object is gone"


def test_a_part_that_was_read_without_an_object_is_not_the_whole_prefix() -> None:
    part = completion(read=4_096, uncached=6_000)
    assert met((at(0), call(), part), rules=OBJECT).state(NINE) is Heat.COLD


def test_questions_start_the_count_of_pings_anew() -> None:
    known = met((at(0), call(), COLD))
    for minute in (4, 8):
        ping = call(Purpose.KEEP_ALIVE)
        known = after_call(known, card(BREAKPOINT), ping, HOT, NINE + at(minute), cost=7)
    assert (known.pings, known.ping_cost) == (2, 14)
    known = after_call(known, card(BREAKPOINT), call(), HOT, NINE + at(9))
    assert (known.pings, known.ping_cost, known.last_question_at) == (0, 0, NINE + at(9))


def test_warming_is_no_question() -> None:
    known = met((at(0), call(), COLD), (at(2), call(Purpose.WARM), HOT))
    assert known.last_question_at == NINE


def test_the_gap_between_questions_follows_the_newest() -> None:
    asked = [(at(m), call(question_id=f"q{m}"), HOT) for m in (0, 10, 20)]
    assert met(*asked[:1]).gap is None
    assert met(*asked).gap == at(10)
    assert met(*asked, (at(60), call(question_id="q60"), HOT)).gap == at(10 + 0.3 * 30)


def test_two_calls_of_one_question_are_one_question() -> None:
    first, second = call(question_id="q"), call(Purpose.DISPUTE, question_id="q")
    assert met((at(0), first, COLD), (at(1), second, HOT)).gap is None


def test_what_was_learnt_of_the_questions_goes_with_the_shard_to_its_next_prefix() -> None:
    asked = [(at(m), call(question_id=f"q{m}"), HOT) for m in (0, 10)]
    grown = call(Purpose.WARM, prompt=prompt("e" * 9_900))
    known = met(*asked, (at(12), grown, COLD))
    assert (known.gap, known.last_question_at) == (at(10), NINE + at(10))


def test_a_call_that_began_before_the_last_reported_one_changes_no_report() -> None:
    known = met((at(0), call(), COLD), (at(3), call(), HOT))
    late = after_call(known, card(BREAKPOINT), call(), COLD, NINE + at(2))
    assert late == known


def test_nothing_is_readable_before_the_first_call_and_everything_where_nothing_is_kept() -> None:
    assert not is_readable(None, BREAKPOINT, NINE)
    assert not is_readable(never_asked("m", 1, 1, "f"), BREAKPOINT, NINE)
    assert is_readable(None, NONE, NINE)


def test_a_hot_prefix_is_readable_until_it_lapses() -> None:
    known = met((at(0), call(), COLD))
    assert is_readable(known, BREAKPOINT, NINE + at(4))
    assert not is_readable(known, BREAKPOINT, NINE + at(5))


def test_after_a_first_call_nobody_waits_where_the_provider_says_nothing() -> None:
    silent = completion(uncached=10_100, miss_reason=CACHE_NOT_TOLD)
    known = met((at(0), call(lifetime=None), silent), rules=IMPLICIT)
    assert is_readable(known, IMPLICIT, NINE + at(4))
    assert not is_readable(known, IMPLICIT, NINE + at(6))


def test_where_it_takes_two_questions_the_third_is_the_first_to_go_with_others() -> None:
    miss = completion(uncached=10_100)
    once = met((at(0), call(lifetime=None), miss), rules=TWO)
    twice = met((at(0), call(lifetime=None), miss), (at(1), call(lifetime=None), miss), rules=TWO)
    assert not is_readable(once, TWO, NINE + at(1))
    assert is_readable(twice, TWO, NINE + at(2))
    assert not is_readable(twice, TWO, NINE + at(20))


usages = st.builds(
    completion,
    read=st.integers(0, 20_000),
    written=st.integers(0, 20_000),
    uncached=st.integers(0, 20_000),
    cached_until=st.none() | st.integers(-10, 90).map(lambda m: NINE + at(m)),
    handle=st.none() | st.just("o1"),
    miss_reason=st.none() | st.just("why") | st.just(CACHE_NOT_TOLD),
)
histories = st.lists(
    st.tuples(
        st.integers(0, 30),
        st.sampled_from([Purpose.ANSWER, Purpose.WARM, Purpose.KEEP_ALIVE, Purpose.DISPUTE]),
        st.sampled_from([None, SHORT, HOUR]),
        usages,
    ),
    min_size=1,
    max_size=8,
)


@given(
    st.sampled_from([BREAKPOINT, IMPLICIT, OBJECT, TWO, ENGINE, NONE]),
    histories,
    st.integers(0, 5_000),
)
def test_hot_never_outlives_its_promise_and_whatever_is_not_hot_says_why(
    rules: CacheRules,
    history: list[tuple[int, Purpose, timedelta | None, Completion]],
    later: int,
) -> None:
    known: Hotness | None = None
    moment = NINE
    for minutes, purpose, lifetime, answer in history:
        moment += at(minutes)
        one = call(purpose, lifetime=lifetime)
        known = after_call(known, card(rules), one, answer, moment, cost=3)
    assert known is not None
    looked = moment + at(later)
    if known.state(looked) is Heat.HOT:
        assert known.hot_until is None or looked < known.hot_until
        assert known.why_cold(looked) is None
        assert known.reported is Heat.HOT
    else:
        assert known.why_cold(looked)
    assert known.ping_cost == 3 * known.pings
