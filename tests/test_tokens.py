"""Counting tokens: o200k, without a network, whatever the length."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ifmem import tokens

LINE = "7 calls are the retry budget that the client may spend on one.\n"


@pytest.mark.parametrize(
    ("text", "count"),
    [("", 0), ("antidisestablishmentarianism", 6), ("2 + 2 = 4", 7), ("お誕生日おめでとう", 8)],
)
def test_known_texts_have_their_known_counts(text: str, count: int) -> None:
    # As the OpenAI cookbook prints them for o200k_base.
    assert tokens.count(text) == count


def test_words_that_look_like_control_tokens_are_plain_text() -> None:
    assert tokens.count("<|endoftext|>") > 1


def test_a_text_past_the_block_size_counts_as_its_lines_do() -> None:
    lines = 20_000
    assert len(LINE) * lines > 1_000_000
    assert tokens.count(LINE * lines) == lines * tokens.count(LINE)


def test_a_single_line_past_the_block_size_is_counted_too() -> None:
    assert tokens.count("a " * 600_000) == pytest.approx(600_000, rel=0.01)


def test_a_text_denser_than_the_library_hands_out_is_counted_all_the_same() -> None:
    dense = "7 " * 240_000
    assert len(dense) < 500_000
    assert tokens.count(dense) == pytest.approx(480_000, rel=0.01)
    assert tokens.count_each([dense]) == [tokens.count(dense)]


def test_each_text_is_counted_alone() -> None:
    texts = ["", LINE, "x", LINE * 3]
    assert tokens.count_each(texts) == [tokens.count(text) for text in texts]


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=400))
def test_a_text_has_at_most_as_many_tokens_as_bytes(text: str) -> None:
    assert bool(text) <= tokens.count(text) <= len(text.encode())
