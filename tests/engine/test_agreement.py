"""Which answers exclude each other, and which only say more or something else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ifmem.engine.agreement import ShardSays, exclude, exclusions, sides

BUDGET = "What is the retry budget of the Courier?"


def says(shard: int, answer: str, quote: str | None = None) -> ShardSays:
    return ShardSays(shard, answer, (quote or f"Of the Courier's retry budget: {answer}",))


@pytest.mark.parametrize(
    ("question", "one", "other"),
    [
        (BUDGET, "The budget is 3.", "The budget is 5."),
        (BUDGET, "It is 3 attempts in 30 seconds.", "It is 4 attempts in 60 seconds."),
        (BUDGET, "5.8", "4.2"),
        ("Who owns the Courier?", "Ada Roe owns the Courier.", "Ben Lee owns the Courier."),
        ("Does the Courier retry?", "Yes, always.", "No, never."),
        ("Does the Courier retry?", "Yes, 3 times.", "Not any more."),
    ],
)
def test_answers_exclude_each_other(question: str, one: str, other: str) -> None:
    assert exclude(question, says(1, one), says(2, other))
    assert exclude(question, says(2, other), says(1, one))


@pytest.mark.parametrize(
    ("question", "one", "other"),
    [
        (BUDGET, "The budget is 3.", "It is 3 attempts."),
        (BUDGET, "The budget is 3.", "The budget is 3, each of 30 seconds."),
        (BUDGET, "The budget is 3.", "The budget is 3.0."),
        (BUDGET, "The budget is 3.", "The budget is set in the settings."),
        (BUDGET, "It is small.", "It is limited."),
        (BUDGET, "It is 3, as set by Ada Roe.", "It is set by Ben Lee."),
        ("Is the limit of the Courier 3?", "Yes, 3.", "Yes, it is."),
        ("Which year did the Courier of 1999 end?", "It ended in 2001.", "In 1999 it began."),
        ("Who owns the Courier?", "Ada Roe owns it.", "It is owned by Ada Roe and Ben Lee."),
    ],
)
def test_answers_go_together(question: str, one: str, other: str) -> None:
    assert not exclude(question, says(1, one), says(2, other))


def test_answers_about_different_things_do_not_exclude_each_other() -> None:
    one = says(1, "The budget is 3.", "The retry budget of the Courier is 3.")
    other = says(2, "The budget is 900.", "The marketing budget is 900.")
    assert not exclude(BUDGET, one, other)


@pytest.mark.parametrize(
    "question", ["List all budgets of the Courier", "Compare the budgets of each Courier"]
)
def test_a_question_for_several_things_has_several_answers(question: str) -> None:
    assert exclusions(question, [says(1, "It is 3."), says(2, "It is 5.")]) == ()


def test_every_pair_that_excludes_each_other_is_named_once() -> None:
    answers = [says(3, "It is 5."), says(1, "It is 3."), says(2, "It is 3.")]
    assert exclusions(BUDGET, answers) == ((1, 3), (2, 3))


def test_without_an_answer_the_quotes_speak() -> None:
    one = ShardSays(1, "", ("The retry budget of the Courier is 3.",))
    other = ShardSays(2, "", ("The retry budget of the Courier is 4.",))
    assert exclude(BUDGET, one, other)


def test_a_disagreement_is_between_all_whom_pairs_connect() -> None:
    assert sides([(1, 3), (2, 3), (5, 6)]) == ((1, 2, 3), (5, 6))
    assert sides([]) == ()


pairs = st.lists(st.tuples(st.integers(1, 9), st.integers(1, 9)), max_size=9)


@given(pairs)
def test_every_shard_of_a_pair_is_on_exactly_one_disagreement(
    connected: list[tuple[int, int]],
) -> None:
    groups = sides(connected)
    members = [n for group in groups for n in group]
    assert sorted(members) == sorted({n for pair in connected for n in pair})
    for one, other in connected:
        assert any({one, other} <= set(group) for group in groups)


@given(st.text(max_size=60), st.text(max_size=60), st.text(max_size=60))
def test_exclusion_is_mutual_and_nobody_excludes_themselves(
    question: str, one: str, other: str
) -> None:
    assert exclude(question, says(1, one), says(2, other)) == exclude(
        question, says(2, other), says(1, one)
    )
    assert not exclude(question, says(1, one), says(2, one))
