"""How sure an answer is, by code: what a model says of itself is not taken."""

from __future__ import annotations

from collections.abc import Sequence

_AGREEING = 0.25
"""Part of what is lacking to certainty that each further shard with evidence adds."""
_MOST_AGREEING = 2
_DISPUTED = 0.5
_MISSING = 0.3
"""Lost when all shards that were asked did not answer; less in proportion."""


def shard_confidence(*, held: float, verified: int, unverified: int) -> float:
    """Of one shard, 0..1: the verified share of what it gave, by how much of the question it holds.

    Args:
        held: share of the question's weight that its quotes hold.
        verified: quotes that code found.
        unverified: quotes, ids and sentences that were dropped.
    """
    if not verified:
        return 0.0
    return round(verified / (verified + unverified) * (0.5 + 0.5 * held), 3)


def answer_confidence(
    shards: Sequence[float], *, asked: int, missing: int, disputed: bool
) -> float:
    """Of the whole answer, 0..1: the surest shard, raised by those that agree with it.

    Args:
        shards: confidence of each shard that found something.
        asked: shards asked.
        missing: those of them that did not answer.
        disputed: answers that exclude each other stand beside each other.
    """
    found = [one for one in shards if one > 0]
    if not found:
        return 0.0
    sure = max(found)
    if disputed:
        sure *= _DISPUTED
    else:
        for _ in range(min(len(found) - 1, _MOST_AGREEING)):
            sure += (1 - sure) * _AGREEING
    return round(sure * (1 - _MISSING * missing / max(asked, 1)), 3)
