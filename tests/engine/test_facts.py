"""Numbers and names: what a sentence states that cannot be said in other words."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ifmem.engine.facts import facts, held_facts, numbers, proper_names


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("port 8443.", {"8443"}),
        ("8,443 or 8_443 or 8'443", {"8443"}),
        ("3.50 and 3.5", {"3.5"}),
        ("0.05 and 007", {"0.05", "7"}),
        ("2026-01-02", {"2026", "1", "2"}),
        ("10,000.5", {"10000.5"}),
        ("rooms 12 345", {"12", "345"}),
        ("none at all", set()),
    ],
)
def test_a_number_is_one_however_it_is_written(text: str, found: set[str]) -> None:
    assert numbers(text) == found


@given(st.integers(0, 10**12))
def test_grouping_changes_no_number(value: int) -> None:
    assert numbers(f"{value:,}") == numbers(str(value)) == {str(value)}


def test_names_are_capitals_inside_a_sentence_and_identifiers() -> None:
    assert proper_names("It is led by Ada Roe.") == {"ada", "roe"}
    assert "maxretries" in proper_names("The value of max_retries is set")
    assert proper_names("Nothing of that kind is named here") == set()


def test_the_first_word_of_a_short_answer_is_a_name_too() -> None:
    assert proper_names("Ada Roe.") == {"ada", "roe"}
    assert proper_names("The limit") == set()


def test_digits_alone_are_no_names() -> None:
    assert proper_names("It is 42") == set()
    assert facts("It is 42") == {"42"}


def test_a_number_in_words_proves_one_in_digits() -> None:
    assert "3" in held_facts("three retries")
    assert "12" in held_facts("Twelve of them")
