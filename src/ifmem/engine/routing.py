"""Which shards a question goes to: the few whose best passages answer for most of the score."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

TOP_PASSAGES = 5
"""A shard's score is the sum of this many of its best passages, so size alone wins nothing."""
STRONG_SHARE = 0.5
"""Passages below this part of the best one's score say nothing about where the answer is."""
ENOUGH_SHARE = 0.8
"""Shards are asked until they hold this share of all shards' scores."""
FLAT_SHARE = 0.75
"""When more than this part of the scoring shards would be asked anyway, all are."""
_GLOBAL = re.compile(
    r"\b(how many|how often|all|every|each|compare|summari[sz]e|overview|list)\b", re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class Route:
    """The shards to ask, those that should be but cannot, and why, in one sentence."""

    asked: tuple[int, ...]
    missing: tuple[int, ...]
    reason: str


def route(
    question: str,
    hits: Iterable[tuple[int, float]],
    *,
    active: Sequence[int],
    inactive: Sequence[int],
    hint: int | None,
) -> Route:
    """Choose the shards for a question.

    Args:
        hits: shard and score of each matching passage, best first.
        active: shards a live worker holds.
        inactive: shards that exist and no live worker holds.
        hint: the shard the caller named; it wins when it is active.
    """
    if hint is not None and hint in active:
        return Route((hint,), (), f"shard {hint} as asked")
    unable = f"shard {hint} is not active; " if hint is not None else ""
    wanted, reason = _wanted(question, hits, everyone=sorted((*active, *inactive)))
    down = [n for n in wanted if n in inactive]
    asked = [n for n in wanted if n in active]
    if not asked:
        asked = sorted(active)
        reason += f"; {_named(down)} not active, so every active shard"
    elif down:
        reason += f"; {_named(down)} not active, so the others"
    missing = sorted({*down, *([hint] if hint is not None and hint in inactive else [])})
    return Route(tuple(asked), tuple(missing), unable + reason)


def too_few_live(route: Route, *, live: int, shards: int, least: float) -> bool:
    """True when a question is for all shards, and less than this share of them can answer."""
    return len({*route.asked, *route.missing}) == shards and live < least * shards


def _wanted(
    question: str, hits: Iterable[tuple[int, float]], *, everyone: list[int]
) -> tuple[list[int], str]:
    scores = shard_scores(hits)
    if not scores:
        return everyone, "no passage matches, so every shard"
    if _GLOBAL.search(question):
        return everyone, "the question is about the whole, so every shard"
    total = sum(scores.values())
    chosen: list[int] = []
    held = 0.0
    for number, score in sorted(scores.items(), key=lambda item: (-item[1], item[0])):
        chosen.append(number)
        held += score
        if held >= ENOUGH_SHARE * total:
            break
    if len(scores) > 2 and len(chosen) > FLAT_SHARE * len(scores):
        return everyone, "the scores are flat, so every shard"
    return chosen, f"{_named(chosen)} with {held / total:.0%} of the score"


def shard_scores(hits: Iterable[tuple[int, float]]) -> dict[int, float]:
    """The score of each shard with a strong passage, from shard and score of each, best first."""
    best: dict[int, list[float]] = defaultdict(list)
    strongest = 0.0
    for shard, score in hits:
        strongest = max(strongest, score)
        if score >= STRONG_SHARE * strongest and len(best[shard]) < TOP_PASSAGES:
            best[shard].append(score)
    return {shard: sum(scores) for shard, scores in best.items() if scores}


def _named(numbers: Sequence[int]) -> str:
    listed = ", ".join(str(n) for n in numbers)
    return f"shard {listed}" if len(numbers) == 1 else f"shards {listed}"
