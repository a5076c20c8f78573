"""How much of a shard a model can take: its window, its price steps, and what it reads well."""

from __future__ import annotations

from dataclasses import dataclass

from ifmem.domain.model import ModelCard
from ifmem.domain.price import Price

RULES_TOKENS = 600
"""Of the longest rules of a shard's prompt, with the marks around its documents."""
QUESTION_TOKENS = 2_000
"""Left for a question with the findings and the other side's quote that go with it."""
MARGIN = 0.05
"""Of the rest, for what an estimate of tokens is wrong by."""
LEAST_O200K = 8_000
"""A smaller budget makes no shards of its own: the model reads passages of larger ones."""
NEWEST_WEIGHT = 0.3
"""Of the newest observation of a factor: a handful of calls settle it, one outlier does not."""
_PLAUSIBLE = (0.25, 4.0)
"""Bounds of a factor; what lies beyond is a miscount, not a tokeniser."""


def most_tokens(card: ModelCard, price: Price | None, *, quality_cap: int, max_output: int) -> int:
    """Tokens of documents that a prompt of the model may hold, in its own count; at least 0.

    The least of window, first price step and quality cap, less rules, question, answer and margin.
    """
    whole = min(card.window, quality_cap)
    if price is not None and price.cliff is not None:
        whole = min(whole, price.cliff)
    # A price step and the quality cap count the prompt; the window counts the answer too.
    room = min(whole, card.window - max_output) - RULES_TOKENS - _question_tokens(card)
    return max(0, int(room * (1 - MARGIN)))


def _question_tokens(card: ModelCard) -> int:
    """A small window leaves a smaller part for questions."""
    return min(QUESTION_TOKENS, card.window // 8)


def o200k_budget(tokens: int, factor: float) -> int:
    """The same budget counted in o200k tokens."""
    return int(tokens / factor)


def shard_capacity(configured: int, budget: int | None) -> int:
    """o200k tokens that a shard may hold.

    Args:
        configured: of a shard without a model.
        budget: what the shard's model can take; None without a model.
    """
    if budget is None or budget < LEAST_O200K:
        return configured
    return min(configured, budget)


@dataclass(frozen=True, slots=True)
class Factor:
    """How many tokens of a model one o200k token makes, for text of one speciality."""

    value: float
    samples: int = 0
    """Calls it was observed in; 0: as the card says."""

    def observed(self, o200k: int, reported: int) -> Factor:
        """The factor after a call whose prompt had ``o200k`` tokens, ``reported`` by the vendor."""
        if o200k <= 0 or reported <= 0:
            return self
        seen = reported / o200k
        if not _PLAUSIBLE[0] <= seen <= _PLAUSIBLE[1]:
            return self
        weight = NEWEST_WEIGHT if self.samples else 1.0
        return Factor(self.value + weight * (seen - self.value), self.samples + 1)
