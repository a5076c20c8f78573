"""Measures of ranked lists against judgements: recall, nDCG, reciprocal rank, hits."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import log2

import msgspec

DEPTHS = (5, 10, 20)
Judged = Mapping[str, int]
"""Grades of the relevant documents of one query, by document id; all above 0."""


@dataclass(frozen=True, slots=True)
class Query:
    """A question, what it is searched within, and what is relevant to it."""

    query_id: str
    text: str
    group: str | None
    category: str | None
    judged: Judged


class Quality(msgspec.Struct, frozen=True):
    """Means over queries."""

    queries: int
    recall: dict[str, float]
    """Share of the relevant documents among the first 5, 10 and 20."""
    ndcg10: float
    """Grades as gains."""
    mrr: float
    """Of the first relevant document among the first 20."""
    hit10: float
    """Share of queries with a relevant document among the first 10."""


def recall_at(depth: int, ranked: Sequence[str], judged: Judged) -> float:
    """Share of the relevant documents among the first ``depth``."""
    return sum(one in judged for one in ranked[:depth]) / len(judged)


def ndcg_at(depth: int, ranked: Sequence[str], judged: Judged) -> float:
    """Discounted gain of the first ``depth`` over that of the best possible order."""
    gained = _discounted(judged.get(one, 0) for one in ranked[:depth])
    return gained / _discounted(sorted(judged.values(), reverse=True)[:depth])


def reciprocal_rank(depth: int, ranked: Sequence[str], judged: Judged) -> float:
    """One over the rank of the first relevant document; 0 when none is among ``depth``."""
    return next((1 / (place + 1) for place, one in enumerate(ranked[:depth]) if one in judged), 0.0)


def quality(queries: Sequence[Query], found: Mapping[str, Sequence[str]]) -> Quality:
    """The means over queries; each has at least one relevant document.

    Args:
        found: by query id, the ids of documents, best first, each once.
    """
    pairs = [(found[query.query_id], query.judged) for query in queries]
    return Quality(
        queries=len(queries),
        recall={
            str(depth): _mean(recall_at(depth, ranked, judged) for ranked, judged in pairs)
            for depth in DEPTHS
        },
        ndcg10=_mean(ndcg_at(10, ranked, judged) for ranked, judged in pairs),
        mrr=_mean(reciprocal_rank(20, ranked, judged) for ranked, judged in pairs),
        hit10=_mean(float(recall_at(10, ranked, judged) > 0) for ranked, judged in pairs),
    )


def quality_by_category(
    queries: Sequence[Query], found: Mapping[str, Sequence[str]]
) -> dict[str, Quality]:
    """The same for the queries of each category, in order of the categories' names."""
    categories = sorted({query.category for query in queries if query.category})
    return {
        category: quality([query for query in queries if query.category == category], found)
        for category in categories
    }


def _discounted(gains: Iterable[int]) -> float:
    return sum(gain / log2(place + 2) for place, gain in enumerate(gains))


def _mean(values: Iterable[float]) -> float:
    held = list(values)
    return round(sum(held) / max(len(held), 1), 4)
