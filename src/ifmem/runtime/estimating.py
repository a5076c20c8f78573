"""What a question would cost: every prompt as it would be sent, and no call."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from ifmem import clock, tokens
from ifmem.bus.state import ShardState
from ifmem.domain.model import EXTRACTIVE, ModelCard
from ifmem.domain.price import Price, usd
from ifmem.domain.usage import TokenUsage
from ifmem.engine.budgets import upper_bound
from ifmem.engine.hotness import Heat
from ifmem.engine.shard_models import model_of
from ifmem.errors import ConfigError
from ifmem.runtime.question_routing import Routed
from ifmem.runtime.shard_prompts import fitting, prompt_of
from ifmem.runtime.synthesising import MOST_OUTPUT
from ifmem.wire.answers import Estimate

TYPICAL_OUTPUT = 200
"""Tokens of a shard's answer: two quotes, a claim each, and a sentence."""
_WAVES = 2
"""Times a shard is asked at most: once, and once in a dispute."""
_LENGTHS = 3
"""Of the longest answer: what was cut off is asked for again with twice the room."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sized:
    """One shard's prompt in its model's tokens."""

    card: ModelCard
    price: Price
    prefix: int
    question: int
    hot: int
    """Tokens of the prefix that the provider was last reported to hold."""

    def expected(self) -> int:
        """Pico-dollars when what is hot still is."""
        cold = self.prefix - self.hot
        usage = TokenUsage(
            uncached=cold + self.question, cache_read=self.hot, output=TYPICAL_OUTPUT
        )
        return self.price.cost(usage)

    def at_most(self, max_output: int) -> int:
        """Pico-dollars of one call when nothing is hot."""
        lifetime = max(self.card.cache.lifetimes, default=None)
        return upper_bound(
            self.price,
            prompt_tokens=self.prefix + self.question,
            max_output=max_output,
            lifetime=lifetime,
        )


async def estimated(routed: Routed) -> Estimate:
    """The estimate of a question that was routed.

    Raises:
        ConfigError: nobody knows what a model costs.
    """
    asking, space = routed.asking, routed.asking.space
    of = {state.number: state for state in routed.states}
    asked = [of[n] for n in routed.chosen.asked]
    # A shard that was named is asked alone; else all may be, one after the other.
    alone = asking.hint in routed.chosen.asked
    others = [s for s in routed.states if s.active and s not in asked and not alone]
    first = [await _sized(routed, state) for state in asked]
    further = [await _sized(routed, state) for state in others]
    sized = [one for one in first if one is not None]
    everyone = [one for one in (*first, *further) if one is not None]
    output = asking.models.max_output
    at_most = sum(_WAVES * one.at_most(_LENGTHS * output) for one in everyone)
    at_most += _joining(everyone)
    left = await space.accounts.left_today()
    allowed = min(asking.limit, left.questions.left)
    return Estimate(
        shards_asked=[state.number for state in asked],
        models=[model_of(asking.models, state.number, state.speciality).model for state in asked],
        prompt_tokens=sum(one.prefix + one.question for one in sized),
        hot_tokens=sum(one.hot for one in sized),
        expected_usd=usd(sum(one.expected() for one in sized)),
        at_most_usd=usd(at_most),
        allowed_usd=usd(allowed),
        within=at_most <= allowed,
        prices=list(dict.fromkeys(_priced(one) for one in everyone)),
        query_id=asking.question_id,
    )


async def _sized(routed: Routed, state: ShardState) -> _Sized | None:
    """What asking a shard would send; None where no model is called."""
    asking, space = routed.asking, routed.asking.space
    name, _ = model_of(asking.models, state.number, state.speciality)
    if name == EXTRACTIVE:
        return None
    card = space.models.card(name)
    price = await asyncio.to_thread(space.models.price, name, clock.now())
    if price is None:
        raise ConfigError(f"nobody knows what {name} costs: write it as [[prices]]", model=name)
    context = await space.contexts.fetch(state.number)
    shown = await fitting(asking, state, context, card, "")
    if not shown.documents:
        return None
    prompt = prompt_of(asking, card, shown, "", None)
    factor = space.calibration.factor(card, state.speciality)
    before = await asyncio.to_thread(tokens.count, prompt.rules)
    before += shown.text.tokens if shown.whole else 0
    after = await asyncio.to_thread(tokens.count, prompt.question)
    prefix = round(before * factor)
    now = clock.now()
    known = space.warmth.state(state.number, str(card.ref), prompt.prefix_sha256, now)
    return _Sized(
        card=card,
        price=price,
        prefix=prefix,
        question=round(after * factor),
        hot=prefix if shown.whole and known.state(now) is Heat.HOT else 0,
    )


def _joining(everyone: Sequence[_Sized]) -> int:
    """Pico-dollars of the synthesis, by the dearest model that may do it."""
    if len(everyone) < 2:
        return 0
    quoted = sum(one.question for one in everyone) + len(everyone) * TYPICAL_OUTPUT
    return max(
        upper_bound(one.price, prompt_tokens=quoted, max_output=MOST_OUTPUT) for one in everyone
    )


def _priced(one: _Sized) -> str:
    return f"{one.card.ref}: {one.price.source} {one.price.as_of}".strip()
