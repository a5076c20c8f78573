"""Packing under a token budget: the best that fit together, each text once."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ifmem.engine.packing import pack

Item = tuple[str, int]


def packed(items: list[Item], *, budget: int, limit: int = 50) -> list[Item]:
    return pack(
        items,
        budget=budget,
        limit=limit,
        tokens=lambda item: item[1],
        identity=lambda item: item[0],
    )


def test_what_fits_is_taken_best_first() -> None:
    assert packed([("a", 5), ("b", 3), ("c", 2)], budget=8) == [("a", 5), ("b", 3)]


def test_what_does_not_fit_is_passed_over_for_a_smaller_one() -> None:
    assert packed([("a", 5), ("b", 6), ("c", 5)], budget=10) == [("a", 5), ("c", 5)]


def test_of_equal_texts_only_the_best_is_taken() -> None:
    assert packed([("a", 1), ("b", 1), ("a", 1)], budget=9) == [("a", 1), ("b", 1)]


def test_a_text_passed_over_for_its_size_may_come_in_a_smaller_form() -> None:
    assert packed([("a", 9), ("a", 2)], budget=5) == [("a", 2)]


def test_no_more_than_the_limit() -> None:
    assert packed([("a", 1), ("b", 1)], budget=9, limit=1) == [("a", 1)]
    assert packed([("a", 1)], budget=9, limit=0) == []


def test_no_budget_takes_nothing() -> None:
    assert packed([("a", 1)], budget=0) == []


items = st.lists(st.tuples(st.text("abcdef", max_size=2), st.integers(0, 20)), max_size=30)


@given(items, st.integers(0, 60), st.integers(0, 10))
def test_the_bounds_hold_and_nothing_that_would_fit_is_left_out(
    given_items: list[Item], budget: int, limit: int
) -> None:
    taken = packed(given_items, budget=budget, limit=limit)
    used = sum(size for _, size in taken)
    names = [name for name, _ in taken]
    assert used <= budget and len(taken) <= limit and len(set(names)) == len(names)
    rest = iter(given_items)
    assert all(item in rest for item in taken), "the order changed"
    if len(taken) < limit:
        assert all(name in names or size > budget - used for name, size in given_items)


def test_a_text_is_not_asked_for_when_it_does_not_fit() -> None:
    read: list[str] = []

    def identity(item: Item) -> str:
        read.append(item[0])
        return item[0]

    items = [("a", 5), ("too long", 9), ("b", 1)]
    pack(items, budget=6, limit=9, tokens=lambda item: item[1], identity=identity)
    assert read == ["a", "b"]
