"""Reading what a model wrote: whatever it is, it is an answer or unreadable, never an error."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ifmem.engine.answer_texts import (
    MOST_CHARACTERS,
    MOST_QUOTE_CHARACTERS,
    MOST_QUOTES,
    ClaimedQuote,
    Unreadable,
    WrittenAnswer,
    read_free,
    read_structured,
)

QUOTE = {"document": 1, "quote": "The budget is 3.", "claim": "It is 3."}
ANSWER: dict[str, Any] = {
    "found": True,
    "quotes": [QUOTE],
    "answer": "The budget is 3.",
    "confidence": 0.9,
    "missing": "the date",
}
READ = WrittenAnswer(
    True, (ClaimedQuote(1, "The budget is 3.", "It is 3."),), "The budget is 3.", "the date"
)


def read(text: str, *, cut: bool = False) -> WrittenAnswer:
    value = read_structured(text, cut=cut)
    assert isinstance(value, WrittenAnswer), value
    return value


@pytest.mark.parametrize(
    "text",
    [
        json.dumps(ANSWER),
        json.dumps(ANSWER, indent=2),
        f"```json\n{json.dumps(ANSWER)}\n```",
        f"Here is the answer:\n\n{json.dumps(ANSWER)}\n\nI hope it helps {{really}}.",
        f"<think>Is it {{3}}? {{}}</think>{json.dumps(ANSWER)}",
        f"A set {{1, 2}} first. {json.dumps(ANSWER)}",
    ],
)
def test_json_is_read_whatever_stands_around_it(text: str) -> None:
    assert read(text) == READ


@pytest.mark.parametrize(
    "text",
    [
        "",
        "I cannot tell.",
        "{",
        '{"found": tru',
        "[1, 2]",
        "null",
        "{}",
        '{"colour": "blue"}',
        "{" * 5_000,
        '{"a":' * 5_000,
        "[" * 100_000,
        '{"found": ' + "9" * 6_000 + "}",
        "x" * (MOST_CHARACTERS + 1),
    ],
)
def test_what_is_no_answer_is_unreadable_and_says_why(text: str) -> None:
    value = read_structured(text)
    assert isinstance(value, Unreadable)
    assert value.reason


def test_wrong_types_are_dropped_and_counted() -> None:
    wrong = [7, None, [], {"document": 1}, {"document": 1, "quote": 4}, {"quote": "  "}]
    value = read(json.dumps({**ANSWER, "quotes": [QUOTE, *wrong]}))
    assert value.quotes == READ.quotes
    assert value.malformed == len(wrong)


@pytest.mark.parametrize("value", ["a text", 7, {"document": 1}, True])
def test_quotes_that_are_no_list_are_none(value: object) -> None:
    got = read(json.dumps({**ANSWER, "quotes": value}))
    assert (got.quotes, got.malformed) == ((), 1)


@pytest.mark.parametrize(
    ("given", "number"),
    [(3, 3), ("3", 3), (3.0, 3), ("document 3", 3), (True, None), ("three", None), (None, None)],
)
def test_a_documents_number_is_read_as_models_write_it(given: object, number: int | None) -> None:
    got = read(json.dumps({"found": True, "quotes": [{**QUOTE, "document": given}]}))
    assert got.quotes[0].document == number


def test_an_endless_list_or_quote_is_cut() -> None:
    got = read(json.dumps({**ANSWER, "quotes": [QUOTE] * (MOST_QUOTES + 5)}))
    assert (len(got.quotes), got.malformed) == (MOST_QUOTES, 5)
    long = {**QUOTE, "quote": "x" * (MOST_QUOTE_CHARACTERS + 1)}
    assert read(json.dumps({**ANSWER, "quotes": [long]})).quotes == ()


@pytest.mark.parametrize("found", ["yes", None, 1])
def test_without_a_word_that_can_be_read_the_quotes_say_whether_it_found_something(
    found: object,
) -> None:
    assert read(json.dumps({**ANSWER, "found": found})).found
    assert not read(json.dumps({**ANSWER, "found": found, "quotes": []})).found


@pytest.mark.parametrize("said", ["", "None.", "nothing", "N/A", "null", "-", "No"])
def test_a_word_for_nothing_is_nothing_missing(said: str) -> None:
    assert read(json.dumps({**ANSWER, "missing": said})).missing == ""
    assert read(json.dumps({**ANSWER, "missing": "no date is given"})).missing


def test_of_an_answer_that_was_cut_off_the_whole_quotes_are_kept() -> None:
    whole = json.dumps({**ANSWER, "quotes": [QUOTE, {**QUOTE, "document": 2}]})
    cut = whole[: whole.index('"document": 2') + 30]
    assert read(cut, cut=True) == WrittenAnswer(True, READ.quotes)
    assert isinstance(read_structured(whole[:40], cut=True), Unreadable)


@given(st.text(max_size=400), st.booleans())
def test_no_text_is_an_error(text: str, cut: bool) -> None:
    assert isinstance(read_structured(text, cut=cut), WrittenAnswer | Unreadable)
    assert isinstance(read_free(text), WrittenAnswer | Unreadable)


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=9), inner),
    max_leaves=12,
)


@given(st.dictionaries(st.sampled_from([*ANSWER, "document", "quote", "x"]), values))
def test_no_json_is_an_error(value: dict[str, Any]) -> None:
    assert isinstance(read_structured(json.dumps(value)), WrittenAnswer | Unreadable)


@given(st.integers(0, len(json.dumps(ANSWER))))
def test_no_place_to_be_cut_off_is_an_error(at: int) -> None:
    got = read_structured(json.dumps(ANSWER)[:at], cut=True)
    assert isinstance(got, Unreadable) or got.quotes == READ.quotes


@pytest.mark.parametrize(
    "text",
    [
        "NOT FOUND",
        "Not found.",
        "**NOT FOUND**",
        "NOT IN ARCHIVE",
        "The documents do not say.",
        "I don't know.",
        "N/A",
        "<think>Perhaps 3?</think>\nNOT FOUND",
    ],
)
def test_a_plain_answer_may_say_that_it_found_nothing(text: str) -> None:
    assert read_free(text) == WrittenAnswer(False)


@pytest.mark.parametrize("text", ["", "  \n", "```\n```", "<think>never ends"])
def test_an_empty_plain_answer_is_unreadable(text: str) -> None:
    assert isinstance(read_free(text), Unreadable)


def test_a_plain_answer_is_its_text() -> None:
    assert read_free("```\nThe budget is 3.\n```") == WrittenAnswer(True, answer="The budget is 3.")
    assert read_free("None of them may retry.") == WrittenAnswer(
        True, answer="None of them may retry."
    )
