"""When what is live suffices, and which of two answers holds more of a question."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ifmem.engine.evidence import (
    coverage,
    held_share,
    is_sufficient,
    question_weights,
    reaches_archive,
)

LANTERN = ("The lantern of Trebic burns till four.", "")
QUESTION = "How long does the lantern of Trebic burn?"
WEIGHTS = question_weights(QUESTION, lambda term: 1.0)

words = st.lists(st.sampled_from(("lantern", "trebic", "burn", "gate")), max_size=4).map(" ".join)


def test_a_passage_that_answers_by_itself_suffices_unless_a_name_is_known_nowhere() -> None:
    assert is_sufficient(WEIGHTS, (), [("Nothing of that.", ""), LANTERN])
    assert not is_sufficient(WEIGHTS, ("jihlava",), [LANTERN])
    assert not is_sufficient(WEIGHTS, (), [("The gate is locked.", "")])
    assert not is_sufficient(WEIGHTS, (), [])


def test_one_rare_word_of_several_is_support_but_does_not_suffice() -> None:
    question = "What is the retry budget of the Courier?"
    weights = question_weights(question, {"retri": 2.0, "budget": 2.0, "courier": 6.0}.__getitem__)
    path = ("libs/contract/courier.cpp", "")
    assert not is_sufficient(weights, (), [path])
    assert is_sufficient(weights, (), [path, ("The Courier has a retry budget of 3.", "")])


def test_what_is_held_counts_every_term_as_one() -> None:
    question = question_weights("lantern Trebic", {"lantern": 1.0, "trebic": 9.0}.__getitem__)
    assert held_share(question, [("The lantern is lit.", "")]) == 0.5
    assert held_share(question, [LANTERN, ("The lantern is lit.", "")]) == 1
    assert held_share(question, [("Nothing of that.", "")]) == 0
    assert held_share(question, []) == 0


@pytest.mark.parametrize(
    ("mode", "found", "hinted", "reaches"),
    [
        ("never", False, False, False),
        ("auto", False, False, True),
        ("auto", True, False, False),
        ("auto", False, True, False),
        ("always", True, True, True),
    ],
)
def test_the_archive_is_reached_where_the_mode_says(
    mode: str, found: bool, hinted: bool, reaches: bool
) -> None:
    assert reaches_archive(mode, found=found, hinted=hinted) is reaches


@given(st.lists(words, max_size=3), words)
def test_a_further_quote_never_holds_less_of_a_question(quotes: list[str], more: str) -> None:
    before, after = coverage(WEIGHTS, quotes), coverage(WEIGHTS, [*quotes, more])
    assert 0 <= before <= after <= 1 + 1e-9


def test_a_question_without_words_is_held_by_nothing() -> None:
    assert coverage({}, ["The lantern."]) == 0
    assert coverage(WEIGHTS, [LANTERN[0]]) > coverage(WEIGHTS, ["The gate of Trebic."]) > 0
