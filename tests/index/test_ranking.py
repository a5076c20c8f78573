"""Ranking: parts that sum to the score, neighbours, and filters that look at nothing else."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ifmem.index.ranking import (
    Numbers,
    Ranked,
    idf,
    lexical_trust,
    passage_counts,
    rank,
    term_weight,
    weighted_terms,
)

NOBODY = (np.empty(0, np.intp), np.empty(0, np.float32))


def ranked(
    words: list[float],
    *,
    vectors: dict[int, float] | None = None,
    chain: bool = False,
    within: list[int] | None = None,
    limit: int = 50,
) -> Ranked:
    """Ranks passages with these word scores; in a chain each follows the one before it."""
    size = len(words)
    before = np.arange(-1, size - 1) if chain else np.full(size, -1, np.intp)
    after = np.append(np.arange(1, size), -1)[-size:] if chain else np.full(size, -1, np.intp)
    return rank(
        np.array(words, np.float32),
        near(vectors or {}),
        trust=1.0,
        before=before,
        after=after,
        within=None if within is None else np.array(within, np.intp),
        limit=limit,
    )


def near(vectors: dict[int, float]) -> tuple[Numbers, Any]:
    best = sorted(vectors, key=lambda number: -vectors[number])
    return (
        np.array(best, np.intp),
        np.array([vectors[number] for number in best], np.float32),
    )


def test_the_best_come_first_and_what_does_not_match_not_at_all() -> None:
    assert ranked([0, 3, 1, 0, 2]).best == [1, 4, 2]
    assert ranked([0, 0]).best == []
    assert ranked([]).best == []


def test_of_equals_the_earlier_comes_first() -> None:
    assert ranked([1, 2, 1, 2]).best == [1, 3, 0, 2]


def test_no_more_than_the_limit_and_those_the_best() -> None:
    assert ranked([1, 5, 3, 4, 2], limit=2).best == [1, 3]


def test_meaning_finds_what_words_do_not() -> None:
    assert ranked([0, 0, 0], vectors={2: 0.9, 0: 0.5, 1: 0.1}).best == [2, 0]


def test_words_and_meaning_together_beat_either() -> None:
    found = ranked([2, 2, 0], vectors={2: 0.9, 1: 0.8, 0: 0.1})
    assert found.best[0] == 1


def test_a_turn_takes_some_of_the_score_of_the_turn_before_and_after_it() -> None:
    found = ranked([0, 0, 1, 0, 0], chain=True)
    assert found.best[0] == 2
    assert sorted(found.best) == [1, 2, 3]
    assert found.total(2) > found.total(3) > found.total(1) > 0
    assert ranked([0, 0, 1, 0, 0]).best == [2]


def test_a_turn_that_came_after_the_search_began_lends_nothing() -> None:
    found = rank(
        np.array([0, 1], np.float32),
        NOBODY,
        trust=1.0,
        before=np.array([-1, 0]),
        after=np.array([1, 2]),
        within=None,
        limit=9,
    )
    assert found.best == [1, 0]
    assert found.neighbour[1] == 0


scores = st.lists(st.floats(0, 50, width=32), min_size=1, max_size=20)
vectors = st.dictionaries(st.integers(0, 19), st.floats(0.0625, 1, width=32), max_size=8)


@given(scores, vectors, st.booleans())
def test_the_parts_of_a_score_sum_to_it_and_the_order_is_theirs(
    words: list[float], given_vectors: dict[int, float], chain: bool
) -> None:
    meant = {number: score for number, score in given_vectors.items() if number < len(words)}
    found = ranked(words, vectors=meant, chain=chain)
    parts = (found.lexical + found.vector + found.neighbour).tolist()
    assert [found.total(number) for number in range(len(words))] == pytest.approx(parts)
    totals = [found.total(number) for number in found.best]
    assert totals == sorted(totals, reverse=True)
    assert set(found.best) == {number for number, total in enumerate(parts) if total > 0}


@given(scores, vectors, st.sets(st.integers(0, 19)), st.booleans())
def test_a_filter_ranks_as_if_the_rest_were_not_there(
    words: list[float], given_vectors: dict[int, float], allowed: set[int], chain: bool
) -> None:
    kept = sorted(number for number in allowed if number < len(words))
    meant = {number: score for number, score in given_vectors.items() if number in kept}
    place = {number: at for at, number in enumerate(kept)}
    filtered = ranked(words, vectors=meant, chain=chain, within=kept)
    size = len(kept)
    alone = rank(
        np.array([words[number] for number in kept], np.float32),
        near({place[number]: score for number, score in meant.items()}),
        trust=1.0,
        before=_mapped(kept, place, -1) if chain else np.full(size, -1, np.intp),
        after=_mapped(kept, place, +1) if chain else np.full(size, -1, np.intp),
        within=None,
        limit=50,
    )
    assert filtered.best == [kept[at] for at in alone.best]
    assert [filtered.total(n) for n in filtered.best] == [alone.total(n) for n in alone.best]


def _mapped(kept: list[int], place: dict[int, int], step: int) -> Numbers:
    return np.array([place.get(number + step, -1) for number in kept], np.intp)


def test_poor_word_matches_do_not_outrank_a_good_match_by_meaning() -> None:
    weights = [4.0, 4.0, 4.0]
    assert lexical_trust(12.0, weights) == 1.0
    assert lexical_trust(6.0, weights) > lexical_trust(1.0, weights) > 0
    assert lexical_trust(0.0, weights) == lexical_trust(5.0, []) == 0.0


@given(st.integers(0, 10_000), st.integers(0, 10_000))
def test_a_rarer_term_says_more_and_none_says_less_than_nothing(one: int, other: int) -> None:
    rarer, commoner = sorted((one, other))
    assert idf(rarer, 10_000) >= idf(commoner, 10_000) >= 0
    assert term_weight(rarer, 10_000) >= term_weight(commoner, 10_000) >= 0


def test_frequencies_that_count_removed_passages_do_no_harm() -> None:
    assert idf(10, 3) >= 0


def test_each_term_of_a_question_is_weighed_once() -> None:
    weighted = weighted_terms("Retry the retry of retries?", {"retri": 2}.__getitem__, 10)
    assert weighted == [("retri", term_weight(2, 10))]


def test_words_of_the_header_count_more_than_words_of_the_text() -> None:
    counts = passage_counts("budget retry", "client.py > Budget")
    assert counts["budget"] > counts["client"] > counts["retri"] == 1
