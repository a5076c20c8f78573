"""Text that a person gives as words or, by ``-``, on standard input."""

from __future__ import annotations

import sys
from collections.abc import Sequence

_LIMIT = 8 * 1024 * 1024
"""Far above every limit that follows; a stream without end is cut here and refused there."""

# Both are callbacks of the parser and so run before the event loop, in which Ctrl-C could not
# interrupt the reading.


def words(given: Sequence[str]) -> list[str]:
    """The words, the first one replaced by what standard input says if it is ``-``."""
    return [text(one) if number == 0 else one for number, one in enumerate(given)]


def text(given: str) -> str:
    """The text, or what standard input says if it is ``-``."""
    if given != "-":
        return given
    return sys.stdin.buffer.read(_LIMIT).decode("utf-8", errors="replace")
