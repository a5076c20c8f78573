"""The verbs of the account: what was spent, what was saved, and the rows to check it by."""

from __future__ import annotations

import asyncio
import sqlite3
from functools import partial
from itertools import islice

from ifmem import clock
from ifmem.domain.ledger import AskedQuestion, LedgerRow
from ifmem.domain.model import ModelCard
from ifmem.domain.price import usd
from ifmem.engine import projections
from ifmem.engine.savings import Account, account
from ifmem.errors import IfMemError, Invalid
from ifmem.llm.registry import Models
from ifmem.runtime import cost_shapes as shapes
from ifmem.runtime.space import Space
from ifmem.store import ledger
from ifmem.wire.accounts import CostReport, DayLimits, LedgerEntry, Projection
from ifmem.wire.calls import CostsCall, LedgerCall
from ifmem.wire.shapes import Page

_MOST_ROWS = 10_000
_MOST_QUERIES = 10**9


async def costs(space: Space, call: CostsCall) -> CostReport:
    """What was spent in a time, beside what the same questions would have cost otherwise.

    Raises:
        Invalid: a projection for no questions, or for more than a thousand million a day.
    """
    if call.project is not None and not 1 <= call.project <= _MOST_QUERIES:
        raise Invalid(
            f"costs cannot be projected for {call.project:,} questions a day: give 1 to "
            f"{_MOST_QUERIES:,}",
            project=call.project,
        )
    rows, questions = await asyncio.to_thread(
        space.database.read_together, partial(_read, since=call.since, until=call.until)
    )
    cards = _known_cards(space.models, {row.model for row in rows})
    seen = await asyncio.to_thread(account, rows, questions, cards)
    return CostReport(
        since=call.since,
        until=call.until,
        lines=[shapes.line(line) for line in seen.lines],
        usage=shapes.usage(seen.usage),
        cost_usd=usd(seen.cost),
        cost_usd_at_most=usd(seen.at_most),
        unknown_calls=sum(line.unknown for line in seen.lines),
        background_usd=usd(sum(line.cost for line in seen.background)),
        storage_usd=usd(sum(line.cost for line in seen.storage)),
        questions=seen.answered,
        cached_answers=seen.cached_answers,
        uncalled=seen.uncalled,
        baselines=[shapes.baseline(seen, one) for one in seen.baselines],
        models=[shapes.model(one, cards.get(one.model)) for one in seen.models],
        today=await _today(space),
        projection=None if call.project is None else _projection(seen, space.models, call.project),
    )


async def list_ledger(space: Space, call: LedgerCall) -> Page[LedgerEntry]:
    """The questions and then the calls of a time, a page at a time.

    Raises:
        Invalid: ``after`` is not the ``next`` of a page.
    """
    kind, place = _place(call.after)
    limit = max(1, min(call.limit, _MOST_ROWS))
    return await space.read(
        partial(_page, kind=kind, place=place, since=call.since, until=call.until, limit=limit)
    )


def _read(
    connection: sqlite3.Connection, since: str | None, until: str | None
) -> tuple[list[LedgerRow], list[AskedQuestion]]:
    calls = ledger.calls(connection, since=since or "", until=until)
    questions = ledger.questions(connection, since=since or "", until=until)
    return [row for _, row in calls], [question for _, question in questions]


def _page(
    connection: sqlite3.Connection,
    *,
    kind: str,
    place: ledger.Place,
    since: str | None,
    until: str | None,
    limit: int,
) -> Page[LedgerEntry]:
    items: list[LedgerEntry] = []
    if kind == "question":
        asked = ledger.questions(connection, since=since or "", until=until, after=place)
        questions = list(islice(asked, limit))
        items += [LedgerEntry(question=shapes.question(one)) for _, one in questions]
        if len(items) == limit:
            return Page(items, _next("question", questions[-1][0]))
        place = ledger.BEGINNING
    rows = ledger.calls(connection, since=since or "", until=until, after=place)
    calls = list(islice(rows, limit - len(items)))
    items += [LedgerEntry(call=shapes.call(one)) for _, one in calls]
    return Page(items, _next("call", calls[-1][0]) if len(items) == limit else None)


def _next(kind: str, place: ledger.Place) -> str:
    return f"{kind} {place[0]} {place[1]}"


def _place(after: str) -> tuple[str, ledger.Place]:
    if not after:
        return "question", ledger.BEGINNING
    match after.split(" "):
        case [("question" | "call") as kind, at, number] if number.isdecimal():
            return kind, (at, int(number))
    raise Invalid(f"{after[:60]!r} is no place in the ledger: give `next` of the page before")


def _known_cards(models: Models, names: set[str]) -> dict[str, ModelCard]:
    """The cards of those models that the settings still allow."""
    cards = {}
    for name in sorted(names):
        try:
            cards[name] = models.card(name)
        except IfMemError:
            continue
    return cards


async def _today(space: Space) -> DayLimits:
    left = await space.accounts.left_today()
    return DayLimits(
        spent_usd=usd(left.questions.spent),
        limit_usd=usd(left.questions.limit),
        background_spent_usd=usd(left.background.spent),
        background_limit_usd=usd(left.background.limit),
        resets_at=clock.stamp(left.resets_at),
    )


def _projection(seen: Account, models: Models, queries: int) -> Projection:
    price, why = None, None
    try:
        price = models.price(projections.PAPER_MODEL, clock.now())
    except IfMemError as error:
        why = error.message
    if price is None and why is None:
        why = f"nobody knows what {projections.PAPER_MODEL} costs"
    return shapes.projection(seen, price, queries=queries, why=why)
