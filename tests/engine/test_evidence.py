"""Evidence: sentences that stand in the text, rated by the question's terms they hold."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ifmem.engine.evidence import (
    ELSEWHERE,
    LEAST_SUPPORT,
    NAME_WEIGHT,
    NEARBY,
    best_evidence,
    locate,
    on_one_line,
    question_weights,
    sentences,
    unknown_names,
)
from ifmem.engine.masking import mask

texts = st.text(st.sampled_from("ab .!?\n\"')# 1"), max_size=80)
words = st.text("ab \n.", max_size=12) | st.text(
    st.characters(exclude_categories=["Cs"]), max_size=60
)


def quotes(text: str, weights: dict[str, float], header: str = "") -> list[tuple[str, float]]:
    return [
        (text[one.start : one.end], one.support) for one in best_evidence(weights, text, header)
    ]


def test_sentences_end_at_a_stop_or_at_the_end_of_a_line() -> None:
    text = 'It holds. "Does it?" Yes!\nA heading\n\nThe last'
    assert [text[start:end] for start, end in sentences(text)] == [
        "It holds.",
        '"Does it?',
        "Yes!",
        "A heading",
        "The last",
    ]


def test_a_number_or_a_name_with_a_dot_does_not_end_a_sentence() -> None:
    text = "Version 1.5 of cache.py reads 3.2 GB."
    assert sentences(text) == [(0, len(text))]


@given(texts)
def test_sentences_are_in_order_and_leave_out_only_space_and_marks(text: str) -> None:
    left_out = r"[\s\"')\]#]*"
    at = 0
    for start, end in sentences(text):
        assert at <= start < end <= len(text)
        assert re.fullmatch(left_out, text[at:start])
        assert text[start:end].strip()
        at = end
    assert re.fullmatch(left_out, text[at:])


def test_a_sentence_that_holds_everything_supports_wholly() -> None:
    text = "Nothing here. The retry budget is three."
    assert quotes(text, {"retri": 1.0, "budget": 2.0}) == [("The retry budget is three.", 1.0)]


def test_a_term_counts_less_in_the_sentence_beside_and_least_further_off() -> None:
    weights = {"retri": 1.0, "budget": 1.0}
    (best, *_) = quotes("Retry twice. The budget is small.", weights)
    assert best[1] == pytest.approx((1 + NEARBY) / 2)
    (best, *_) = quotes("Retry twice. Then rest. The budget is small.", weights)
    assert best[1] == pytest.approx((1 + ELSEWHERE) / 2)


def test_a_term_of_the_header_is_nearby_for_every_sentence() -> None:
    text = "Wait. Then go. The budget is small."
    assert quotes(text, {"retri": 1.0, "budget": 1.0}, "client.py > Retry") == [
        ("The budget is small.", pytest.approx((1 + NEARBY) / 2))
    ]


def test_a_header_alone_is_no_evidence() -> None:
    assert quotes("Nothing here.", {"retri": 1.0}, "Retry") == []


def test_the_best_come_first_and_no_more_than_asked() -> None:
    text = "A budget. The retry budget. A retry. Another budget. A last retry."
    found = best_evidence({"retri": 1.0, "budget": 1.0}, text, "", count=2)
    assert len(found) == 2
    assert text[found[0].start : found[0].end] == "The retry budget."
    assert found[0].support >= found[1].support


def test_a_sentence_with_a_masked_credential_is_never_evidence() -> None:
    secret = "gh" + "p_" + "aB3dE5gH7jK9mN1pQ2rS4tU6vW8xY0zAbC3d"
    text = mask(f"The deploy token is {secret} today. The deploy token is rotated.").text
    assert "[masked:" in text
    assert quotes(text, {"deploy": 1.0, "token": 1.0}) == [("The deploy token is rotated.", 1.0)]


def test_a_question_without_weight_has_no_evidence() -> None:
    assert best_evidence({}, "Anything.", "") == []
    assert best_evidence({"anyth": 0.0}, "Anything.", "") == []


@given(words, st.dictionaries(st.sampled_from(["retri", "budget", "1"]), st.floats(0.1, 9)))
def test_support_is_a_share_and_every_sentence_stands_in_the_text(
    noise: str, weights: dict[str, float]
) -> None:
    text = f"{noise} retry.\n{noise} budget 1\n{noise}"
    for one in best_evidence(weights, text, noise):
        assert 0 < one.support <= 1 + 1e-9
        assert one.held <= set(weights)
        assert locate(text[one.start : one.end], text) is not None


def test_names_weigh_more_than_words() -> None:
    weights = question_weights("Where does Ada keep the budget?", lambda _: 2.0)
    assert weights == {"ada": 2.0 * NAME_WEIGHT, "keep": 2.0, "budget": 2.0}


def test_a_quote_is_found_with_other_white_space() -> None:
    text = "one\n    two\tthree four"
    assert locate("two three", text) == (8, 17)
    assert text[8:17] == "two\tthree"
    assert locate("  one two ", text) == (0, 11)


@pytest.mark.parametrize(
    "quote",
    [
        "",
        "  \n",
        "two one",
        "onetwo",
        "one two three five",
        "ONE",
        "o.e",
        "one two  x",
        "o ne",
        "t wo",
    ],
)
def test_what_does_not_stand_there_is_not_found(quote: str) -> None:
    assert locate(quote, "one\n two three") is None


@given(words, words)
def test_what_is_found_says_what_the_quote_says(quote: str, text: str) -> None:
    place = locate(quote, text)
    if place is not None:
        assert text[slice(*place)].split() == quote.split() != []


@given(words, words, words, st.sampled_from([" ", "\n", "\t  ", "\r\n    "]))
def test_a_quote_that_stands_there_is_found_whatever_the_spaces(
    before: str, quote: str, after: str, gap: str
) -> None:
    text = before + gap.join(quote.split()) + after
    assert (locate(quote, text) is not None) is bool(quote.split())


def test_comment_and_quotation_marks_around_a_sentence_are_left_out() -> None:
    text = '## Retries\n"""How long it waits."""\n// so be it\n* a point\n*bold*'
    assert [text[start:end] for start, end in sentences(text)] == [
        "Retries",
        "How long it waits.",
        "so be it",
        "a point",
        "*bold*",
    ]


def test_a_sentence_of_wrapped_prose_runs_over_the_end_of_its_line() -> None:
    text = "# The budget is enforced by the caller and\n# never by the client itself.\nretry(5)"
    assert [on_one_line(text[start:end]) for start, end in sentences(text)] == [
        "The budget is enforced by the caller and never by the client itself.",
        "retry(5)",
    ]


def test_lines_of_code_are_not_taken_for_wrapped_prose() -> None:
    text = "for task in pending:\n    task.cancel()\nreturn done, pending"
    assert len(sentences(text)) == 3


def test_names_that_occur_nowhere_are_told() -> None:
    corpus = {"ada", "retri"}
    assert unknown_names("Did Ada call Zuse about retry_budget?", corpus.__contains__) == (
        "budget",
        "retrybudget",
        "zuse",
    )
    assert unknown_names("did ada retry?", corpus.__contains__) == ()


def test_the_threshold_lies_between_a_whole_and_a_mere_mention() -> None:
    assert ELSEWHERE < LEAST_SUPPORT < NEARBY < 1


@given(st.lists(words, max_size=6), words)
def test_what_has_too_little_support_is_left_out_and_nothing_else(
    parts: list[str], header: str
) -> None:
    text = "\n".join(parts)
    weights = {"ab": 1.0, "b": 1.5, "bb": 2.0, "1": 1.0}
    everything = best_evidence(weights, text, header, count=99)
    for least in [0.0, 1.1, *(one.support for one in everything)]:
        wanted = [one for one in everything if one.support >= least - 1e-9]
        assert best_evidence(weights, text, header, count=99, least=least) == wanted


def test_the_sentences_before_and_after_are_equally_near() -> None:
    text = "Retry twice. The budget is small."
    both = quotes(text, {"retri": 1.0, "budget": 1.0})
    assert [support for _, support in both] == [pytest.approx((1 + NEARBY) / 2)] * 2


def test_support_does_not_depend_on_what_was_asked_before() -> None:
    text = "Retry twice. The budget is small.\nThe zebra rests."
    first = quotes(text, {"retri": 1.0, "budget": 1.0}, "client.py")
    quotes(text, {"zebra": 1.0}, "zoo.py")
    assert quotes(text, {"retri": 1.0, "budget": 1.0}, "client.py") == first
