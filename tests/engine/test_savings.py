"""The account: totals in disjoint buckets, and what the same questions cost in other ways."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ifmem.domain.ledger import AskedQuestion, CallState, LedgerRow
from ifmem.domain.model import CacheRules, Caching, ModelCard, ModelRef, Purpose
from ifmem.domain.price import Price, Rates, Tier
from ifmem.domain.usage import TokenUsage
from ifmem.engine import projections
from ifmem.engine.baselines import Baseline, Way
from ifmem.engine.savings import Account, account, saving

NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
FIVE_MINUTES, HOUR = 5 * MINUTE, 60 * MINUTE
MODEL = "vendor:model"


def rates(times: int = 1) -> Rates:
    """Pico-dollars that are easily told apart: 10 a token read anew, 1 from a cache, 50 written."""
    return Rates(
        uncached=10 * times,
        cache_write_5m=12 * times,
        cache_write_1h=20 * times,
        cache_write_other=11 * times,
        cache_read=1 * times,
        output=50 * times,
        reasoning=50 * times,
    )


PRICE = Price(rates=rates(), source="test", as_of="2026-01-01")


def card(model: str = MODEL, *, window: int = 1_000_000, **rules: Any) -> ModelCard:
    return ModelCard(
        ref=ModelRef.parse(model),
        window=window,
        max_output=1_000,
        cache=CacheRules(
            **{
                "caching": Caching.BREAKPOINT,
                "least_tokens": 100,
                "lifetimes": (FIVE_MINUTES, HOUR),
                **rules,
            }
        ),
        tokens_per_o200k=1.5,
        structured=True,
    )


def stamp(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def asked(name: str = "q", at: datetime = NOON, **given: Any) -> AskedQuestion:
    fields: dict[str, Any] = {
        "question_tokens": 10,
        "asked_tokens": 1_000,
        "corpus_tokens": 4_000,
        "retrieved_tokens": 200,
        "model": MODEL,
    }
    return AskedQuestion(question_id=name, at=stamp(at), **{**fields, **given})


def call(name: str = "q", at: datetime = NOON, **given: Any) -> LedgerRow:
    """A settled call of a shard; its cost is that of its usage unless it is given."""
    fields: dict[str, Any] = {
        "call_id": f"{name}-{at}-{given.get('shard', 1)}",
        "state": CallState.SETTLED,
        "purpose": Purpose.ANSWER,
        "model": MODEL,
        "question_id": name,
        "shard": 1,
        "generation": 1,
        "prompt_name": "shard_answer",
        "prompt_version": 1,
        "prefix_sha256": "aa",
        "prefix_tokens": 1_000,
        "question_tokens": 10,
        "bound": 100_000,
        "price": PRICE,
        "usage": TokenUsage(uncached=10, cache_read=1_000, output=20),
    }
    fields |= given
    fields.setdefault("cost", fields["price"].cost(fields["usage"]))
    return LedgerRow(at=stamp(at), **fields)


def seen(rows: list[LedgerRow], questions: list[AskedQuestion], **cards: Any) -> Account:
    return account(rows, questions, {MODEL: card(**cards)})


def way(of: Account, name: Way) -> Baseline:
    (found,) = [one for one in of.baselines if one.way is name]
    return found


def test_lines_are_by_model_and_purpose_and_every_token_is_in_one_bucket() -> None:
    rows = [
        call("p"),
        call("q", usage=TokenUsage(uncached=1, cache_write_1h=900, output=7, reasoning=3)),
        call(purpose=Purpose.KEEP_ALIVE, question_id=None, usage=TokenUsage(cache_read=900)),
        call(
            purpose=Purpose.STORAGE,
            question_id=None,
            usage=TokenUsage(),
            storage_token_hours=5_000,
            cost=2_500,
        ),
        call(model="other:model"),
    ]
    got = account(rows, [], {})
    assert [(one.model, one.purpose, one.calls, one.background) for one in got.lines] == [
        ("other:model", Purpose.ANSWER, 1, False),
        (MODEL, Purpose.ANSWER, 2, False),
        (MODEL, Purpose.KEEP_ALIVE, 1, True),
        (MODEL, Purpose.STORAGE, 1, True),
    ]
    assert got.usage == sum((row.usage for row in rows), TokenUsage())
    assert got.cost == sum(row.cost for row in rows) == got.at_most
    assert sum(one.cost for one in got.background) == 900 + 2_500
    (stored,) = got.storage
    assert (stored.cost, stored.storage_token_hours) == (2_500, 5_000)
    never_made = replace(rows[3], state=CallState.FAILED, cost=0)
    assert account([never_made], [], {}).storage[0].storage_token_hours == 0


def test_calls_with_an_unknown_end_make_the_total_an_interval() -> None:
    rows = [
        call("p"),
        call("q", state=CallState.UNKNOWN, cost=0, usage=TokenUsage(), bound=7_000),
        call("r", state=CallState.INTENT, cost=0, usage=TokenUsage(), bound=500),
        call("s", state=CallState.FAILED, cost=0, usage=TokenUsage(), bound=900),
    ]
    got = account(rows, [], {})
    (line,) = got.lines
    assert (line.calls, line.unknown, line.failed) == (4, 2, 1)
    assert (got.cost, got.at_most) == (rows[0].cost, rows[0].cost + 7_500)


def test_re_reading_sends_the_asked_documents_with_every_question_and_says_the_same_words() -> None:
    questions = [asked("p"), asked("q", NOON + MINUTE)]
    rows = [call("p"), call("q", NOON + MINUTE)]
    got = way(seen(rows, questions), Way.REREAD)
    # 1.5 of the model's tokens for one o200k token, as its card says.
    assert got.usage == TokenUsage(uncached=2 * (1_500 + 15), output=40)
    assert got.cost == 2 * (1_515 * 10 + 20 * 50)


def test_tokens_of_the_model_are_rounded_to_the_nearest() -> None:
    # 1,501.5 and 1,500: a half is rounded up; and 16.5 of the question.
    for o200k, own in ((1_001, 1_502), (1_000, 1_500)):
        one = asked(asked_tokens=o200k, question_tokens=11)
        assert way(seen([call()], [one]), Way.REREAD).usage.uncached == own + 17


def test_the_log_measures_the_models_tokens_and_goes_before_its_card() -> None:
    measured = TokenUsage(uncached=300, cache_read=900, output=20)
    rows = [call(usage=measured, prompt_o200k=1_000), call("w", purpose=Purpose.WARM)]
    got = seen(rows, [asked()])
    assert [(one.ratio, one.is_measured) for one in got.models] == [(Fraction(6, 5), True)]
    assert way(got, Way.REREAD).usage.uncached == 1_200 + 12
    warming_reports_the_sum_of_its_requests = call(
        "w", purpose=Purpose.WARM, usage=replace(measured, uncached=9_000), prompt_o200k=1_000
    )
    again = seen([*rows, warming_reports_the_sum_of_its_requests], [asked()])
    assert again.models == got.models


def test_with_a_cache_the_prefix_is_written_once_and_read_until_it_lapses() -> None:
    times = [NOON, NOON + 4 * MINUTE, NOON + 8 * MINUTE, NOON + 13 * MINUTE]
    questions = [asked(str(n), at) for n, at in enumerate(times)]
    rows = [call(str(n), at) for n, at in enumerate(times)]
    got = way(seen(rows, questions, lifetimes=(FIVE_MINUTES,)), Way.REREAD_CACHED)
    # Each read starts the five minutes anew; at exactly five it has lapsed.
    assert got.usage == TokenUsage(
        uncached=4 * 15, cache_write_5m=2 * 1_500, cache_read=2 * 1_500, output=80
    )
    without = way(
        seen(rows, questions, lifetimes=(FIVE_MINUTES,), read_extends=False), Way.REREAD_CACHED
    )
    assert (without.usage.cache_write_5m, without.usage.cache_read) == (3 * 1_500, 1_500)


def test_each_shard_has_a_prefix_of_its_own() -> None:
    questions = [asked("p"), asked("q", NOON + MINUTE)]
    rows = [
        call(one.question_id, at, shard=shard, prefix_tokens=tokens)
        for one, at in zip(questions, (NOON, NOON + MINUTE), strict=True)
        for shard, tokens in ((1, 600), (2, 400))
    ]
    got = way(seen(rows, questions, lifetimes=(HOUR,)), Way.REREAD_CACHED)
    assert (got.usage.cache_write_1h, got.usage.cache_read) == (900 + 600, 900 + 600)


def test_the_baseline_takes_the_lifetime_that_costs_it_least() -> None:
    times = [NOON + n * 10 * MINUTE for n in range(6)]
    questions = [asked(str(n), at) for n, at in enumerate(times)]
    rows = [call(str(n), at) for n, at in enumerate(times)]
    got = way(seen(rows, questions), Way.REREAD_CACHED)
    assert (got.usage.cache_write_1h, got.usage.cache_write_5m) == (1_500, 0)
    once = way(seen(rows[:1], questions[:1]), Way.REREAD_CACHED)
    assert (once.usage.cache_write_1h, once.usage.cache_write_5m) == (0, 1_500)


def test_a_provider_that_promises_no_lifetime_is_taken_to_keep_everything() -> None:
    later = NOON + timedelta(days=9)
    got = seen([call("p"), call("q", later)], [asked("p"), asked("q", later)], lifetimes=())
    usage = way(got, Way.REREAD_CACHED).usage
    assert (usage.cache_write_other, usage.cache_read) == (1_500, 1_500)


def test_what_was_appended_is_written_and_what_was_changed_is_written_whole() -> None:
    questions = [
        asked("p"),
        asked("q", NOON + MINUTE, asked_tokens=1_200),
        asked("r", NOON + 2 * MINUTE, asked_tokens=1_200),
        asked("s", NOON + 3 * MINUTE, asked_tokens=1_000),
    ]
    digests = {"p": "aa", "q": "bb", "r": "cc", "s": "dd"}
    rows = [
        call(one.question_id, NOON + n * MINUTE, prefix_sha256=digests[one.question_id])
        for n, one in enumerate(questions)
    ]
    got = way(seen(rows, questions, lifetimes=(HOUR,)), Way.REREAD_CACHED)
    assert got.usage.cache_read == 1_500
    assert got.usage.cache_write_1h == 1_500 + 300 + 1_800 + 1_500


@pytest.mark.parametrize("rules", [{"least_tokens": 1_501}, {"caching": Caching.NONE}])
def test_what_is_not_cached_costs_as_re_reading(rules: dict[str, Any]) -> None:
    got = seen([call("p"), call("q")], [asked("p"), asked("q")], **rules)
    assert way(got, Way.REREAD_CACHED).cost == way(got, Way.REREAD).cost
    at_the_limit = seen([call("p"), call("q")], [asked("p"), asked("q")], least_tokens=1_500)
    assert way(at_the_limit, Way.REREAD_CACHED).usage.cache_read == 1_500


def test_an_object_is_paid_by_the_hour_in_the_baseline_too() -> None:
    stored = replace(PRICE, storage=7)
    rules = {"caching": Caching.OBJECT, "lifetimes": (FIVE_MINUTES,), "read_extends": False}
    got = seen([call(price=stored)], [asked()], **rules)
    one = way(got, Way.REREAD_CACHED)
    assert one.cost is not None
    # 1,500 tokens for a twelfth of an hour.
    assert one.cost == 1_500 * 12 + 15 * 10 + 20 * 50 + 125 * 7
    later = NOON + FIVE_MINUTES
    rows = [call("p", price=stored), call("q", later, price=stored)]
    made_again = way(seen(rows, [asked("p"), asked("q", later)], **rules), Way.REREAD_CACHED)
    assert made_again.cost == 2 * one.cost


def test_one_window_is_a_hot_prompt_of_everything_where_it_fits() -> None:
    questions = [asked("p"), asked("q", NOON + MINUTE)]
    rows = [call("p"), call("q", NOON + MINUTE)]
    got = way(seen(rows, questions, lifetimes=(HOUR,), window=6_035), Way.ONE_WINDOW)
    assert got.usage == TokenUsage(
        uncached=2 * 15, cache_write_1h=6_000, cache_read=6_000, output=40
    )
    over = way(seen(rows, questions, lifetimes=(HOUR,), window=6_034), Way.ONE_WINDOW)
    assert over.cost is None
    assert over.why == "does not fit: 6,035 tokens, and the window of vendor:model holds 6,034"


def test_the_price_of_a_long_prompt_holds_for_the_one_window_that_is_one() -> None:
    stepped = replace(PRICE, tiers=(Tier(above=2_000, rates=rates(5)),))
    got = seen([call(price=stepped)], [asked()], lifetimes=(HOUR,))
    assert way(got, Way.ONE_WINDOW).cost == 5 * (6_000 * 20 + 15 * 10 + 20 * 50)
    assert way(got, Way.REREAD).cost == 1_515 * 10 + 20 * 50


def test_documents_longer_than_the_window_are_priced_as_prompts_that_fit() -> None:
    stepped = replace(PRICE, tiers=(Tier(above=1_400, rates=rates(5)),))
    got = seen([call(price=stepped)], [asked()], window=1_400)
    assert way(got, Way.REREAD).cost == 1_515 * 10 + 20 * 50


def test_retrieval_sends_what_recall_returns() -> None:
    got = way(seen([call()], [asked()]), Way.RETRIEVAL)
    assert got.usage == TokenUsage(uncached=300 + 15, output=20)


def test_a_dispute_and_a_synthesis_add_words_to_every_way_and_nothing_to_read() -> None:
    rows = [
        call(),
        call(purpose=Purpose.DISPUTE, usage=TokenUsage(cache_read=1_000, output=5)),
        call(purpose=Purpose.SYNTHESIS, shard=None, usage=TokenUsage(uncached=90, reasoning=8)),
        call(purpose=Purpose.WARM, usage=TokenUsage(cache_write_1h=1_000, output=1)),
    ]
    got = seen(rows, [asked()])
    words = 25 * 50 + 8 * 50
    assert way(got, Way.REREAD).cost == 1_515 * 10 + words
    assert way(got, Way.RETRIEVAL).cost == 315 * 10 + words
    assert way(got, Way.RETRIEVAL).usage == TokenUsage(uncached=315, output=25, reasoning=8)
    assert got.cost == sum(row.cost for row in rows)


def test_the_asked_tokens_are_shared_out_and_a_shard_that_failed_is_left_out() -> None:
    rows = [
        call(shard=1, prefix_tokens=3_000),
        call(shard=2, prefix_tokens=1_000, state=CallState.FAILED, cost=0, usage=TokenUsage()),
    ]
    got = way(seen(rows, [asked()]), Way.REREAD)
    assert got.usage.uncached == 750 * 3 // 2 + 15


def test_each_model_is_charged_for_its_own_shards_in_its_own_tokens() -> None:
    dear = replace(PRICE, rates=rates(100))
    rows = [
        call(shard=1, prefix_tokens=1_500),
        call(shard=2, prefix_tokens=2_000, model="other:model", price=dear),
    ]
    cards = {MODEL: card(), "other:model": replace(card("other:model"), tokens_per_o200k=2.0)}
    got = account(rows, [asked()], cards)
    assert way(got, Way.REREAD).cost == (750 + 15) * 10 + 1_000 + ((1_000 + 20) * 10 + 1_000) * 100
    # One prompt goes to the model that had most to read.
    assert way(got, Way.RETRIEVAL).cost == ((400 + 20) * 10 + 40 * 50) * 100


def test_questions_without_a_call_are_in_no_baseline() -> None:
    questions = [
        asked("p"),
        asked("cached", cached_answer=True),
        asked("extractive"),
        asked("refused"),
    ]
    rows = [call("p"), call("refused", state=CallState.FAILED, cost=0, usage=TokenUsage())]
    got = seen(rows, questions)
    assert (got.answered, got.cached_answers, got.uncalled) == (1, 1, 2)
    assert way(got, Way.REREAD).cost == 1_515 * 10 + 20 * 50


def test_without_questions_no_baseline_is_computed() -> None:
    for one in account([call("p")], [], {}).baselines:
        assert one.cost is None
        assert one.why == "no question was answered by a model in this time"


def test_what_a_forgotten_model_would_have_cached_is_not_guessed() -> None:
    got = account([call()], [asked()], {})
    assert way(got, Way.REREAD).cost == 1_010 * 10 + 20 * 50
    assert "vendor:model" in str(way(got, Way.REREAD_CACHED).why)
    assert way(got, Way.ONE_WINDOW).cost is None


def test_a_saving_is_printed_with_its_sign() -> None:
    assert saving(25, 100) == Fraction(3, 4)
    assert saving(150, 100) == Fraction(-1, 2)
    assert saving(0, 0) is None


amounts = st.integers(0, 10**15)


@given(amounts, amounts, st.integers(1, 10**6), st.integers(1, 10**6), st.booleans())
def test_every_projected_row_is_its_questions_and_every_saving_a_difference(
    reread: int, ours: int, answered: int, queries: int, has_more: bool
) -> None:
    costs = {"reread": reread, "ifmem": ours} | ({"one_window": ours + 1} if has_more else {})
    rows = projections.measured(costs, answered=answered, queries=queries, against="reread")
    first = rows[0]
    assert [row.name for row in rows] == list(costs)
    assert (first.saved_daily, first.saving) in {(0, 0), (0, None)}
    for row in rows:
        assert row.daily == queries * row.per_query
        assert row.annual == 365 * row.daily
        assert row.saved_daily == first.daily - row.daily
        assert row.saved_annual == first.annual - row.annual
        assert abs(Fraction(costs[row.name], answered) - row.per_query) <= Fraction(1, 2)
        if first.daily:
            assert row.saving == 1 - Fraction(row.daily, first.daily)


def test_the_papers_tables_at_the_list_price_of_its_model() -> None:
    # $1 for a million tokens, $0.10 read from the cache, $2 written for an hour.
    listed = Rates(
        uncached=1_000_000,
        cache_write_5m=1_250_000,
        cache_write_1h=2_000_000,
        cache_write_other=1_250_000,
        cache_read=100_000,
        output=5_000_000,
        reasoning=5_000_000,
    )
    price = Price(rates=listed, source="test", as_of="2026-01-01")
    rows = projections.as_the_paper_assumes(price, queries=6_000)
    dollar = 10**12
    assert [(row.daily // dollar, row.saved_daily // dollar) for row in rows] == [
        (600, 0),
        (180, 420),
        (60, 540),
    ]
    assert [row.printed_daily for row in rows] == ["18", "5.40", None]
    components = {one.name: one.monthly for one in projections.infrastructure(price, rows)}
    assert components["queries"] == 30 * 180 * dollar
    assert components["shards kept hot"] == (160 * dollar + 719 * 8 * dollar) // 100
    unpriced = projections.infrastructure(None, ())
    assert [one.monthly for one in unpriced] == [0, None, 0, 0, None]
