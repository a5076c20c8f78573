"""When values disagree: the laws of the rule, and its edges."""

from __future__ import annotations

import sys

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ifmem.domain.finding import Finding, SpeechAct
from ifmem.engine.conflicts import apart, difference, disagrees, folded, states

FIFTH = 0.2
values = st.floats(allow_nan=False, allow_infinity=False)
tolerances = st.floats(min_value=0, max_value=1, allow_nan=False)
decimals = st.decimals(min_value="-1000000", max_value="1000000", places=3, allow_nan=False).map(
    float
)


def finding(**fields: object) -> Finding:
    return Finding(
        finding_id="00000000-0000-4000-8000-000000000001",
        worker_id="ada",
        timestamp="2026-01-02T03:04:05.000Z",
        claim="it is so",
        **fields,  # type: ignore[arg-type]
    )


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        (5.8, 4.2, True),
        (5.8, 5.7, False),
        (0.0, 0.0, False),
        (0.0, -0.0, False),
        (0.0, 5e-324, True),
        (5e-324, 1e-323, True),
        (-5.8, 5.8, True),
        (-5.8, -5.7, False),
        (sys.float_info.max, -sys.float_info.max, True),
        (sys.float_info.max, sys.float_info.max * 0.9, False),
        # Exactly a fifth apart, which binary numbers miss by a little on either side.
        (10.0, 8.0, False),
        (0.3, 0.24, False),
        (1.0, 0.8, False),
        (1.1, 0.88, False),
        (1.1, 0.8799999999, True),
        (1e300, 8e299, False),
        (1e-310, 8e-311, False),
        (1e-310, 7e-311, True),
    ],
)
def test_values_more_than_a_fifth_of_the_larger_apart_disagree(
    one: float, other: float, expected: bool
) -> None:
    assert apart(one, other, FIFTH) is expected


@given(values, values, tolerances)
def test_who_speaks_first_does_not_matter(one: float, other: float, tolerance: float) -> None:
    assert apart(one, other, tolerance) == apart(other, one, tolerance)


@given(values, values, tolerances)
def test_neither_does_the_direction_of_the_scale(
    one: float, other: float, tolerance: float
) -> None:
    assert apart(one, other, tolerance) == apart(-one, -other, tolerance)


@given(values, tolerances)
def test_nothing_disagrees_with_itself(value: float, tolerance: float) -> None:
    assert not apart(value, value, tolerance)


@given(decimals, decimals, tolerances, st.integers(min_value=-30, max_value=30))
def test_a_unit_a_power_of_ten_smaller_changes_nothing(
    one: float, other: float, tolerance: float, power: int
) -> None:
    scaled = (float(f"{one!r}e{power}"), float(f"{other!r}e{power}"))
    assert apart(*scaled, tolerance) == apart(one, other, tolerance)


@given(values, values, tolerances, tolerances)
def test_a_wider_tolerance_forgives_no_less(
    one: float, other: float, first: float, second: float
) -> None:
    narrow, wide = sorted((first, second))
    assert apart(one, other, narrow) or not apart(one, other, wide)


positive = st.floats(min_value=0, exclude_min=True, allow_nan=False, allow_infinity=False)


@given(positive, positive)
def test_of_different_signs_no_tolerance_makes_them_agree(one: float, other: float) -> None:
    assert apart(one, -other, 1.0)


@given(values, st.lists(values, min_size=1), tolerances)
@example(1.0, [-1e308, 1.0], 1.0)
@example(0.0, [-1.0, 1.0], 1.0)
def test_the_least_and_the_greatest_decide_for_all(
    value: float, others: list[float], tolerance: float
) -> None:
    by_all = any(apart(value, one, tolerance) for one in others)
    assert disagrees(value, (min(others), max(others)), tolerance) == by_all


def test_the_difference_is_told_as_a_part_of_the_larger() -> None:
    assert difference([5.8, 4.2, 5.0]) == "28%"
    assert difference([0.0, 0.0]) == "0%"
    assert difference([-1.0, 1.0]) == "200%"


@given(st.text())
def test_a_folded_topic_is_folded(text: str) -> None:
    once = folded(text)
    assert folded(f"  {once} ") == folded(once)


def test_case_and_spaces_make_no_topic() -> None:
    assert folded("  Retry\tBUDGET \n") == folded("retry budget") == "retry budget"
    assert folded(None) == folded(" ") == ""


def test_who_asks_escalates_or_holds_states_nothing() -> None:
    assert states(finding(topic="bridge"))
    assert not states(finding())
    assert not states(finding(topic=" ", value=5.8))
    for act in (SpeechAct.ESCALATE, SpeechAct.REQUEST, SpeechAct.HOLD):
        assert not states(finding(topic="bridge", value=5.8, speech_act=act))
