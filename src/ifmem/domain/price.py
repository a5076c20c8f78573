"""What a model's tokens cost: whole pico-dollars per token, with source and date.

One pico-dollar is 10⁻¹² US dollar, so $1 per million tokens is 1,000,000 pico-dollars per token.
Nano-dollars would do for list prices, and not for half of $0.125, a batch rate.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from ifmem.domain.usage import TokenUsage

PICO = 10**12
"""Pico-dollars in a dollar."""


def usd(pico: int) -> str:
    """Pico-dollars as an exact decimal string in dollars: ``0.0125``."""
    text = format(Decimal(pico) / PICO, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def pico(dollars: str | Decimal) -> int:
    """Dollars as whole pico-dollars.

    Raises:
        ValueError: not a finite number, or a fraction of a pico-dollar.
    """
    try:
        exact = Decimal(dollars) * PICO
    except ArithmeticError as error:
        raise ValueError(f"{dollars!r} is no amount in dollars") from error
    if not exact.is_finite() or exact != exact.to_integral_value():
        raise ValueError(f"{dollars!r} is no whole number of pico-dollars")
    return int(exact)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """Pico-dollars per token of each bucket."""

    uncached: int
    cache_write_5m: int
    cache_write_1h: int
    cache_write_other: int
    cache_read: int
    output: int
    reasoning: int

    def cost(self, usage: TokenUsage) -> int:
        """Pico-dollars of a usage."""
        return (
            self.uncached * usage.uncached
            + self.cache_write_5m * usage.cache_write_5m
            + self.cache_write_1h * usage.cache_write_1h
            + self.cache_write_other * usage.cache_write_other
            + self.cache_read * usage.cache_read
            + self.output * usage.output
            + self.reasoning * usage.reasoning
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Tier:
    """Other rates for every token of a call whose prompt is longer than this."""

    above: int
    """Prompt tokens."""
    rates: Rates


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """A model's price at one moment."""

    rates: Rates
    tiers: tuple[Tier, ...] = ()
    """By ``above``, ascending."""
    storage: int = 0
    """Pico-dollars per token and hour of an explicit cache."""
    source: str
    """Where it was read: ``genai-prices 0.2.3``, ``settings``, ``free``."""
    as_of: str
    """The date of the source, ISO-8601."""

    def rates_for(self, prompt_tokens: int) -> Rates:
        """The rates of a call with so many prompt tokens."""
        rates = self.rates
        for tier in self.tiers:
            if prompt_tokens > tier.above:
                rates = tier.rates
        return rates

    def cost(self, usage: TokenUsage) -> int:
        """Pico-dollars of a call."""
        return self.rates_for(usage.prompt).cost(usage)

    @property
    def cliff(self) -> int | None:
        """Prompt tokens up to which the lowest rates hold; None when they always do."""
        return self.tiers[0].above if self.tiers else None


FREE = Price(
    rates=Rates(
        uncached=0,
        cache_write_5m=0,
        cache_write_1h=0,
        cache_write_other=0,
        cache_read=0,
        output=0,
        reasoning=0,
    ),
    source="free",
    as_of="",
)
"""Of what runs here: it costs time, not money."""
