"""Measures of ranked lists, against examples worked by hand."""

from __future__ import annotations

import pytest

from ifmem.benchmarks.ranked_lists import (
    Query,
    ndcg_at,
    quality,
    quality_by_category,
    recall_at,
    reciprocal_rank,
)

JUDGED = {"good": 3, "fair": 1}


def test_recall_counts_the_relevant_ones_among_the_first() -> None:
    ranked = ["no", "fair", "no2", "good"]
    assert recall_at(1, ranked, JUDGED) == 0
    assert recall_at(2, ranked, JUDGED) == 0.5
    assert recall_at(10, ranked, JUDGED) == 1


def test_ndcg_weighs_grades_by_rank() -> None:
    # Ranks 1 and 3 with grades 1 and 3: 1/log2(2) + 3/log2(4) = 2.5.
    # The best order is 3/log2(2) + 1/log2(3) = 3.63093.
    assert ndcg_at(10, ["fair", "no", "good"], JUDGED) == pytest.approx(2.5 / 3.63093, abs=1e-5)
    assert ndcg_at(10, ["good", "fair"], JUDGED) == pytest.approx(1.0)
    assert ndcg_at(2, ["no", "no2", "good"], JUDGED) == 0


def test_the_reciprocal_rank_is_of_the_first_relevant_one() -> None:
    assert reciprocal_rank(20, ["no", "no2", "fair", "good"], JUDGED) == pytest.approx(1 / 3)
    assert reciprocal_rank(2, ["no", "no2", "fair"], JUDGED) == 0


def test_quality_is_the_mean_over_queries_and_by_category() -> None:
    queries = [
        Query("q1", "?", None, "easy", {"a": 1}),
        Query("q2", "?", None, "hard", {"b": 1}),
    ]
    found = {"q1": ["a"], "q2": ["x"]}
    taken = quality(queries, found)
    assert (taken.queries, taken.recall, taken.mrr, taken.hit10) == (
        2,
        {"5": 0.5, "10": 0.5, "20": 0.5},
        0.5,
        0.5,
    )
    apart = quality_by_category(queries, found)
    assert {name: one.mrr for name, one in apart.items()} == {"easy": 1.0, "hard": 0.0}
