"""``bench cost`` (B5): what 800K tokens cost in shards and in one window, at the prices of now.

No model is called: it is arithmetic on the table of prices, checked against itself and against the
calculator of the package that the prices come from. What calls really cost is in ``ifmem costs``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path

import msgspec

from ifmem import clock
from ifmem.benchmarks.conditions import Conditions, conditions
from ifmem.benchmarks.report import condition_lines, table, write
from ifmem.domain.model import Caching, ModelCard
from ifmem.domain.price import PICO, Price, usd
from ifmem.domain.usage import TokenUsage
from ifmem.engine.budgets import written_as
from ifmem.errors import IfMemError, IntegrityError
from ifmem.llm.registry import Models
from ifmem.settings import Settings

QUESTION, OUTPUT = 500, 300
"""Tokens of a question to a shard, and of its answer."""
QUERIES = 6_000
"""A day, as the seed paper has it (section 6.1)."""
_HOUR = timedelta(hours=1)


class Layout(msgspec.Struct, frozen=True):
    """A corpus laid out in prompts."""

    model: str
    shards: int
    tokens: int
    """In each, in the model's own count."""
    asked: int
    """Shards that a question goes to."""


LAYOUTS = (
    Layout("anthropic:claude-haiku-4-5", 4, 200_000, 4),
    Layout("anthropic:claude-haiku-5-5", 4, 200_000, 4),
    Layout("anthropic:claude-haiku-5-5", 9, 89_500, 9),
    Layout("anthropic:claude-haiku-5-5", 9, 89_500, 2),
    Layout("openai:gpt-6-luna", 4, 200_000, 4),
    Layout("openai:gpt-6-luna", 1, 800_000, 1),
    Layout("deepseek:deepseek-flash", 1, 800_000, 1),
    Layout("anthropic:claude-sonnet-5-5", 1, 800_000, 1),
)


class LayoutCost(msgspec.Struct, frozen=True):
    """What a layout costs in US dollars; null where nobody knows the price."""

    layout: Layout
    fits: bool
    """Documents, question and answer are within the window together."""
    source: str | None = None
    as_of: str | None = None
    cold_query_usd: str | None = None
    """A question whose shards are read anew."""
    first_query_usd: str | None = None
    """The same when they are written to the cache, for an hour where one can ask for that."""
    hot_query_usd: str | None = None
    """A question whose shards are read from it."""
    saved_query_usd: str | None = None
    saving: float | None = None
    pays_from: int | None = None
    """Questions in the lifetime from which writing has cost less than reading anew; null: never."""
    cold_daily_usd: str | None = None
    hot_daily_usd: str | None = None
    """While it is kept hot; what keeping it costs between questions is not in it."""
    saved_daily_usd: str | None = None
    storage_hour_usd: str | None = None
    """Of a cache object, where one is paid by the hour."""
    why: str | None = None


class Check(msgspec.Struct, frozen=True):
    """A rule that every row keeps."""

    rule: str
    rows: int


class CostBenchReport(msgspec.Struct, frozen=True):
    layouts: list[LayoutCost]
    queries: int
    """A day."""
    question_tokens: int
    output_tokens: int
    priced_at: str
    checks: list[Check]
    conditions: Conditions
    written: str = ""


def run(
    *,
    queries: int = QUERIES,
    settings: Settings | None = None,
    layouts: Sequence[Layout] = LAYOUTS,
    out: Path | None = None,
    note: Callable[[str], None] = lambda _: None,
) -> CostBenchReport:
    """Price every layout at this moment.

    Args:
        queries: a day.
        settings: with prices and providers of one's own.
        out: the folder for the report.

    Raises:
        IntegrityError: a row breaks a rule, or the prices disagree with their own calculator.
    """
    given = settings or Settings()
    models = Models(given, {}, directory=given.home_path)
    at = clock.now()
    costs = [_priced(models, layout, at, queries) for layout in layouts]
    for row in costs:
        note(f"{_name(row.layout)}: {row.why or row.source}")
    report = CostBenchReport(
        layouts=costs,
        queries=queries,
        question_tokens=QUESTION,
        output_tokens=OUTPUT,
        priced_at=clock.stamp(at),
        checks=[_sums_are_exact(costs, queries), _calculator_agrees(costs, at)],
        conditions=conditions("no bus"),
    )
    path = write("cost", report, {}, lines=lines(report), out=out, directory=Path.cwd())
    return msgspec.structs.replace(report, written=str(path))


def lines(report: CostBenchReport) -> list[str]:
    """The report for a person."""
    return [
        f"cost: {report.queries:,} questions a day of {report.question_tokens} tokens a shard, "
        f"{report.output_tokens} tokens answered; prices of {report.priced_at}",
        # Without the line about bus and tokeniser: neither takes part.
        *condition_lines(report.conditions)[:2],
        "no model was called: arithmetic on list prices, tokens in each model's own count",
        "",
        *table(
            ("", "cold $", "first $", "hot $", "saved", "pays from", "cold $/day", "hot $/day"),
            [_row(one) for one in report.layouts],
        ),
        "",
        *(f"{_name(one.layout)}: {_note(one)}" for one in report.layouts),
        "",
        *(f"checked on {one.rows} rows: {one.rule}" for one in report.checks),
        *([f"report: {report.written}"] if report.written else []),
    ]


