"""How much of a shard a model can take."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ifmem.domain.model import CacheRules, Caching, ModelCard, ModelRef
from ifmem.domain.price import FREE, Price, Tier
from ifmem.engine.shard_budgets import (
    LEAST_O200K,
    Factor,
    most_tokens,
    o200k_budget,
    shard_capacity,
)

CARD = ModelCard(
    ref=ModelRef("anthropic", "claude-haiku-4-5"),
    window=200_000,
    max_output=8_192,
    cache=CacheRules(caching=Caching.BREAKPOINT),
    tokens_per_o200k=1.22,
    structured=True,
)
CLIFF = replace(FREE, tiers=(Tier(above=100_000, rates=FREE.rates),))


def most(card: ModelCard = CARD, price: Price | None = FREE, cap: int = 10**9) -> int:
    return most_tokens(card, price, quality_cap=cap, max_output=1_024)


def test_a_prompt_leaves_room_for_rules_question_answer_and_error() -> None:
    assert most() == int((200_000 - 1_024 - 600 - 2_000) * 0.95)


def test_a_prompt_stays_under_the_first_step_of_the_price() -> None:
    assert most(price=CLIFF) + 600 + 2_000 <= 100_000
    assert most(price=CLIFF) < most()


def test_a_prompt_stays_under_the_quality_cap_though_the_window_is_larger() -> None:
    assert most(cap=50_000) == int((50_000 - 600 - 2_000) * 0.95)


def test_a_model_without_a_price_is_bounded_by_its_window() -> None:
    assert most(price=None) == most()


def test_a_small_window_keeps_most_of_itself_for_documents() -> None:
    assert most(replace(CARD, window=8_192)) == int((8_192 - 1_024 - 600 - 1_024) * 0.95)


def test_a_window_that_is_all_answer_takes_no_documents() -> None:
    assert most(replace(CARD, window=1_000)) == 0


def test_a_budget_in_the_models_tokens_is_smaller_in_o200k_by_its_factor() -> None:
    assert o200k_budget(122_000, 1.22) == 100_000


@pytest.mark.parametrize(
    ("budget", "capacity"),
    [(None, 200_000), (89_500, 89_500), (300_000, 200_000), (LEAST_O200K - 1, 200_000)],
)
def test_a_shard_is_as_large_as_its_model_takes_unless_that_is_too_small_for_shards(
    budget: int | None, capacity: int
) -> None:
    assert shard_capacity(200_000, budget) == capacity


def test_the_first_observation_replaces_the_cards_figure() -> None:
    assert Factor(1.22).observed(10_000, 15_000) == Factor(1.5, samples=1)


def test_later_observations_move_the_factor_by_a_part() -> None:
    assert Factor(1.0, samples=1).observed(1_000, 2_000).value == pytest.approx(1.3)


@pytest.mark.parametrize(("o200k", "reported"), [(0, 100), (100, 0), (100, 401), (1_000, 249)])
def test_a_count_that_no_tokeniser_makes_is_not_believed(o200k: int, reported: int) -> None:
    assert Factor(1.2, samples=3).observed(o200k, reported) == Factor(1.2, samples=3)


@given(st.lists(st.integers(500, 2_000), min_size=1, max_size=30))
def test_a_factor_stays_between_what_was_observed(reported: list[int]) -> None:
    factor = Factor(9.9)
    for one in reported:
        factor = factor.observed(1_000, one)
    assert min(reported) / 1_000 - 1e-9 <= factor.value <= max(reported) / 1_000 + 1e-9
