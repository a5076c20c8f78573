"""Ranking: term weights, fusion of word and vector scores, neighbours in a chat, the best few.

The settings are middles of plateaus over four development sets, one for all of them; the
sensitivity of each stands in ``docs/retrieval.md``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from math import log

import numpy as np
from numpy.typing import NDArray

from ifmem.engine.analysis import term_counts, terms
from ifmem.index.meanings import Meant
from ifmem.index.postings import Scores

HEADER_TIMES = 4
"""A word of the header (path, enclosing definition or heading, date) counts as four."""
RARE = 4
"""A term in about this many passages or fewer is likely a name: up to twice its weight."""
VECTOR_WEIGHT = 0.5
VECTOR_REACH = 200
"""Only the nearest this many passages get a share of the vector score."""
TRUST_SLOPE = 2.0
"""A best match is trusted fully from 1 / this part of the possible score on."""
MEANING_WEIGHT, MEANING_WEIGHT_OF_TURNS = 1.0, 0.5
"""Of the sentence encoder's score, beside the static one. A turn is too short to say much."""
BEFORE, AFTER = 0.4, 0.2
"""What a chat turn takes of the scores of the turns before and after it."""

Numbers = NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class Ranked:
    """The best passages by number, and the three parts of every passage's score."""

    best: list[int]
    lexical: Scores
    vector: Scores
    neighbour: Scores

    def total(self, number: int) -> float:
        """The score that ``best`` is ordered by."""
        return float(self.lexical[number] + self.vector[number] + self.neighbour[number])


def passage_counts(text: str, header: str) -> Counter[str]:
    """Term counts of a passage, its header's words counted several times."""
    counts = term_counts(text)
    for term, times in term_counts(header).items():
        counts[term] += HEADER_TIMES * times
    return counts


def idf(frequency: int, passages: int) -> float:
    """Inverse document frequency, never negative; highest for a term that occurs nowhere."""
    return log(1 + (max(passages - frequency, 0) + 0.5) / (frequency + 0.5))


def term_weight(frequency: int, passages: int) -> float:
    """IDF, raised smoothly up to twice for the rarest terms."""
    return idf(frequency, passages) * (1 + RARE / (RARE + frequency))


def weighted_terms(
    question: str, frequency: Callable[[str], int], passages: int
) -> list[tuple[str, float]]:
    """Each distinct term of the question, with its weight; one that occurs nowhere counts too."""
    return [
        (term, term_weight(frequency(term), passages)) for term in dict.fromkeys(terms(question))
    ]


def rank(
    words: Scores,
    vectors: tuple[Numbers, Scores],
    *,
    trust: float,
    before: Numbers,
    after: Numbers,
    within: Numbers | None,
    limit: int,
    meant: Meant | None = None,
) -> Ranked:
    """The best ``limit`` passages.

    Args:
        words: the word score of each passage.
        vectors: numbers and vector scores of the nearest passages; the rest get none.
        trust: how far the word scores may be trusted, 0..1: see ``lexical_trust``.
        before, after: the number of the turn before and after, -1 where there is none.
        within: the numbers that may be found, ascending; None for all. Scaling and neighbours
            look only at these, so a filter ranks as if the rest were not there.
        meant: the nearest passages by the sentence encoder; None when it has no say.
    """
    lexical, static = np.zeros_like(words), np.zeros_like(words)
    part = slice(None) if within is None else within
    most = max(float(words[part].max(initial=0.0)), 1e-9)
    lexical[part] = words[part] * np.float32(trust / most)
    numbers, scores = vectors
    static[numbers] = _scaled(scores)
    vector = static * np.float32(VECTOR_WEIGHT)
    if meant is not None:
        vector += _meaning(static, meant)
    fused = lexical + vector
    neighbour = _from_neighbours(fused, before, after)
    if within is not None:
        outside = np.ones(len(words), np.bool_)
        outside[within] = False
        neighbour[outside] = 0
    return Ranked(_best(fused + neighbour, limit), lexical, vector, neighbour)


def lexical_trust(best: float, weights: Iterable[float]) -> float:
    """How far word scores may be trusted: the best one's share of what a full match would get.

    The best of bad word matches must not outrank a good match by meaning; scaling to the maximum
    alone would make every best match look perfect.
    """
    possible = sum(weights)
    return 0.0 if possible <= 0 else min(1.0, TRUST_SLOPE * best / possible)


def _scaled(scores: Scores) -> Scores:
    """Min-max over the nearest passages."""
    if len(scores) == 0:
        return scores
    least, most = float(scores.min()), float(scores.max())
    scaled: Scores = (scores - least) / np.float32(max(most - least, 1e-9))
    return scaled


def _meaning(static: Scores, meant: Meant) -> Scores:
    """The weighted score by the sentence encoder.

    A passage without its vectors, one just written, gets what the static vectors say: they were
    distilled from the same model.
    """
    scaled = np.where(meant.known, np.float32(0), static)
    scaled[meant.numbers] = _scaled(meant.scores)
    weight = np.where(meant.turns, np.float32(MEANING_WEIGHT_OF_TURNS), np.float32(MEANING_WEIGHT))
    weighted: Scores = scaled * weight
    return weighted


def _from_neighbours(scores: Scores, before: Numbers, after: Numbers) -> Scores:
    taken = np.zeros_like(scores)
    for neighbour, share in ((before, BEFORE), (after, AFTER)):
        # A turn that was added after the search began is not among the scores.
        has = np.flatnonzero((neighbour >= 0) & (neighbour < len(scores)))
        taken[has] += np.float32(share) * scores[neighbour[has]]
    return taken


def _best(scores: Scores, limit: int) -> list[int]:
    """Numbers of the best positive scores, best first, the earlier first among equals."""
    found = np.flatnonzero(scores > 0)
    if len(found) > limit:
        found = np.sort(found[np.argpartition(scores[found], -limit)[-limit:]])
    order: list[int] = found[np.argsort(-scores[found], kind="stable")].tolist()
    return order
