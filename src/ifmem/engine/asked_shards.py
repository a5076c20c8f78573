"""What a question made models read and write, taken from the rows of its calls."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from fractions import Fraction

from ifmem.domain.ledger import AskedQuestion, CallState, LedgerRow
from ifmem.domain.model import Purpose
from ifmem.domain.price import Price
from ifmem.domain.usage import TokenUsage

ANSWERING = frozenset({Purpose.ANSWER, Purpose.DISPUTE, Purpose.SYNTHESIS})
"""What is called because of a question's words; warming generates nothing that is read."""
_SERVED = frozenset({CallState.SETTLED, CallState.UNKNOWN})


@dataclass(frozen=True, slots=True, kw_only=True)
class AskedShard:
    """One shard's part of a question."""

    shard: int | None
    model: str
    price: Price
    prefix_sha256: str
    tokens: int
    """Of the documents it holds, in the model's own count."""
    generated: TokenUsage
    """Of its answers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AnsweredQuestion:
    """A question that models have answered."""

    asked: AskedQuestion
    at: datetime
    shards: tuple[AskedShard, ...]
    joining: int
    """Pico-dollars of the words that joined the shards' findings."""
    generated: TokenUsage
    """All that was generated for it."""

    @property
    def model(self) -> str:
        """The one that had most to read."""
        read: dict[str, int] = {}
        for one in self.shards:
            read[one.model] = read.get(one.model, 0) + one.tokens
        return max(sorted(read), key=lambda model: read[model])


def measured_ratios(rows: Iterable[LedgerRow]) -> dict[str, Fraction]:
    """By model: its own prompt tokens, as providers reported them, for one o200k token."""
    reported: dict[str, int] = {}
    counted: dict[str, int] = {}
    for row in rows:
        measures = row.state is CallState.SETTLED and row.purpose in ANSWERING
        if measures and row.prompt_o200k and row.usage.prompt:
            reported[row.model] = reported.get(row.model, 0) + row.usage.prompt
            counted[row.model] = counted.get(row.model, 0) + row.prompt_o200k
    return {model: Fraction(reported[model], counted[model]) for model in reported}


def in_model_tokens(o200k: int | Fraction, ratio: Fraction) -> int:
    """o200k tokens in a model's own count, to the nearest."""
    # As integers: an account does this for every prompt of every baseline.
    whole = o200k.denominator * ratio.denominator
    return (2 * o200k.numerator * ratio.numerator + whole) // (2 * whole)


def answered_question(
    asked: AskedQuestion, rows: Sequence[LedgerRow], ratios: Mapping[str, Fraction]
) -> AnsweredQuestion | None:
    """A question with its calls; None when no model answered it.

    The tokens of the asked shards are shared out among them as their prompts were estimated, and
    the share of a shard whose every call failed is left out: nobody would have read it either.

    Args:
        rows: of this question, in the order of time.
        ratios: of every model among them.
    """
    answers = [row for row in rows if row.purpose is Purpose.ANSWER]
    served = {row.shard: row for row in answers if row.state in _SERVED}
    if not served:
        return None
    last = {row.shard: row for row in answers} | served
    weights = {
        shard: Fraction(row.prefix_tokens) / ratios[row.model] for shard, row in last.items()
    }
    if not sum(weights.values()):
        weights = dict.fromkeys(last, Fraction(1))
    whole = sum(weights.values())
    return AnsweredQuestion(
        asked=asked,
        at=datetime.fromisoformat(asked.at),
        shards=tuple(
            AskedShard(
                shard=shard,
                model=row.model,
                price=row.price,
                prefix_sha256=row.prefix_sha256,
                tokens=in_model_tokens(
                    asked.asked_tokens * weights[shard] / whole, ratios[row.model]
                ),
                generated=_generated(one for one in rows if one.shard == shard),
            )
            for shard, row in served.items()
        ),
        joining=sum(_cost_of_words(row) for row in rows if row.shard not in served),
        generated=_generated(rows),
    )


def _generated(rows: Iterable[LedgerRow]) -> TokenUsage:
    answering = [row.usage for row in rows if row.purpose in ANSWERING]
    return TokenUsage(
        output=sum(usage.output for usage in answering),
        reasoning=sum(usage.reasoning for usage in answering),
    )


def _cost_of_words(row: LedgerRow) -> int:
    words = TokenUsage(output=row.usage.output, reasoning=row.usage.reasoning)
    return row.price.rates_for(row.usage.prompt).cost(words) if row.purpose in ANSWERING else 0
