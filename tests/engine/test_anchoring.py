"""Quotes are found again where they moved to, at the place nearest to where they stood."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ifmem.engine.anchoring import LinedText, anchor

BUDGET = "the retry budget is three"
FILLER = ["alpha", "beta", "gamma", "delta"]


def text(*lines: str) -> LinedText:
    return LinedText("\n".join(lines) + "\n")


def test_a_quote_that_did_not_move_keeps_its_lines() -> None:
    assert anchor(text("a", BUDGET, "c"), BUDGET, (2, 2)) == (2, 2)
    assert anchor(text("a", BUDGET, "c"), BUDGET, (1, 3)) == (1, 3)


def test_a_quote_is_found_at_its_new_lines() -> None:
    assert anchor(text("new", "new", "a", BUDGET), BUDGET, (2, 2)) == (4, 4)


def test_of_several_places_the_nearest_is_taken() -> None:
    lines = text(BUDGET, "a", "b", "c", "d", BUDGET, "e", BUDGET)
    assert anchor(lines, BUDGET, (5, 5)) == (6, 6)
    assert anchor(lines, BUDGET, (2, 2)) == (1, 1)
    assert anchor(lines, BUDGET, (90, 91)) == (8, 8)


def test_white_space_and_line_ends_within_a_quote_may_change() -> None:
    assert anchor(text("a", "the retry", "   budget is three"), BUDGET, (1, 1)) == (2, 3)


def test_a_quote_that_is_gone_or_empty_is_found_nowhere() -> None:
    assert anchor(text("a", "the retry budget is four"), BUDGET, (2, 2)) is None
    assert anchor(text("a"), " \n ", (1, 1)) is None


def test_without_lines_the_first_place_is_taken() -> None:
    assert anchor(text("a", BUDGET, BUDGET), BUDGET, None) == (2, 2)


def test_lines_that_the_text_no_longer_has_do_not_hide_the_quote() -> None:
    assert anchor(text(BUDGET), BUDGET, (40, 44)) == (1, 1)


@given(
    before=st.lists(st.sampled_from(FILLER)),
    after=st.lists(st.sampled_from(FILLER)),
    quote=st.lists(st.sampled_from(["one", "two", "three"]), min_size=1, max_size=3),
    was=st.integers(1, 60),
)
def test_a_quote_that_stands_once_is_always_found_there(
    before: list[str], after: list[str], quote: list[str], was: int
) -> None:
    first = len(before) + 1
    lines = text(*before, *quote, *after)
    found = anchor(lines, "\n".join(quote), (was, was))
    assert found == (first, first + len(quote) - 1)
    assert "\n".join(quote) in lines.within(found)


@given(st.lists(st.sampled_from([BUDGET, "a", "b"]), min_size=1), st.integers(1, 40))
def test_no_place_is_nearer_than_the_one_taken(lines: list[str], was: int) -> None:
    found = anchor(text(*lines), BUDGET, (was, was))
    places = [number for number, line in enumerate(lines, 1) if line == BUDGET]
    if found is None:
        assert not places
    else:
        assert abs(found[0] - was) == min(abs(place - was) for place in places)
