"""Spending limits: what a call can cost at most, and whether that is still allowed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Literal

from ifmem.domain.price import Price, Rates

WriteBucket = Literal["cache_write_5m", "cache_write_1h", "cache_write_other"]

_WRITTEN_FOR: Mapping[timedelta | None, WriteBucket] = {
    timedelta(minutes=5): "cache_write_5m",
    timedelta(hours=1): "cache_write_1h",
}


class Which(StrEnum):
    """The limits."""

    QUESTION = "question"
    DAY = "day"
    """All questions of a space and UTC day."""
    BACKGROUND = "background"
    """What is spent without a question on a UTC day."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Purse:
    """A limit and what was spent of it, in pico-dollars."""

    which: Which
    limit: int
    spent: int
    """Costs of settled calls, and bounds of those whose cost is not known."""

    @property
    def left(self) -> int:
        """What may still be spent; never below 0, though a call may have cost over its bound."""
        return max(0, self.limit - self.spent)


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The limits a call is held against, in pico-dollars."""

    question: int | None
    """Of the call's question, all its calls together; None: no limit of its own."""
    day: int
    background: int


@dataclass(frozen=True, slots=True)
class Granted:
    """The call may be made."""


@dataclass(frozen=True, slots=True)
class Denied:
    """The call would pass a limit."""

    purse: Purse
    needed: int
    """Pico-dollars the call costs at most."""


def decide(purses: Sequence[Purse], needed: int) -> Granted | Denied:
    """Whether a call that costs at most ``needed`` fits every limit; else the first it would pass.

    What costs nothing is granted, whatever was spent.
    """
    for purse in purses:
        if needed > purse.left:
            return Denied(purse, needed)
    return Granted()


def upper_bound(
    price: Price, *, prompt_tokens: int, max_output: int, lifetime: timedelta | None = None
) -> int:
    """Pico-dollars that a call costs at most.

    Every prompt token is charged in the dearest bucket that can apply (uncached, read, or written
    for ``lifetime``; None is as the provider does), every generated one as the dearer of output
    and reasoning. Where the rates change with the prompt's length, the dearest length counts.

    Args:
        prompt_tokens: at most so many, in the model's own count.
        max_output: tokens it may generate.
    """
    return max(
        tokens * _dearest_input(rates, lifetime) + max_output * max(rates.output, rates.reasoning)
        for tokens, rates in _lengths(price, prompt_tokens)
    )


def written_as(lifetime: timedelta | None) -> WriteBucket:
    """The bucket of what is written to a cache for this long; None: as the provider does."""
    return _WRITTEN_FOR.get(lifetime, "cache_write_other")


def _dearest_input(rates: Rates, lifetime: timedelta | None) -> int:
    written: int = getattr(rates, written_as(lifetime))
    return max(rates.uncached, rates.cache_read, written)


def _lengths(price: Price, most: int) -> Iterator[tuple[int, Rates]]:
    """The longest prompt of each step of the price, up to ``most`` tokens."""
    steps = [tier.above for tier in price.tiers if tier.above < most]
    for tokens in (*steps, most):
        yield tokens, price.rates_for(tokens)
