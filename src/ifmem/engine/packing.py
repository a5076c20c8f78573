"""Packing what was recalled under a token budget."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

Item = TypeVar("Item")


def pack(
    items: Iterable[Item],
    *,
    budget: int,
    limit: int,
    tokens: Callable[[Item], int],
    identity: Callable[[Item], str],
) -> list[Item]:
    """The items, best first, that fit the budget together; of equal texts only the first.

    An item that does not fit is passed over and a smaller one after it may be taken: a budget is
    for what helps, and the order of the rest stays.
    """
    taken: list[Item] = []
    seen: set[str] = set()
    left = budget
    for item in items:
        if len(taken) == limit:
            break
        if tokens(item) > left:
            continue
        # Asked last: to know a text, a caller may have to read it first.
        same = identity(item)
        if same in seen:
            continue
        seen.add(same)
        left -= tokens(item)
        taken.append(item)
    return taken
