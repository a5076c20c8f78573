"""Values in groups that one statement takes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, TypeVar

AT_ONCE: Final = 500
"""Well below what every SQLite takes."""

Value = TypeVar("Value")


def in_chunks(values: Sequence[Value]) -> Iterator[tuple[Sequence[Value], str]]:
    """The values in groups, each with its question marks."""
    for first in range(0, len(values), AT_ONCE):
        some = values[first : first + AT_ONCE]
        yield some, ", ".join("?" * len(some))
