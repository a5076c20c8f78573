"""Where a quote stands in a text that may have changed: at its old lines, elsewhere, or nowhere."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator

_MOST_PLACES = 10_000
"""A quote that stands more often says nothing about where it was."""
_LINE_END = re.compile("\n")


class LinedText:
    """A text whose lines are found without counting them again for each quote."""

    __slots__ = ("_starts", "text")

    def __init__(self, text: str) -> None:
        """The lines of ``text``, counted from 1."""
        self.text = text
        self._starts = [0, *(match.end() for match in _LINE_END.finditer(text))]

    def has(self, lines: tuple[int, int]) -> bool:
        """Whether there are such lines."""
        first, last = lines
        return 1 <= first <= last <= len(self._starts)

    def within(self, lines: tuple[int, int]) -> str:
        """The text of these lines."""
        first, last = lines
        end = self._starts[last] if last < len(self._starts) else len(self.text)
        return self.text[self._starts[first - 1] : end]

    def lines_of(self, start: int, end: int) -> tuple[int, int]:
        """The lines of what stands between two places; ``end`` is one past the last character."""
        return (
            bisect_right(self._starts, start),
            bisect_right(self._starts, max(start, end - 1)),
        )


def anchor(text: LinedText, quote: str, lines: tuple[int, int] | None) -> tuple[int, int] | None:
    """The lines at which a quote stands, white space aside; None when it does not.

    Args:
        text: as it is now.
        quote: at least one word of it.
        lines: where it stood. It still stands there, or else at the nearest place.
    """
    words = quote.split()
    if not words:
        return None
    if lines is not None and text.has(lines):
        within = text.within(lines)
        if quote in within or _spread(words).search(within) is not None:
            return lines
    if lines is None:
        return next((text.lines_of(*place) for place in _places(text.text, quote, words)), None)
    nearest, distance = None, 0
    for count, place in enumerate(_places(text.text, quote, words)):
        found = text.lines_of(*place)
        away = abs(found[0] - lines[0])
        if nearest is None or away < distance:
            nearest, distance = found, away
        elif found[0] > lines[0] or count >= _MOST_PLACES:
            # Places come in order: from here on they only get further away.
            break
    return nearest


def _places(text: str, quote: str, words: list[str]) -> Iterator[tuple[int, int]]:
    """Start and end of each place, in order; word for word where the quote stands so anywhere."""
    start = text.find(quote)
    if start < 0:
        for match in _spread(words).finditer(text):
            yield match.span()
        return
    while start >= 0:
        yield start, start + len(quote)
        start = text.find(quote, start + 1)


def _spread(words: list[str]) -> re.Pattern[str]:
    return re.compile(r"\s+".join(map(re.escape, words)))