def _priced(models: Models, layout: Layout, at: datetime, queries: int) -> LayoutCost:
    card = models.card(layout.model)
    fits = layout.tokens + QUESTION + OUTPUT <= card.window
    try:
        price = models.price(layout.model, at)
    except IfMemError as error:
        return LayoutCost(layout, fits, why=error.message)
    if price is None:
        return LayoutCost(layout, fits, why="nobody knows what it costs")
    cold = _of_query(layout, price, "uncached")
    first = _of_query(layout, price, written_as(_lifetime(card)))
    hot = _of_query(layout, price, "cache_read")
    stored = price.storage if card.cache.caching is Caching.OBJECT else 0
    return LayoutCost(
        layout,
        fits,
        source=price.source,
        as_of=price.as_of,
        cold_query_usd=usd(cold),
        first_query_usd=usd(first),
        hot_query_usd=usd(hot),
        saved_query_usd=usd(cold - hot),
        saving=round(1 - hot / cold, 6) if cold else None,
        pays_from=_pays_from(cold, first, hot),
        cold_daily_usd=usd(queries * cold),
        hot_daily_usd=usd(queries * hot),
        saved_daily_usd=usd(queries * cold - queries * hot),
        storage_hour_usd=usd(stored * layout.shards * layout.tokens) if stored else None,
    )


def usage(layout: Layout, bucket: str) -> TokenUsage:
    """Of one shard's call, its documents in this bucket."""
    return TokenUsage(output=OUTPUT, **_prompt(layout.tokens, bucket))


def _prompt(tokens: int, bucket: str) -> dict[str, int]:
    if bucket == "uncached":
        return {"uncached": tokens + QUESTION}
    return {"uncached": QUESTION, bucket: tokens}


def _of_query(layout: Layout, price: Price, bucket: str) -> int:
    return layout.asked * price.cost(usage(layout, bucket))


def _lifetime(card: ModelCard) -> timedelta | None:
    """An hour where one can ask for it, else the longest there is."""
    lifetimes = card.cache.lifetimes
    return _HOUR if _HOUR in lifetimes else max(lifetimes, default=None)


def _pays_from(cold: int, first: int, hot: int) -> int | None:
    """The least n with first + (n − 1) · hot < n · cold."""
    if hot >= cold:
        return 1 if first < cold else None
    return max(1, (first - hot) // (cold - hot) + 1)


def _sums_are_exact(rows: Sequence[LayoutCost], queries: int) -> Check:
    """What is printed obeys B5, read back from the printed text."""
    priced = [row for row in rows if row.cold_query_usd is not None]
    for row in priced:
        cold, hot, saved = (
            Decimal(text or 0)
            for text in (row.cold_query_usd, row.hot_query_usd, row.saved_query_usd)
        )
        daily, hot_daily, saved_daily = (
            Decimal(text or 0)
            for text in (row.cold_daily_usd, row.hot_daily_usd, row.saved_daily_usd)
        )
        sums = (saved == cold - hot, daily == queries * cold, hot_daily == queries * hot)
        if not all((*sums, saved_daily == daily - hot_daily)):
            raise IntegrityError(f"the row of {_name(row.layout)} does not add up: report this")
    return Check("daily = queries × per query, savings = a − b", len(priced))


def _calculator_agrees(rows: Sequence[LayoutCost], at: datetime) -> Check:
    """The package's own calculator comes to the same dollars, where the price is the package's."""
    rule = "cold and hot as the calculator of genai-prices has them"
    listed = [row for row in rows if (row.source or "").startswith("genai-prices")]
    for row in listed:
        for bucket, told in (("uncached", row.cold_query_usd), ("cache_read", row.hot_query_usd)):
            theirs = row.layout.asked * _by_their_calculator(row.layout, bucket, at)
            if theirs != Decimal(told or 0):
                raise IntegrityError(
                    f"{_name(row.layout)} costs ${told} here and ${theirs} by genai-prices: the "
                    "table is read wrongly, report this"
                )
    return Check(rule, len(listed))


def _by_their_calculator(layout: Layout, bucket: str, at: datetime) -> Decimal:
    from genai_prices import Usage, calc_price

    provider, _, model = layout.model.partition(":")
    one = usage(layout, bucket)
    price = calc_price(
        # Theirs has the whole prompt in `input_tokens`.
        Usage(
            input_tokens=one.prompt,
            cache_read_tokens=one.cache_read,
            output_tokens=one.output,
        ),
        model,
        provider_id={"gemini": "google"}.get(provider, provider),
        genai_request_timestamp=at,
    )
    total: Decimal = price.total_price
    return total.quantize(Decimal(1) / PICO).normalize()


def _name(layout: Layout) -> str:
    asked = "" if layout.asked == layout.shards else f", {layout.asked} asked"
    return f"{layout.shards} × {layout.tokens:,} {layout.model}{asked}"


def _row(one: LayoutCost) -> Sequence[str]:
    figures = (one.cold_query_usd, one.first_query_usd, one.hot_query_usd)
    daily = (one.cold_daily_usd, one.hot_daily_usd)
    return [
        _name(one.layout),
        *(_dollars(text, 5) for text in figures),
        "–" if one.saving is None else f"{one.saving:.1%}",
        "–" if one.pays_from is None else f"{one.pays_from}",
        *(_dollars(text, 2) for text in daily),
    ]


def _dollars(text: str | None, places: int) -> str:
    return "–" if text is None else f"{Decimal(text):,.{places}f}"


def _note(one: LayoutCost) -> str:
    if one.why is not None:
        return one.why
    parts = [f"price {one.source} of {one.as_of}"]
    if not one.fits:
        parts.append("NOMINAL: documents, question and answer do not fit the window together")
    if one.storage_hour_usd is not None:
        parts.append(f"storage ${one.storage_hour_usd} an hour beside")
    return "; ".join(parts)
