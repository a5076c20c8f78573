"""Which shards' answers to one question exclude each other: by yes and no, numbers and names."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations

from ifmem.engine.analysis import names, terms
from ifmem.engine.facts import held_facts, numbers, proper_names

_COLLECTS = re.compile(
    r"\b(all|every|each|any|which ones|compare|differences?|summari[sz]e|overview|list|name the"
    r"|examples?)\b",
    re.IGNORECASE,
)
"""Several answers to such a question stand beside each other."""
_YES = re.compile(r"\W*(yes|true|correct)\b", re.IGNORECASE)
_NO = re.compile(r"\W*(no|false|incorrect|not?)\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class ShardSays:
    """What is believed of one shard's answer."""

    shard: int
    answer: str
    quotes: tuple[str, ...]


def exclusions(question: str, answers: Sequence[ShardSays]) -> tuple[tuple[int, int], ...]:
    """The pairs of shards whose answers cannot both hold, by number."""
    if _COLLECTS.search(question):
        return ()
    return tuple(
        (min(one.shard, other.shard), max(one.shard, other.shard))
        for one, other in combinations(sorted(answers, key=lambda says: says.shard), 2)
        if exclude(question, one, other)
    )


def exclude(question: str, one: ShardSays, other: ShardSays) -> bool:
    """Whether two answers to a question exclude each other.

    Both must be about the same thing: their quotes share a name of the question, or without names
    a term. Then a yes excludes a no; numbers that have none in common exclude each other, also
    when names agree; names do when neither answer has a number.
    """
    if not _same_subject(question, one.quotes, other.quotes):
        return False
    if _polarity(one.answer) is not None and _polarity(other.answer) is not None:
        return _polarity(one.answer) != _polarity(other.answer)
    asked = held_facts(question)
    values = [numbers(_stated(says)) - asked for says in (one, other)]
    if all(values):
        # One that says more than the other does not contradict it.
        return not values[0] & values[1]
    if any(values):
        return False
    named = [proper_names(_stated(says)) - asked for says in (one, other)]
    return all(named) and not named[0] & named[1]


def sides(pairs: Iterable[tuple[int, int]]) -> tuple[tuple[int, ...], ...]:
    """The shards of each disagreement: those that pairs connect, in order."""
    groups: list[set[int]] = []
    for pair in pairs:
        joined = set(pair).union(*(group for group in groups if group & set(pair)))
        groups = [group for group in groups if not group & joined] + [joined]
    return tuple(sorted(tuple(sorted(group)) for group in groups))


def _stated(says: ShardSays) -> str:
    return says.answer or " ".join(says.quotes)


def _same_subject(question: str, quotes: Sequence[str], others: Sequence[str]) -> bool:
    wanted = names(question) or set(terms(question))
    here = {term for quote in quotes for term in terms(quote)}
    there = {term for quote in others for term in terms(quote)}
    return bool(wanted & here & there)


def _polarity(answer: str) -> bool | None:
    """True for a yes, False for a no, None for an answer that begins with neither."""
    if _YES.match(answer):
        return True
    return False if _NO.match(answer) else None
