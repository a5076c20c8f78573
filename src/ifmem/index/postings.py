"""An inverted index that only grows: one packed array for each term, scored with numpy.

Why not a library: `docs/decisions/0004-own-postings.md` has the measurements. In short, FTS5 alone
breaks the latency bound at 10M tokens, and the fast libraries cannot show a fresh write at once.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

Scores = NDArray[np.float32]

K1, B = 0.9, 0.6
"""BM25's saturation and length normalisation; results are flat over k1 .9-1.5 and b .5-.9."""
_MOST_TIMES = 255
"""A count takes 8 bits and a passage number 24: 16.7 million passages in an index."""


class Postings:
    """Terms to passages, which are numbered from 0 in order of arrival.

    One writer at a time; readers need no lock: a reader sees the passages that were complete when
    it began.
    """

    def __init__(self) -> None:
        self._rows: dict[str, array[int]] = {}
        self._lengths: NDArray[np.float32] = np.zeros(1024, np.float32)
        self._live: NDArray[np.bool_] = np.zeros(1024, np.bool_)
        self._total_length = 0.0
        self.size = 0
        """Passages ever added; a removed number is not used again."""
        self.live_count = 0

    def add(self, counts: Mapping[str, int]) -> int:
        """Index one passage and return its number; it can be found at once."""
        number = self.size
        if number == len(self._lengths):
            self._lengths = np.concatenate((self._lengths, np.zeros_like(self._lengths)))
            self._live = np.concatenate((self._live, np.zeros_like(self._live)))
        packed, rows = number << 8, self._rows
        for term, times in counts.items():
            row = rows.get(term)
            if row is None:
                row = rows[term] = array("I")
            row.append(packed | min(times, _MOST_TIMES))
        length = sum(counts.values())
        self._lengths[number] = length
        self._live[number] = True
        self.size += 1
        self.live_count += 1
        self._total_length += length
        return number

    def remove(self, number: int) -> None:
        """Take a passage out of every answer; its room comes back when the index is rebuilt."""
        if self._live[number]:
            self._live[number] = False
            self.live_count -= 1
            self._total_length -= float(self._lengths[number])

    def take(self, other: Postings, place: NDArray[np.int64]) -> None:
        """Copy passages of other postings, all of which are found from one moment on.

        Args:
            other: changes while it is read only as readers may see it.
            place: for each number of the other the one that it has here, -1 for those left out;
                they follow each other from ``size`` on, in the same order.
        """
        taken = np.flatnonzero(place >= 0)
        end = self.size + len(taken)
        while end > len(self._lengths):
            self._lengths = np.concatenate((self._lengths, np.zeros_like(self._lengths)))
            self._live = np.concatenate((self._live, np.zeros_like(self._live)))
        for term, row in other._rows.items():
            packed = np.frombuffer(row.tobytes(), np.uint32)
            to = place[packed >> 8]
            here = to >= 0
            if here.any():
                copied = (to[here].astype(np.uint32) << 8) | (packed[here] & _MOST_TIMES)
                self._rows.setdefault(term, array("I")).frombytes(copied.tobytes())
        self._lengths[self.size : end] = other._lengths[taken]
        self._live[self.size : end] = True
        self._total_length += float(other._lengths[taken].sum())
        self.live_count += len(taken)
        # Last: readers leave out what has a number from here on.
        self.size = end

    def purge(self) -> None:
        """Drop what is kept of removed passages; the numbers of the others stay."""
        dead = ~self._live[: self.size]
        if not dead.any() or not self._rows:
            return
        terms, sizes = list(self._rows), list(map(len, self._rows.values()))
        packed = np.frombuffer(b"".join(r.tobytes() for r in self._rows.values()), np.uint32)
        ends = np.cumsum(sizes)
        of_dead = np.flatnonzero(dead[packed >> 8])
        for at in np.unique(np.searchsorted(ends, of_dead, side="right")).tolist():
            row = packed[ends[at] - sizes[at] : ends[at]]
            kept = array("I", row[~dead[row >> 8]].tobytes())
            # A reader has the old row or the new one; both say the same of what is live.
            if kept:
                self._rows[terms[at]] = kept
            else:
                del self._rows[terms[at]]
        self._lengths[: self.size][dead] = 0

    def live(self) -> NDArray[np.bool_]:
        """For each number, whether its passage is still there."""
        return self._live[: self.size]

    def frequency(self, term: str) -> int:
        """In how many passages a term occurs, removed ones counted until they are purged."""
        row = self._rows.get(term)
        return 0 if row is None else len(row)

    def scores(self, weighted: Iterable[tuple[str, float]]) -> Scores:
        """The BM25 score of every passage for terms with their weights."""
        size = self.size  # first: what another thread adds meanwhile is left out
        out = np.zeros(size, np.float32)
        mean = self._total_length / max(self.live_count, 1) or 1.0
        lengths = self._lengths
        for term, weight in weighted:
            row = self._rows.get(term)
            if row is None:
                continue
            # A copy: a view would forbid the writer to append meanwhile.
            packed = np.frombuffer(row.tobytes(), np.uint32)
            packed = packed[: np.searchsorted(packed, size << 8)]
            numbers = packed >> 8
            times = (packed & _MOST_TIMES).astype(np.float32)
            norm = lengths[numbers] * np.float32(K1 * B / mean) + np.float32(K1 * (1 - B))
            out[numbers] += times / (times + norm) * np.float32(weight * (K1 + 1))
        out *= self._live[:size]
        return out

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Everything as flat arrays, for ``from_arrays``."""
        rows = self._rows
        return {
            "terms": np.frombuffer("\n".join(rows).encode(), np.uint8),
            "row_sizes": np.fromiter(map(len, rows.values()), np.uint32, len(rows)),
            "packed": np.frombuffer(b"".join(r.tobytes() for r in rows.values()), np.uint32),
            "lengths": self._lengths[: self.size],
            "live": self._live[: self.size],
        }

    @classmethod
    def from_arrays(cls, kept: Mapping[str, NDArray[Any]]) -> Postings:
        """The index whose ``arrays`` these are."""
        index = cls()
        index.size = len(kept["live"])
        room = max(index.size, 1024)
        index._lengths = np.resize(kept["lengths"], room).astype(np.float32)
        index._live = np.resize(kept["live"], room).astype(np.bool_)
        index.live_count = int(kept["live"].sum())
        index._total_length = float(kept["lengths"][kept["live"]].sum())
        packed, start = kept["packed"].tobytes(), 0
        terms = kept["terms"].tobytes().decode().split("\n") if len(kept["terms"]) else []
        for term, size in zip(terms, kept["row_sizes"].tolist(), strict=True):
            row = index._rows[term] = array("I")
            row.frombytes(packed[start : start + 4 * size])
            start += 4 * size
        return index
