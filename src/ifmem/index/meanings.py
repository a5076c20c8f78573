"""The vectors of the sentence encoder in an index: they come late, and not for all at once."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ifmem.index.encoder import Vectors
from ifmem.index.growing import Growing
from ifmem.index.sentence_encoder import DIMENSIONS
from ifmem.index.vectors import VectorTable

PREFIX = 192
"""The dimensions have no order: among 48,000 vectors 192 find .998 of the ten nearest, 64 .92."""
REACH = 200
ENOUGH = 0.9
"""Share of the searched passages that must have vectors before those count. With few, the best of
a bad lot would get the full score."""
_ROWS_AT_ONCE = 8192

Flags = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Meant:
    """How near the nearest passages are in meaning."""

    numbers: NDArray[np.intp]
    scores: Vectors
    known: Flags
    """For each passage, whether it has vectors; where not, nothing can be said."""
    turns: Flags
    """For each passage, whether it is a turn of a chat."""


class Meanings:
    """One writer at a time; a reader sees the passages that were complete when it began."""

    def __init__(self) -> None:
        self._table = VectorTable(DIMENSIONS, prefix=PREFIX)
        self._known = Growing(np.bool_(False))

    def add(self, embedded: Iterable[tuple[int, bytes]]) -> None:
        """Take in passages by number, each with its rows as ``units.embed`` made them."""
        numbers: list[int] = []
        owners: list[int] = []
        rows: list[bytes] = []
        for number, packed in embedded:
            numbers.append(number)
            owners += [number] * (len(packed) // DIMENSIONS)
            rows.append(packed)
            if len(owners) >= _ROWS_AT_ONCE:
                self._take(numbers, owners, rows)
                numbers, owners, rows = [], [], []
        self._take(numbers, owners, rows)

    def purge(self, dead: Flags) -> None:
        """Blank the vectors of the passages that are dead, by number."""
        self._table.purge(dead)

    def known(self, size: int) -> Flags:
        """For each passage, whether it has been taken in."""
        return self._known.cut(size)

    def suffice(self, allowed: Flags) -> bool:
        """True when so many of the allowed passages have vectors that these may count."""
        known = np.count_nonzero(self.known(len(allowed)) & allowed)
        return bool(known and known >= ENOUGH * np.count_nonzero(allowed))

    def nearest(self, question: Vectors, allowed: Flags, turns: Flags) -> Meant:
        """What is nearest to a question among the allowed passages."""
        # Before the table is read: what is known by now has its vectors there.
        known = self.known(len(allowed)).copy()
        numbers, scores = self._table.best(question, reach=REACH, allowed=allowed)
        return Meant(numbers, scores, known, turns)

    def _take(self, numbers: list[int], owners: list[int], rows: list[bytes]) -> None:
        packed = np.frombuffer(b"".join(rows), np.int8).reshape(-1, DIMENSIONS)
        self._table.add_rows(np.array(owners, np.intp), packed)
        # Last: a passage counts as known once its vectors can be found.
        for number in numbers:
            self._known.put(number, True)
