"""The account as the wire has it: money as exact decimals, shares rounded to six digits."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from ifmem import clock
from ifmem.domain.ledger import AskedQuestion, LedgerRow
from ifmem.domain.model import ModelCard
from ifmem.domain.price import Price, usd
from ifmem.domain.usage import TokenUsage
from ifmem.engine import projections
from ifmem.engine.baselines import Baseline, Way
from ifmem.engine.savings import Account, Line, PricedModel, saving
from ifmem.wire import accounts as wire
from ifmem.wire.answers import Usage

_SHARE_DIGITS = 6


def line(one: Line) -> wire.SpentLine:
    """A line of the account."""
    return wire.SpentLine(
        model=one.model,
        purpose=one.purpose,
        background=one.background,
        calls=one.calls,
        failed=one.failed,
        unknown=one.unknown,
        usage=usage(one.usage),
        cost_usd=usd(one.cost),
        cost_usd_at_most=usd(one.cost + one.held),
        storage_token_hours=one.storage_token_hours,
    )


def baseline(seen: Account, one: Baseline) -> wire.BaselineShape:
    """A baseline beside what was spent."""
    if one.cost is None:
        return wire.BaselineShape(one.way, None, None, None, None, None, one.why)
    return wire.BaselineShape(
        baseline=one.way,
        cost_usd=usd(one.cost),
        usage=usage(one.usage),
        saved_usd=usd(one.cost - seen.cost),
        saving=_share(seen.cost, one.cost),
        saving_at_least=_share(seen.at_most, one.cost),
        why=None if one.cost else "it would cost nothing either",
    )


def model(one: PricedModel, card: ModelCard | None) -> wire.CostedModel:
    """A model as the baselines take it."""
    rules = None if card is None else card.cache
    sources = dict.fromkeys((price.source, price.as_of) for price in one.prices)
    lifetimes = [] if rules is None else [int(clock.in_seconds(one)) for one in rules.lifetimes]
    return wire.CostedModel(
        model=one.model,
        prices=[wire.PriceSource(source, as_of) for source, as_of in sources],
        tokens_per_o200k=float(round(one.ratio, _SHARE_DIGITS)),
        measured=one.is_measured,
        window=None if card is None else card.window,
        caching=None if rules is None else rules.caching,
        least_tokens=None if rules is None else rules.least_tokens,
        lifetimes_seconds=None if rules is None else lifetimes,
        read_extends=None if rules is None else rules.read_extends,
    )


def projection(
    seen: Account, price: Price | None, *, queries: int, why: str | None
) -> wire.Projection:
    """The paper's tables; ``price`` is that of its model now, None for the reason ``why``."""
    measured: Sequence[projections.Projected] = ()
    whys = [] if why is None else [why]
    if seen.answered:
        known = {one.way.value: one.cost for one in seen.baselines if one.cost is not None}
        measured = projections.measured(
            {Way.REREAD.value: known.pop(Way.REREAD), projections.OURS: seen.cost, **known},
            answered=seen.answered,
            queries=queries,
            against=Way.REREAD,
        )
    else:
        whys.append("no question was answered by a model in this time: there is none to project")
    paper = () if price is None else projections.as_the_paper_assumes(price, queries=queries)
    components = projections.infrastructure(price, paper)
    monthly = [one.monthly for one in components if one.monthly is not None]
    return wire.Projection(
        queries=queries,
        measured=[_projected(one) for one in measured],
        paper=[_projected(one) for one in paper],
        infrastructure=[
            wire.InfrastructureRow(
                name=one.name,
                monthly_usd=None if one.monthly is None else usd(one.monthly),
                printed_monthly_usd=one.printed,
                note=one.note,
            )
            for one in components
        ],
        infrastructure_monthly_usd=usd(sum(monthly)) if len(monthly) == len(components) else None,
        paper_model=projections.PAPER_MODEL,
        paper_price=None if price is None else wire.PriceSource(price.source, price.as_of),
        why="; ".join(whys) or None,
    )


def question(one: AskedQuestion) -> wire.LoggedQuestion:
    """A question of the log."""
    return msgspec.convert(one, wire.LoggedQuestion, from_attributes=True)


def call(row: LedgerRow) -> wire.LoggedCall:
    """A row of the log."""
    held = msgspec.to_builtins(row)
    held["bound_pico_usd"], held["cost_pico_usd"] = held.pop("bound"), held.pop("cost")
    held["usage"]["cache_write"] = row.usage.cache_write
    return msgspec.convert(held, wire.LoggedCall)


def usage(one: TokenUsage) -> Usage:
    """Tokens in their buckets."""
    return msgspec.convert(one, Usage, from_attributes=True)


def _projected(one: projections.Projected) -> wire.ProjectedRow:
    return wire.ProjectedRow(
        name=one.name,
        queries=one.queries,
        per_query_usd=usd(one.per_query),
        daily_usd=usd(one.daily),
        annual_usd=usd(one.annual),
        saved_daily_usd=usd(one.saved_daily),
        saved_annual_usd=usd(one.saved_annual),
        saving=None if one.saving is None else float(round(one.saving, _SHARE_DIGITS)),
        tokens_per_query=one.tokens,
        printed_per_query_usd=one.printed_per_query,
        printed_daily_usd=one.printed_daily,
    )


def _share(ours: int, other: int) -> float | None:
    saved = saving(ours, other)
    return None if saved is None else float(round(saved, _SHARE_DIGITS))
