"""Static text vectors: a text's vector is the sum of its words' vectors, normalised.

The word vectors (``words.npz``) are our own distillate of all-MiniLM-L6-v2, int8, 256 dimensions:
``docs/decisions/0005-own-word-vectors.md`` has how they were made, from what, and under which
licences. Their dimensions are ordered by variance, so a prefix of a vector approximates it.
"""

from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources

import numpy as np
from numpy.typing import NDArray

Vectors = NDArray[np.float32]

DIMENSIONS = 256
LINES_A_PASSAGE = 4
"""Lines of a passage that get a vector of their own: those least like the whole."""
_LEAST_WORDS = 3
"""A shorter line says too little for a vector of its own."""
_LONGEST_PIECE = 24
_CACHED_WORDS = 1 << 16
_BLOCK = 16

# Identifiers fall into their words, as in ``engine.analysis``.
_WORD = r"[A-Z]+(?=[A-Z][a-z])|[A-Z]?[a-z]+|[A-Z]+|\d+|[^\W\d_a-zA-Z]+"
WORD = re.compile(_WORD)
_WORD_OR_BREAK = re.compile(rf"\n|{_WORD}")
_BREAK_ROW = 0


class Encoder:
    """Turns texts into unit vectors; safe to use from several threads.

    Each word's vector (the sum of its wordpieces) is made once and kept in a growing table, so a
    text costs one look-up a word and a small matrix product, not a gather of 256 numbers a word.
    """

    def __init__(self) -> None:
        self._using = threading.Lock()
        self._words: _Words | None = None
        self._rows_of: dict[str, int] = {}
        self._table: Vectors = np.zeros((0, DIMENSIONS), np.float32)
        self._used = 0
        self._forget_words()

    def whole(self, texts: Sequence[str]) -> Vectors:
        """One unit vector a text; a text without known words has the zero vector."""
        out = np.zeros((len(texts), DIMENSIONS), np.float32)
        for first in range(0, len(texts), _BLOCK):
            with self._using:
                rows, counts = self._rows(texts[first : first + _BLOCK], WORD)
                if len(rows):
                    owners = np.repeat(np.arange(len(counts)), counts)
                    out[first : first + len(counts)] = self._sums(rows, owners, len(counts))[0]
        return _unit(out)

    def fine(self, text: str) -> tuple[Vectors, Vectors]:
        """The vector of a text of several lines, and those of the lines least like it.

        Lines are picked farthest first, from the whole and from each other: one sentence in a page
        of something else drowns in the page's mean, and this is the sentence.
        """
        with self._using:
            rows, _ = self._rows(["\n" + text], _WORD_OR_BREAK)
            owners = np.cumsum(rows == _BREAK_ROW) - 1
            lines, words = self._sums(rows, owners, int(owners[-1]) + 1)
        whole = _unit(lines.sum(0, keepdims=True))
        # The break itself counts as a word of its line.
        long = np.flatnonzero(words > _LEAST_WORDS)
        if len(long) < 2:
            return whole, np.zeros((0, DIMENSIONS), np.float32)
        lines = _unit(lines[long])
        distance = 1 - lines @ whole[0]
        picked: list[int] = []
        for _ in range(min(LINES_A_PASSAGE, len(lines))):
            farthest = int(distance.argmax())
            picked.append(farthest)
            distance = np.minimum(distance, 1 - lines @ lines[farthest])
        return whole, lines[picked]

    def question(self, text: str, weight: Callable[[str], float]) -> Vectors:
        """The vector of a question, each word weighted; shape ``(DIMENSIONS,)``.

        Weighting the question alone leaves the vectors of what is stored as they are, however
        the corpus grows.
        """
        weights = np.array([weight(word) for word in WORD.findall(text)], np.float32)
        with self._using:
            rows, _ = self._rows([text], WORD)
            vector: Vectors = weights @ self._table[rows]
        unit: Vectors = _unit(vector[None, :])[0]
        return unit

    def _sums(
        self, rows: NDArray[np.intp], owners: NDArray[np.intp], count: int
    ) -> tuple[Vectors, NDArray[np.intp]]:
        """For each owner the sum of its words' vectors, and how many words it has."""
        unique, inverse = np.unique(rows, return_inverse=True)
        cells = np.bincount(owners * len(unique) + inverse, minlength=count * len(unique))
        times = cells.reshape(count, len(unique))
        sums: Vectors = times.astype(np.float32) @ self._table[unique]
        return sums, times.sum(1)

    def _rows(
        self, texts: Sequence[str], pattern: re.Pattern[str]
    ) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Table rows of all words of all texts, and how many words each text has."""
        if self._used > _CACHED_WORDS:
            self._forget_words()
        known = self._rows_of
        flat: list[int] = []
        counts: list[int] = []
        for text in texts:
            found = pattern.findall(text)
            try:
                rows = [known[word] for word in found]
            except KeyError:
                rows = [self._row(word) for word in found]
            flat += rows
            counts.append(len(rows))
        return np.array(flat, np.intp), np.array(counts, np.intp)

    def _row(self, word: str) -> int:
        row = self._rows_of.get(word)
        if row is None:
            lower = word.lower()
            row = self._rows_of.get(lower)
            if row is None:
                row = self._rows_of[lower] = self._new_row(lower)
            self._rows_of[word] = row
        return row

    def _new_row(self, word: str) -> int:
        row = self._used
        self._used += 1
        if row == len(self._table):
            self._table = np.concatenate((self._table, np.zeros_like(self._table)))
        if self._words is None:
            # Not before the first word: a daemon that is only asked for tasks starts without.
            self._words = _Words.read()
        pieces = self._words.pieces(word)
        if pieces:
            self._table[row] = self._words.scales[pieces] @ self._words.rows[pieces]
        return row

    def _forget_words(self) -> None:
        self._rows_of = {"\n": _BREAK_ROW}
        self._table = np.zeros((4096, DIMENSIONS), np.float32)
        self._used = 1


@dataclass(frozen=True, slots=True)
class _Words:
    """The vectors of all wordpieces, as they lie in the package."""

    rows_of: Mapping[str, int]
    rows: NDArray[np.int8]
    scales: Vectors

    @classmethod
    def read(cls) -> _Words:
        with np.load(str(resources.files("ifmem.index") / "words.npz")) as data:
            pieces = bytes(data["vocab"]).decode().split("\n")
            rows_of = {piece: row for row, piece in enumerate(pieces)}
            return cls(rows_of, data["rows"], data["scale"].astype(np.float32))

    def pieces(self, word: str) -> list[int]:
        """Wordpieces of a lower-case word, the longest first; unknown letters are passed over."""
        whole = self.rows_of.get(word)
        if whole is not None:
            return [whole]
        found: list[int] = []
        start = 0
        while start < len(word):
            for end in range(min(len(word), start + _LONGEST_PIECE), start, -1):
                piece = self.rows_of.get(("##" if start else "") + word[start:end])
                if piece is not None:
                    found.append(piece)
                    start = end
                    break
            else:
                start += 1
        return found


@cache
def shared_encoder() -> Encoder:
    """The process's encoder; its table of word vectors takes some 60 MB when full."""
    return Encoder()


def _unit(vectors: Vectors) -> Vectors:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit: Vectors = vectors / np.maximum(lengths, np.float32(1e-9))
    return unit


@cache
def encoder_digest() -> str:
    """Names the word vectors: an index made with others is not comparable."""
    data = (resources.files("ifmem.index") / "words.npz").read_bytes()
    return hashlib.sha256(data).hexdigest()[:16]
