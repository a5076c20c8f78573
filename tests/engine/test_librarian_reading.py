"""What a librarian reads within its capacity, and what is no evidence."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ifmem.engine.librarian_reading import fitting, is_echo, room, says_absent


@given(st.lists(st.integers(1, 50), max_size=40), st.integers(0, 400))
def test_what_is_read_fits_and_keeps_its_order(sizes: list[int], capacity: int) -> None:
    chosen = fitting(sizes, capacity)
    assert sum(sizes[place] for place in chosen) <= capacity
    assert chosen == sorted(set(chosen))
    left = capacity - sum(sizes[place] for place in chosen)
    assert all(sizes[place] > left for place in range(len(sizes)) if place not in chosen)


@given(st.lists(st.integers(1, 50), max_size=40), st.integers(0, 400))
def test_the_most_useful_is_read_whenever_it_fits_at_all(sizes: list[int], capacity: int) -> None:
    chosen = fitting(sizes, capacity)
    if sizes and sizes[0] <= capacity:
        assert chosen[0] == 0


@pytest.mark.parametrize(
    "text",
    ["NOT IN ARCHIVE", "It is not in archive.", "that's Not in the Archives", "not\nin archive!"],
)
def test_the_absence_of_an_answer_is_understood_in_any_case_and_place(text: str) -> None:
    assert says_absent(text)


@pytest.mark.parametrize("text", ["", "It is in the archive.", "cannot in archived form"])
def test_other_words_are_no_absence(text: str) -> None:
    assert not says_absent(text)


@pytest.mark.parametrize("name", ["librarian-1", "Librarian 12", "librarian4", "LIBRARIAN_3"])
def test_what_is_of_a_librarian_is_known_by_author_model_or_tag(name: str) -> None:
    assert is_echo(name)
    assert is_echo("agent", source_model=name)
    assert is_echo("agent", tags=("x", name))


@pytest.mark.parametrize("name", ["librarian", "my-librarian-1-fan", "agent-7", ""])
def test_others_are_no_echo(name: str) -> None:
    assert not is_echo(name, source_model=name, tags=(name,))


@given(st.integers(0, 10_000), st.none() | st.integers(-10, 10_000))
def test_a_librarian_reads_no_more_than_its_capacity_and_its_model_take(
    capacity: int, budget: int | None
) -> None:
    most = room(capacity, budget)
    assert 0 <= most <= capacity
    assert budget is None or most <= max(budget, 0)
