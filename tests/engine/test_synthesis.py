"""The extractive model: which sentences answer, and how they are put together."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ifmem.engine.evidence import LEAST_SUPPORT, Evidence
from ifmem.engine.synthesis import (
    AS_GOOD,
    MOST_SENTENCES,
    Candidate,
    compose,
    least_useful,
    select,
)


def candidate(
    sentence: str, support: float, *, held: str = "budget", place: int = 0, key: int = 1
) -> Candidate:
    evidence = Evidence(support, 0, len(sentence), frozenset(held.split()))
    return Candidate(key=key, shard=1, place=place, sentence=sentence, evidence=evidence)


def chosen(*candidates: Candidate) -> list[str]:
    return [one.sentence for one in select(candidates)]


def test_nothing_answers_when_nothing_is_offered() -> None:
    assert select([]) == []


def test_weak_support_is_no_answer() -> None:
    assert chosen(candidate("It may be so.", LEAST_SUPPORT - 0.01)) == []
    assert chosen(candidate("It is so.", LEAST_SUPPORT)) == ["It is so."]


def test_the_best_supported_sentence_comes_first() -> None:
    assert chosen(candidate("second", 0.95), candidate("first", 1.0)) == ["first", "second"]


def test_among_equals_the_better_ranked_passage_answers() -> None:
    low = candidate("from further down", 0.9, place=5)
    assert chosen(low, candidate("from the top", 0.9))[0] == "from the top"


def test_a_sentence_that_says_no_more_and_less_well_is_left_out() -> None:
    assert chosen(candidate("The budget is three.", 1.0), candidate("A budget.", 0.5)) == [
        "The budget is three."
    ]


def test_a_weaker_sentence_is_quoted_when_it_holds_a_further_term() -> None:
    assert chosen(
        candidate("The budget is three.", 0.9, held="budget"),
        candidate("Retries back off.", 0.5, held="retry"),
        candidate("Retries are logged.", 0.5, held="retry budget"),
    ) == ["The budget is three.", "Retries back off."]


def test_a_further_term_does_not_lift_a_sentence_over_the_threshold() -> None:
    weak = candidate("Retries back off.", LEAST_SUPPORT - 0.01, held="retry")
    assert chosen(candidate("The budget is three.", 0.9), weak) == ["The budget is three."]


def test_the_same_sentence_in_two_sources_is_said_once() -> None:
    assert chosen(
        candidate("The budget is three.", 1.0, key=1),
        candidate("## the  budget is three.", 0.99, key=2),
    ) == ["The budget is three."]


def test_no_more_sentences_than_a_reader_wants() -> None:
    many = [candidate(f"Reason {n}.", 1.0, key=n) for n in range(9)]
    assert chosen(*many) == [f"Reason {n}." for n in range(MOST_SENTENCES)]


supports = st.lists(st.tuples(st.floats(0, 1), st.integers(0, 9), st.integers(1, 99)), max_size=12)


@given(supports, st.randoms(use_true_random=False))
def test_the_order_of_arrival_decides_nothing(
    offers: list[tuple[float, int, int]], chance: object
) -> None:
    unique = {key: (support, place) for support, place, key in offers}
    candidates = [
        candidate(f"Sentence {key}.", support, place=place, key=key)
        for key, (support, place) in unique.items()
    ]
    shuffled = sorted(candidates, key=lambda _: chance.random())  # type: ignore[attr-defined]
    assert select(shuffled) == select(candidates)


def test_each_sentence_carries_the_number_of_its_citation() -> None:
    assert compose(["- The budget is three.", "> Retries back off. "]) == (
        "The budget is three. [1] Retries back off. [2]"
    )
    assert compose([]) == ""


@pytest.mark.parametrize("mark", ["# ", "* ", "> ", "- ", "• "])
def test_the_marks_of_a_format_are_not_part_of_what_is_said(mark: str) -> None:
    assert compose([f"{mark}Three retries"]) == "Three retries [1]"


offers = st.lists(
    st.tuples(
        st.floats(0, 1),
        st.integers(0, 30),
        st.sampled_from(["a", "b", "a b", "b c"]),
        st.integers(),
    ),
    max_size=12,
)


@given(offers)
def test_what_is_not_useful_is_never_selected(offered: list[tuple[float, int, str, int]]) -> None:
    everything = [
        candidate(f"Sentence {n}.", support, held=held, place=place, key=key)
        for n, (support, place, held, key) in enumerate(offered)
    ]
    useful: list[Candidate] = []
    for one in everything:
        best = max((found.rated for found in useful), default=0.0)
        if one.evidence.support >= least_useful(best, one.place):
            useful.append(one)
    assert select(useful) == select(everything)


def test_beside_a_good_sentence_a_weak_one_is_of_no_use() -> None:
    assert least_useful(0.0, 3) == 0, "as long as there is nothing better, everything counts"
    assert least_useful(0.3, 0) == pytest.approx(AS_GOOD * 0.3)
    assert least_useful(1.0, 0) == LEAST_SUPPORT, "it may hold a further term"
