"""``bench cost``: the rows add up, and a price that was read wrongly is noticed."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import msgspec
import pytest

from ifmem import clock
from ifmem.benchmarks import cost
from ifmem.benchmarks.cost import LAYOUTS, Layout
from ifmem.domain.model import ModelRef
from ifmem.errors import IntegrityError
from ifmem.llm.cards import card_of
from ifmem.llm.providers import BUILT_IN
from ifmem.model_settings import PriceEntry
from ifmem.settings import Settings

HAIKU = "anthropic:claude-haiku-4-5"
OWN = Settings(
    prices=(
        PriceEntry(
            model=HAIKU,
            input="1",
            output="5",
            cache_read="0.10",
            cache_write="2",
            as_of="2026-01-02",
            source="a list of ours",
        ),
    )
)
FOUR = Layout(HAIKU, 4, 200_000, 4)


def test_a_layout_costs_what_its_tokens_cost(tmp_path: Path) -> None:
    report = cost.run(settings=OWN, layouts=[FOUR], queries=10, out=tmp_path)
    (row,) = report.layouts
    assert row.cold_query_usd == "0.808"  # 4 × (200,500 × $1 + 300 × $5) / 1M
    assert row.first_query_usd == "1.608"  # 4 × (200,000 × $2 + 500 × $1 + 300 × $5) / 1M
    assert row.hot_query_usd == "0.088"  # 4 × (200,000 × $0.10 + 500 × $1 + 300 × $5) / 1M
    assert (row.saved_query_usd, row.saving) == ("0.72", 0.891089)
    assert (row.cold_daily_usd, row.hot_daily_usd, row.saved_daily_usd) == ("8.08", "0.88", "7.2")
    # $1.608 + 2 × $0.088 is less than 3 × $0.808; $1.608 + $0.088 is more than 2 × $0.808.
    assert row.pays_from == 3
    assert not row.fits
    assert (row.source, row.as_of) == ("a list of ours", "2026-01-02")
    text = "\n".join(cost.lines(report))
    assert "NOMINAL" in text
    assert json.loads(Path(report.written).read_text("utf-8"))["layouts"][0]["hot_query_usd"]


def test_asking_fewer_shards_costs_their_share(tmp_path: Path) -> None:
    two = msgspec.structs.replace(FOUR, asked=2)
    report = cost.run(settings=OWN, layouts=[FOUR, two], out=tmp_path)
    all_four, half = (Decimal(row.hot_query_usd or 0) for row in report.layouts)
    assert half * 2 == all_four


@pytest.mark.parametrize(
    ("cold", "first", "hot", "pays"),
    [
        (10, 20, 1, 3),
        (10, 11, 1, 2),
        (10, 10, 1, 2),
        (10, 9, 1, 1),
        (10, 20, 10, None),
        (0, 0, 0, None),
    ],
)
def test_writing_pays_from_the_first_question_count_that_is_cheaper(
    cold: int, first: int, hot: int, pays: int | None
) -> None:
    assert cost._pays_from(cold, first, hot) == pays
    if pays is not None:
        totals = [first + n * hot < (n + 1) * cold for n in range(pays)]
        assert totals == [False] * (pays - 1) + [True]


def test_a_model_without_a_price_says_so_and_spoils_no_other_row(tmp_path: Path) -> None:
    pytest.importorskip("genai_prices")
    unknown = Layout("openai:gpt-never-heard-of", 1, 1_000, 1)
    report = cost.run(settings=OWN, layouts=[unknown, FOUR], out=tmp_path)
    assert report.layouts[0].why == "nobody knows what it costs"
    assert report.layouts[1].hot_query_usd == "0.088"
    assert [check.rows for check in report.checks] == [1, 0]
    assert "nobody knows" in "\n".join(cost.lines(report))


def test_the_listed_prices_agree_with_their_own_calculator(tmp_path: Path) -> None:
    pytest.importorskip("genai_prices")
    report = cost.run(out=tmp_path)
    assert [check.rows for check in report.checks] == [len(LAYOUTS), len(LAYOUTS)]
    rows = {(row.layout.model, row.layout.shards, row.layout.asked): row for row in report.layouts}
    over, under = (
        rows["anthropic:claude-haiku-5-5", 4, 4],
        rows["anthropic:claude-haiku-5-5", 9, 9],
    )
    # The same tokens: below the step of its price every one of them costs less.
    assert Decimal(over.hot_query_usd or 0) > 4 * Decimal(under.hot_query_usd or 0)


def test_a_price_that_was_read_wrongly_is_noticed(tmp_path: Path) -> None:
    pytest.importorskip("genai_prices")
    report = cost.run(layouts=[FOUR], out=tmp_path)
    at = clock.now()
    assert cost._calculator_agrees(report.layouts, at).rows == 1
    wrong = msgspec.structs.replace(report.layouts[0], hot_query_usd="0.0881")
    with pytest.raises(IntegrityError, match="genai-prices"):
        cost._calculator_agrees([wrong], at)
    with pytest.raises(IntegrityError, match="add up"):
        cost._sums_are_exact([wrong], cost.QUERIES)


def test_an_hour_is_asked_for_where_one_can() -> None:

    by_name = {provider.name: provider for provider in BUILT_IN}
    card = card_of(ModelRef.parse(HAIKU), by_name["anthropic"])
    assert cost._lifetime(card) == timedelta(hours=1)
    many = (timedelta(hours=1), timedelta(hours=12))
    assert cost._lifetime(replace(card, cache=replace(card.cache, lifetimes=many))) == many[0]
    longest = replace(card, cache=replace(card.cache, lifetimes=(timedelta(minutes=30),)))
    assert cost._lifetime(longest) == timedelta(minutes=30)
    assert cost._lifetime(replace(card, cache=replace(card.cache, lifetimes=()))) is None
