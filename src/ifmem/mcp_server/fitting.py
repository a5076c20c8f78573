"""Replies under their token cap: the fullest that fits, in both of its forms."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import msgspec

from ifmem import tokens
from ifmem.errors import Invalid
from ifmem.mcp_server.replies import Reply
from ifmem.mcp_server.texts import text_of

Item = TypeVar("Item", bound=Reply)
Element = TypeVar("Element")
_LONG_TOKENS = 8_000
"""Counting more than this would keep other callers waiting: it is done in a thread."""


@dataclass(frozen=True, slots=True)
class Fitted:
    """A reply in both forms."""

    reply: Reply
    text: str


@dataclass(frozen=True, slots=True)
class Fitting:
    """A reply that is still to be fitted."""

    candidates: Iterable[Reply]
    """From the fullest to the smallest."""
    max_tokens: int


async def fit(fitting: Fitting) -> Fitted:
    """The first candidate of which neither form has more tokens than allowed.

    Raises:
        Invalid: even the smallest has more.
    """
    # The vocabulary takes 0.4 s to read, once, and nobody else should wait for that.
    if fitting.max_tokens > _LONG_TOKENS or not tokens.is_ready():
        return await asyncio.to_thread(_first, fitting)
    return _first(fitting)


def size(reply: Reply) -> int:
    """o200k tokens of the structured form, mostly the larger one: what is chosen by it is measured
    in both before it is sent."""
    return tokens.count(_structured(reply))


def those_that_fit(
    items: Iterable[Item], room: int, measure: Callable[[Item], int] = size
) -> list[Item]:
    """Items in their order, each taken when it still fits: about so many tokens together.

    Args:
        measure: how many tokens one takes, as far as it matters here.
    """
    taken = []
    for item in items:
        needed = measure(item) + 1
        if needed <= room:
            taken.append(item)
            room -= needed
    return taken


def first_that_fit(items: Iterable[Item], room: int) -> list[Item]:
    """The same, up to the first that does not fit."""
    taken: list[Item] = []
    for item in items:
        room -= size(item) + 1
        if room < 0:
            break
        taken.append(item)
    return taken


def ever_fewer(items: Sequence[Element]) -> Iterator[list[Element]]:
    """All of them, then without the last, and so on until none is left."""
    for number in range(len(items), -1, -1):
        yield list(items[:number])


def _first(fitting: Fitting) -> Fitted:
    least = 0
    for reply in fitting.candidates:
        structured, text = _structured(reply), text_of(reply)
        # No token is shorter than a byte: most replies need no counting.
        if max(len(structured.encode()), len(text.encode())) <= fitting.max_tokens:
            return Fitted(reply, text)
        least = tokens.count(structured)
        if least <= fitting.max_tokens:
            least = tokens.count(text)
        if least <= fitting.max_tokens:
            return Fitted(reply, text)
    raise Invalid(
        f"`max_tokens`: {fitting.max_tokens} is too few, for a reply without anything in it has "
        f"{least}: give more",
        field="max_tokens",
        needed=least,
    )


def _structured(reply: Reply) -> str:
    return msgspec.json.encode(reply).decode()
