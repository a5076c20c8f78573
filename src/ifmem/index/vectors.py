"""The vectors of a space: several to a passage, searched in two stages.

A first pass compares only the leading dimensions; the best of it are compared in full. What is
kept takes a byte for each dimension and 4 for each of the prefix.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from ifmem.index.encoder import Vectors

CANDIDATES = 1_000
"""Vectors compared in full."""
Item = TypeVar("Item", bound=np.generic)

_SCALE = np.float32(1 / 127)


class VectorTable:
    """Unit vectors with the number of the passage each belongs to.

    One writer at a time; a reader sees the vectors that were complete when it began.
    """

    def __init__(self, dimensions: int, *, prefix: int) -> None:
        """An empty table.

        Args:
            prefix: dimensions of the first pass; the fewer, the faster and the coarser.
        """
        self._prefix = prefix
        self._rows: NDArray[np.int8] = np.zeros((1024, dimensions), np.int8)
        self._prefixes: Vectors = np.zeros((1024, prefix), np.float32)
        self._owners: NDArray[np.intp] = np.zeros(1024, np.intp)
        self._highest = -1
        """The highest number that owns a row."""
        self.size = 0

    def add(self, owner: int, vectors: Vectors) -> None:
        """Add the vectors of a passage."""
        self.add_rows(np.full(len(vectors), owner, np.intp), as_rows(vectors))

    def add_rows(self, owners: NDArray[np.intp], rows: NDArray[np.int8]) -> None:
        """Add the rows of several passages."""
        end = self.size + len(rows)
        while end > len(self._owners):
            self._rows = _doubled(self._rows)
            self._prefixes = _doubled(self._prefixes)
            self._owners = _doubled(self._owners)
        self._rows[self.size : end] = rows
        self._prefixes[self.size : end] = rows[:, : self._prefix] * _SCALE
        self._owners[self.size : end] = owners
        self._highest = max(self._highest, int(owners.max(initial=-1)))
        self.size = end

    def take(self, other: VectorTable, place: NDArray[np.int64]) -> None:
        """Copy the vectors of passages of another table; ``place`` is as in ``Postings.take``."""
        to = place[other._owners[: other.size]]
        chosen = np.flatnonzero(to >= 0)
        self.add_rows(to[chosen].astype(np.intp), other._rows[chosen])

    def purge(self, dead: NDArray[np.bool_]) -> None:
        """Blank the vectors of the passages that are dead, by number; they take their room."""
        owners = self._owners[: self.size]
        gone = np.flatnonzero(np.append(dead, False)[np.minimum(owners, len(dead))])
        self._rows[gone] = 0
        self._prefixes[gone] = 0

    def near(self, questions: Vectors) -> Vectors:
        """The first pass of several questions, a row for each: cheaper at once than one by one."""
        # The other way round this product takes twice the time.
        product = self._prefixes[: self.size] @ questions[:, : self._prefix].T
        return np.ascontiguousarray(product.T)

    def best(
        self,
        question: Vectors,
        *,
        reach: int,
        allowed: NDArray[np.bool_],
        near: Vectors | None = None,
    ) -> tuple[NDArray[np.intp], Vectors]:
        """The ``reach`` allowed passages nearest to a question, and their cosine.

        Args:
            allowed: for each passage number, whether it may be found; passages past its end may
                not. A passage is as near as its nearest vector.
            near: the question's row of ``near``, which is written to; made here when not given.
        """
        if near is None:
            near = self.near(question[None, :])[0]
        size = len(near)
        owners = self._owners[:size]
        if self._highest >= len(allowed) or not allowed.all():
            near[~_are_allowed(owners, allowed)] = -np.inf
        rows = (
            np.argpartition(near, -CANDIDATES)[-CANDIDATES:] if size > CANDIDATES else slice(None)
        )
        exact = (self._rows[:size][rows] @ question) * _SCALE
        exact[np.isneginf(near[rows])] = -np.inf
        order = np.argsort(-exact, kind="stable")
        order = order[: int(np.count_nonzero(exact > 0))]
        found = owners[rows][order]
        first = _first_of_each(found, len(allowed))[:reach]
        return found[first], exact[order][first].astype(np.float32)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Everything as flat arrays, for ``from_arrays``."""
        return {"vectors": self._rows[: self.size], "owners": self._owners[: self.size]}

    @classmethod
    def from_arrays(
        cls, kept: Mapping[str, NDArray[Any]], dimensions: int, *, prefix: int
    ) -> VectorTable:
        """The table whose ``arrays`` these are."""
        table = cls(dimensions, prefix=prefix)
        if len(kept["owners"]):
            table._rows, table._owners = kept["vectors"], kept["owners"]
            table._prefixes = table._rows[:, :prefix] * _SCALE
            table.size = len(table._owners)
            table._highest = int(table._owners.max())
        return table


def as_rows(vectors: Vectors) -> NDArray[np.int8]:
    """Unit vectors as they are kept."""
    rows: NDArray[np.int8] = np.rint(vectors * 127).astype(np.int8)
    return rows


def _are_allowed(owners: NDArray[np.intp], allowed: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """For each owner whether it may be found; those added since the search began may not."""
    known = np.append(allowed, False)
    may: NDArray[np.bool_] = known[np.minimum(owners, len(allowed))]
    return may


def _first_of_each(numbers: NDArray[np.intp], below: int) -> NDArray[np.intp]:
    """The places where each number stands first."""
    places = np.arange(len(numbers))
    first = np.empty(below, np.intp)
    # Of several values for one place the last is kept: in reverse, that is the first.
    first[numbers[::-1]] = places[::-1]
    return np.flatnonzero(first[numbers] == places)


def _doubled(array: NDArray[Item]) -> NDArray[Item]:
    return np.concatenate((array, np.zeros_like(array)))
