"""The vectors of a space: several to a passage, searched in two stages.

A first pass compares only the leading dimensions; the best of it are compared in full. What is
kept takes 256 bytes for the whole vector and 256 for its float prefix.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from ifmem.index.encoder import DIMENSIONS, Vectors

PREFIX = 64
"""Dimensions of the first pass."""
CANDIDATES = 1_000
"""Vectors compared in full."""
Item = TypeVar("Item", bound=np.generic)

_SCALE = np.float32(1 / 127)


class VectorTable:
    """Unit vectors with the number of the passage each belongs to.

    One writer at a time; a reader sees the vectors that were complete when it began.
    """

    def __init__(self) -> None:
        self._rows: NDArray[np.int8] = np.zeros((1024, DIMENSIONS), np.int8)
        self._prefixes: Vectors = np.zeros((1024, PREFIX), np.float32)
        self._owners: NDArray[np.intp] = np.zeros(1024, np.intp)
        self.size = 0

    def add(self, owner: int, vectors: Vectors) -> None:
        """Add the vectors of a passage."""
        end = self.size + len(vectors)
        while end > len(self._owners):
            self._rows = _doubled(self._rows)
            self._prefixes = _doubled(self._prefixes)
            self._owners = _doubled(self._owners)
        rows = np.rint(vectors * 127).astype(np.int8)
        self._rows[self.size : end] = rows
        self._prefixes[self.size : end] = rows[:, :PREFIX] * _SCALE
        self._owners[self.size : end] = owner
        self.size = end

    def best(
        self, question: Vectors, *, reach: int, allowed: NDArray[np.bool_]
    ) -> tuple[NDArray[np.intp], Vectors]:
        """The ``reach`` allowed passages nearest to a question, and their cosine.

        Args:
            allowed: for each passage number, whether it may be found; passages past its end may
                not. A passage is as near as its nearest vector.
        """
        size = self.size
        owners = self._owners[:size]
        # Passages are added in order, so those past the end of ``allowed`` come last.
        size = int(np.searchsorted(owners, len(allowed)))
        owners = owners[:size]
        near = self._prefixes[:size] @ question[:PREFIX]
        near[~allowed[owners]] = -np.inf
        rows = (
            np.argpartition(near, -CANDIDATES)[-CANDIDATES:] if size > CANDIDATES else slice(None)
        )
        exact = (self._rows[:size][rows] @ question) * _SCALE
        exact[np.isneginf(near[rows])] = -np.inf
        order = np.argsort(-exact, kind="stable")
        order = order[: int(np.count_nonzero(exact > 0))]
        found = owners[rows][order]
        _, first = np.unique(found, return_index=True)
        first = np.sort(first)[:reach]
        return found[first], exact[order][first].astype(np.float32)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Everything as flat arrays, for ``from_arrays``."""
        return {"vectors": self._rows[: self.size], "owners": self._owners[: self.size]}

    @classmethod
    def from_arrays(cls, kept: Mapping[str, NDArray[Any]]) -> VectorTable:
        """The table whose ``arrays`` these are."""
        table = cls()
        if len(kept["owners"]):
            table._rows, table._owners = kept["vectors"], kept["owners"]
            table._prefixes = table._rows[:, :PREFIX] * _SCALE
            table.size = len(table._owners)
        return table


def _doubled(array: NDArray[Item]) -> NDArray[Item]:
    return np.concatenate((array, np.zeros_like(array)))
