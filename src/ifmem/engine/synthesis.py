"""The extractive model: an answer made of sentences that stand in the sources, or none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ifmem.engine.evidence import LEAST_SUPPORT, Evidence, on_one_line

MODEL = "extractive"
MOST_SENTENCES = 3
RANK_DISCOUNT = 0.05
"""Lost with each place in the ranking: among equals the better passage answers."""
AS_GOOD = 0.9
"""A further sentence is quoted when it is this close to the best one."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A sentence that a shard offers."""

    key: int
    """The passage, or a finding (negative)."""
    shard: int
    place: int
    """The passage's place in the ranking, from 0."""
    sentence: str
    evidence: Evidence

    @property
    def rated(self) -> float:
        """Support after the discount for a low rank."""
        return self.evidence.support * (1 - RANK_DISCOUNT * self.place)


def least_useful(best: float, place: int) -> float:
    """The support from which a sentence of the passage at this place may be selected.

    Args:
        best: what the best sentence known so far is rated; one found later only raises it.
    """
    if best <= 0:
        return 0.0
    share = 1 - RANK_DISCOUNT * place
    return min(LEAST_SUPPORT, AS_GOOD * best / share) if share > 0 else LEAST_SUPPORT


def select(candidates: Sequence[Candidate]) -> list[Candidate]:
    """The sentences that answer, best first; empty when support is weak.

    After the best come those that hold a term of the question that no chosen one holds, or say
    nearly as much.
    """
    ordered = sorted(candidates, key=lambda one: (-one.rated, one.place, one.key))
    if not ordered or ordered[0].evidence.support < LEAST_SUPPORT:
        return []
    best = ordered[0]
    chosen = [best]
    held = set(best.evidence.held)
    said = {_normal(best.sentence)}
    for one in ordered[1:]:
        if len(chosen) == MOST_SENTENCES:
            break
        adds = bool(one.evidence.held - held) and one.evidence.support >= LEAST_SUPPORT
        if not (adds or one.rated >= AS_GOOD * best.rated) or _normal(one.sentence) in said:
            continue
        chosen.append(one)
        held |= one.evidence.held
        said.add(_normal(one.sentence))
    return chosen


def compose(sentences: Sequence[str]) -> str:
    """The answer's text: each sentence with the number of its citation."""
    return " ".join(f"{on_one_line(sentence)} [{n}]" for n, sentence in enumerate(sentences, 1))


def _normal(sentence: str) -> str:
    return on_one_line(sentence).lower()
