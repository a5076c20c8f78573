"""What so many questions a day would cost: as measured, and as the seed paper assumed.

Every row is made from one whole number of pico-dollars per question, so that a day is exactly its
questions, a year exactly its days, and a saving exactly the difference of two rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction

from ifmem.domain.price import Price
from ifmem.domain.usage import TokenUsage

DAYS_A_YEAR = 365
DAYS_A_MONTH = 30
OURS = "ifmem"
"""The row of what was really spent, background and warming in it."""

PAPER_MODEL = "anthropic:claude-haiku-4-5"
"""Whom the paper's tables are about (section 6.2: "4 × Haiku 4.5")."""
PAPER_QUERIES = 6_000
"""A day (section 6.1)."""
_PAPER_SHARDS, _PAPER_SHARD_TOKENS = 4, 200_000
_WITHOUT, _WITH = 100_000, 30_000
"""Tokens of a query without and with the memory (section 6.1)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Projected:
    """One way for so many questions a day, in pico-dollars."""

    name: str
    queries: int
    """A day."""
    per_query: int
    against: int
    """Pico-dollars per question of the row it is compared with."""
    tokens: int | None = None
    """Of a question, where the paper says so."""
    printed_per_query: str | None = None
    """Dollars, as the paper prints them (section 3.1)."""
    printed_daily: str | None = None
    """Dollars of 6,000 queries, as the paper prints them (section 6.1)."""

    @property
    def daily(self) -> int:
        """All questions of a day."""
        return self.queries * self.per_query

    @property
    def annual(self) -> int:
        """365 days."""
        return DAYS_A_YEAR * self.daily

    @property
    def saved_daily(self) -> int:
        """Less than the row it is compared with; negative when it is more."""
        return self.queries * self.against - self.daily

    @property
    def saved_annual(self) -> int:
        """Of 365 days."""
        return DAYS_A_YEAR * self.saved_daily

    @property
    def saving(self) -> Fraction | None:
        """Share of the compared row's cost; None where that costs nothing."""
        return 1 - Fraction(self.per_query, self.against) if self.against else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Component:
    """A line of the paper's infrastructure table, a month of 30 days."""

    name: str
    printed: str
    """As the paper has it (section 6.2)."""
    monthly: int | None
    """Pico-dollars; None where there is no price to compute with."""
    note: str


def measured(
    costs: Mapping[str, int], *, answered: int, queries: int, against: str
) -> tuple[Projected, ...]:
    """So many questions a day at what a question was measured to cost, the mix as it was.

    Args:
        costs: pico-dollars of all answered questions, by way.
        answered: how many these were, at least one.
        against: the way that the others are compared with.
    """
    each = {name: _rounded(Fraction(cost, answered)) for name, cost in costs.items()}
    return tuple(
        Projected(name=name, queries=queries, per_query=cost, against=each[against])
        for name, cost in each.items()
    )


def as_the_paper_assumes(price: Price, *, queries: int) -> tuple[Projected, ...]:
    """The paper's tokens per query at real prices of input; the paper counts nothing else."""
    without = price.cost(TokenUsage(uncached=_WITHOUT))
    rows = (
        ("without a memory", _WITHOUT, without, "0.0012", "18"),
        ("with its memory", _WITH, price.cost(TokenUsage(uncached=_WITH)), "0.00036", "5.40"),
        (
            "all read from a cache",
            _WITHOUT,
            price.cost(TokenUsage(cache_read=_WITHOUT)),
            None,
            None,
        ),
    )
    return tuple(
        Projected(
            name=name,
            queries=queries,
            per_query=cost,
            against=without,
            tokens=tokens,
            printed_per_query=each,
            printed_daily=daily,
        )
        for name, tokens, cost, each, daily in rows
    )


def infrastructure(price: Price | None, rows: tuple[Projected, ...]) -> tuple[Component, ...]:
    """The paper's monthly table.

    Args:
        price: of the paper's model; None when it is not known.
        rows: as the paper assumes, the one with its memory second.
    """
    queries = DAYS_A_MONTH * rows[1].daily if rows else None
    hot = None if price is None else _kept_hot(price)
    return (
        Component(name="Redis", printed="0", monthly=0, note="the embedded server runs here"),
        Component(
            name="shards kept hot",
            printed="8",
            monthly=hot,
            note="4 × 200,000 tokens written once for an hour, then read every hour",
        ),
        Component(
            name="librarians",
            printed="0",
            monthly=0,
            note="they call no model; a free quota is not a price",
        ),
        Component(name="bridge", printed="0", monthly=0, note="the daemon and SQLite run here"),
        Component(
            name="queries",
            printed="378",
            monthly=queries,
            note="the paper adds $12.60 a day: what its own table saves, not what is left",
        ),
    )


def _kept_hot(price: Price) -> int:
    """A month of the paper's shards: one write each, and a read each time an hour ends."""
    written = price.cost(TokenUsage(cache_write_1h=_PAPER_SHARD_TOKENS))
    read = price.cost(TokenUsage(cache_read=_PAPER_SHARD_TOKENS))
    return _PAPER_SHARDS * (written + (DAYS_A_MONTH * 24 - 1) * read)


def _rounded(amount: Fraction) -> int:
    """To the nearest whole pico-dollar."""
    return int(amount + Fraction(1, 2))
