"""One answer from the findings of several shards: each sentence with the numbers of its proofs."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from ifmem.engine.evidence import on_one_line, sentences
from ifmem.engine.facts import facts, held_facts, numbers
from ifmem.engine.shard_answers import Said

MOST_QUOTED = 3
"""Quotes that speak for a shard without a sentence of its own."""
_NUMBERS = re.compile(r"\[(\d{1,4}(?:\s*,\s*\d{1,4})*)\]")
_BEFORE_THE_STOP = re.compile(r"\s+([.!?,;:])")
_AFTER_THE_STOP = re.compile(r"([.!?])(\s*)((?:\[\d{1,4}(?:\s*,\s*\d{1,4})*\]\s*)+)")


@dataclass(frozen=True, slots=True)
class Voice:
    """What one shard contributes: its quotes, and what it says of them."""

    quotes: tuple[str, ...]
    said: tuple[Said, ...]
    """With places in ``quotes``; empty: the quotes speak for themselves."""


def join_by_code(voices: Sequence[Voice]) -> str:
    """The sentences of all voices in order, numbered through; what was said before is left out."""
    parts: list[str] = []
    spoken: set[str] = set()
    first = 1
    for voice in voices:
        said = voice.said or [
            Said(on_one_line(quote), (place,))
            for place, quote in enumerate(voice.quotes[:MOST_QUOTED])
        ]
        for one in said:
            if _normal(one.text) in spoken:
                continue
            spoken.add(_normal(one.text))
            parts.append(numbered(one.text, [first + place for place in one.proofs]))
        first += len(voice.quotes)
    return " ".join(parts)


def keep_cited(text: str, quotes: Sequence[str], question: str) -> tuple[str, int]:
    """The sentences of a written answer that a cited quote holds, and how many were struck.

    A sentence without a number of a quote is struck, and one with a number or a name that neither
    a quote it cites nor the question holds.

    Args:
        text: with the numbers of quotes in brackets, from 1.
        quotes: in order.
        question: as asked.
    """
    asked = held_facts(question)
    held = [held_facts(quote) for quote in quotes]
    kept: list[str] = []
    struck = 0
    # `… is 3. [1] Then` cites before it goes on: the numbers belong to what stands before them.
    drawn = _AFTER_THE_STOP.sub(r" \3\1 ", text)
    for start, end in sentences(drawn):
        sentence = drawn[start:end]
        cited = [n for n in _cited(sentence) if 1 <= n <= len(quotes)]
        bare = _BEFORE_THE_STOP.sub(r"\1", on_one_line(_NUMBERS.sub("", sentence)))
        if not bare.strip(" .!?"):
            continue
        known = asked.union(*(held[n - 1] for n in cited))
        if cited and numbers(bare) <= known and facts(bare) <= known:
            kept.append(numbered(bare, cited))
        else:
            struck += 1
    return " ".join(kept), struck


def numbered(sentence: str, numbers: Sequence[int]) -> str:
    """A sentence with the numbers of its citations after it."""
    return f"{sentence.strip()} " + "".join(f"[{n}]" for n in dict.fromkeys(numbers))


def _cited(sentence: str) -> list[int]:
    return [int(number) for match in _NUMBERS.finditer(sentence) for number in match[1].split(",")]


def _normal(sentence: str) -> str:
    return " ".join(sentence.lower().split())
