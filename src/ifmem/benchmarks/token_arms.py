"""The arms of ``bench tokens``: the same questions by way of this memory, and by reading again.

Every arm sends its prompts to a server of the vendor's protocol with a cache of its own, and what
it is billed is what that server reports.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ifmem import clock
from ifmem.benchmarks.planted import Needle
from ifmem.benchmarks.prompt_reader import quotes_of
from ifmem.domain.model import ModelCall, Purpose
from ifmem.domain.price import Price
from ifmem.domain.usage import TokenUsage
from ifmem.llm.port import LanguageModel
from ifmem.prompts.fencing import FencedDocument, fence
from ifmem.prompts.shard_answer import shard_answer

_MAX_OUTPUT = 1_024


@dataclass(frozen=True, slots=True)
class Loop:
    """One question of one arm."""

    usages: tuple[TokenUsage, ...]
    """Of its calls; where documents are read again, one for each group of them."""
    correct: bool
    """A quote holds the planted fact."""

    def equivalents(self, price: Price, *, groups: Collection[int] | None = None) -> float:
        """Prompt tokens as if all were billed at the full price; of these calls only."""
        chosen = [
            usage for place, usage in enumerate(self.usages) if groups is None or place in groups
        ]
        return sum(_equivalents(usage, price) for usage in chosen)


def _equivalents(usage: TokenUsage, price: Price) -> float:
    rates = price.rates_for(usage.prompt)
    prompt = replace(usage, output=0, reasoning=0)
    return rates.cost(prompt) / price.rates.uncached


async def read_again(
    model: LanguageModel,
    groups: Sequence[Sequence[Path]],
    needles: Sequence[Needle],
    *,
    cached: bool,
) -> list[Loop]:
    """Put all documents into the prompts of every question, a prompt for each group.

    Args:
        model: an adapter, without anything around it.
        groups: the documents as the shards hold them, so that every prompt is as long as there.
        needles: the questions.
        cached: with the provider's cache, written by the first question.
    """
    prefixes = [await asyncio.to_thread(_prefix, group) for group in groups]
    lifetime = model.card.cache.lifetimes[0] if cached else None
    loops = []
    for needle in needles:
        usages, quotes = [], []
        for documents in prefixes:
            call = ModelCall(
                call_id=clock.new_id(),
                prompt=shard_answer(documents, needle.question, structured=True),
                purpose=Purpose.ANSWER,
                max_output=_MAX_OUTPUT,
                lifetime=lifetime,
            )
            completion = await model.complete(call)
            usages.append(completion.usage)
            quotes += quotes_of(completion.text)
        loops.append(Loop(tuple(usages), any(needle.is_in(quote, None) for quote in quotes)))
    return loops


def share_correct(loops: Sequence[Loop]) -> float:
    """Share of the questions whose quotes hold the fact."""
    return round(sum(loop.correct for loop in loops) / len(loops), 3)


def _prefix(paths: Sequence[Path]) -> str:
    documents = []
    for number, path in enumerate(paths, 1):
        text = path.read_text(encoding="utf-8")
        documents.append(FencedDocument(number, str(path), "", text))
    return fence(documents)
