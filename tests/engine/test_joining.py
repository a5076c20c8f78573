"""One answer from several findings: every sentence with its numbers, or not at all."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ifmem.engine.facts import numbers
from ifmem.engine.joining import MOST_QUOTED, Voice, join_by_code, keep_cited
from ifmem.engine.shard_answers import Said

QUOTES = ["The budget of the Courier is 3.", "The Harbor opens at 7. Its master is Ada Roe."]
QUESTION = "What is the budget of the Courier, and when does the Harbor open?"


@pytest.mark.parametrize(
    ("written", "kept", "struck"),
    [
        ("The budget is 3 [1]. It opens at 7 [2].", "The budget is 3. [1] It opens at 7. [2]", 0),
        ("The budget is 3. [1] It opens at 7. [2]", "The budget is 3. [1] It opens at 7. [2]", 0),
        ("Ada Roe is the master [2, 1].", "Ada Roe is the master. [2][1]", 0),
        ("The budget is 3.", "", 1),
        ("The budget is 3 [9].", "", 1),
        ("The budget is 3 [0].", "", 1),
        ("The budget is 4 [1].", "", 1),
        ("The budget is 3 [2].", "", 1),
        ("The master is Ben Lee [2].", "", 1),
        ("The budget is 3 [1][9].", "The budget is 3. [1]", 0),
        (
            "- The budget is 3 [1].\n- It opens at 7 [2].",
            "The budget is 3. [1] It opens at 7. [2]",
            0,
        ),
        ("", "", 0),
    ],
)
def test_a_sentence_stays_as_far_as_a_quote_it_cites_holds_it(
    written: str, kept: str, struck: int
) -> None:
    assert keep_cited(written, QUOTES, QUESTION) == (kept, struck)


@given(st.text(max_size=200))
def test_no_number_comes_out_that_no_quote_and_no_question_holds(written: str) -> None:
    kept, _ = keep_cited(written, QUOTES, QUESTION)
    said = kept.replace("[1]", "").replace("[2]", "")
    assert numbers(said) <= {"3", "7"}


def test_voices_are_numbered_through() -> None:
    first = Voice(("a", "b"), (Said("One.", (1,)), Said("Two.", (0, 1))))
    second = Voice(("c",), (Said("Three.", (0,)),))
    assert join_by_code([first, second]) == "One. [2] Two. [1][2] Three. [3]"


def test_a_voice_without_sentences_speaks_in_its_first_quotes() -> None:
    quotes = tuple(f"# Quote {n}\n  goes on." for n in range(MOST_QUOTED + 2))
    said = join_by_code([Voice(quotes, ())])
    assert said == " ".join(f"Quote {n} goes on. [{n + 1}]" for n in range(MOST_QUOTED))


def test_what_one_voice_said_is_not_said_again() -> None:
    first = Voice(("a",), (Said("The  budget is 3.", (0,)),))
    second = Voice(("b", "c"), (Said("the budget is 3.", (0,)), Said("It is small.", (1,))))
    assert join_by_code([first, second]) == "The  budget is 3. [1] It is small. [3]"
