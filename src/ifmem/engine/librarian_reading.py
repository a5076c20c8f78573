"""What a librarian reads for a question, what counts as evidence, and when it says it has none."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

NOT_IN_ARCHIVE = "NOT IN ARCHIVE"
"""How a librarian says that nothing supports an answer."""

_LIBRARIAN = re.compile(r"librarian[-_ :.]?\d{1,4}", re.IGNORECASE)
_ABSENT = re.compile(r"\bnot\s+in\s+(?:the\s+)?archives?\b", re.IGNORECASE)


def is_echo(author: str, *, source_model: str | None = None, tags: Iterable[str] = ()) -> bool:
    """A finding that repeats what a librarian said: evidence for nothing, or an answer would prove
    itself.

    Without a number the word may be anybody's: an agent's name, or what a finding is about.

    Args:
        author: the finding's worker.
        source_model: by which it was made.
        tags: the finding's.
    """
    named = (author, source_model or "", *tags)
    return any(_LIBRARIAN.fullmatch(one.strip()) is not None for one in named)


def says_absent(text: str) -> bool:
    """The words say that the archive holds no answer, in any case, also inside a sentence."""
    return _ABSENT.search(text) is not None


def fitting(sizes: Sequence[int], capacity: int) -> list[int]:
    """Places of what is read, in the order given; what no longer fits is passed over.

    Args:
        sizes: tokens of each with its fence, the most useful first.
        capacity: tokens that may be read together.
    """
    chosen: list[int] = []
    left = capacity
    for place, size in enumerate(sizes):
        if size <= left:
            chosen.append(place)
            left -= size
    return chosen


def room(capacity: int, budget: int | None) -> int:
    """Tokens that a librarian may read: its capacity, and what its model can take.

    Args:
        budget: of documents in a prompt of its model; None without a model.
    """
    return capacity if budget is None else max(0, min(capacity, budget))
