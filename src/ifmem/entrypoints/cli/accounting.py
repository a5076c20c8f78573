"""The command `costs`: what was spent and saved, for a person, and the rows to check it by."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Annotated

import typer

from ifmem.entrypoints.cli.paper import Bold, Dim, Paper, count
from ifmem.entrypoints.cli.session import Session, command
from ifmem.errors import Invalid

if TYPE_CHECKING:
    from ifmem.wire.accounts import CostReport, LedgerEntry, ProjectedRow, Projection, SpentLine
    from ifmem.wire.answers import Usage

_DIGITS = 3
"""Of an amount below a dollar; above it cents are enough."""

_WAYS = {
    "ifmem": "as it was",
    "reread": "by full re-reading",
    "reread_cached": "by re-reading with the provider's cache",
    "one_window": "by one hot window",
    "retrieval": "by retrieval alone, uncached",
}


def register(app: typer.Typer) -> None:
    """Add the command."""
    command(app, "costs")(costs)


async def costs(
    session: Session,
    since: Annotated[
        str | None, typer.Option("--since", help="Nothing before this date or time (UTC).")
    ] = None,
    until: Annotated[
        str | None, typer.Option("--until", help="Nothing after this date or time (UTC).")
    ] = None,
    project: Annotated[
        str | None,
        typer.Option(
            "--project", metavar="N/day", help="Also what so many questions a day would cost."
        ),
    ] = None,
    calls: Annotated[
        bool,
        typer.Option("--calls", help="The rows instead: every question and call, one a line."),
    ] = False,
) -> None:
    """What model calls used and cost, and what other ways would have cost; in US dollars."""
    queries = _per_day(project)
    async with session.memory() as memory:
        if calls:
            paper = Paper(sys.stdout, session.directory)
            async for entry in memory.ledger(since=since, until=until):
                _write(session, paper, entry)
            return
        report = await memory.costs(since=since, until=until, project=queries)
    session.give(report, lambda paper: draw(paper, report))


def draw(paper: Paper, report: CostReport) -> None:
    """The account for a person."""
    paper.line(Bold(_headline(report)))
    if not report.lines:
        paper.line(Dim("No model was called: answers of sentences cost nothing."))
    else:
        _lines(paper, report.lines)
    for text in _parts(report):
        paper.line(Dim(text))
    if report.lines:
        paper.line()
        _baselines(paper, report)
        paper.line()
        _models(paper, report)
    paper.line(
        Dim(
            f"today: {dollars(report.today.spent_usd)} of {dollars(report.today.limit_usd)} on "
            f"questions, {dollars(report.today.background_spent_usd)} of "
            f"{dollars(report.today.background_limit_usd)} in the background, until "
            f"{report.today.resets_at}"
        )
    )
    if report.projection is not None:
        _projection(paper, report.projection)


def dollars(amount: str | None) -> str:
    """An exact amount as a person reads it: ``$12.60``, ``$0.00123``; ``–`` for none."""
    if amount is None:
        return "–"
    exact = Decimal(amount)
    sign, size = ("-" if exact < 0 else ""), abs(exact)
    if size == 0 or size >= 1:
        return f"{sign}${size:,.2f}"
    places = max(2, _DIGITS - 1 - size.adjusted())
    return f"{sign}${size:,.{places}f}"


def interval(known: str, at_most: str) -> str:
    """An amount, or the interval it lies in while calls are unknown."""
    return dollars(known) if known == at_most else f"{dollars(known)} to {dollars(at_most)}"


def share(part: float | None) -> str:
    """A share in percent: ``95.3 %``, ``-12.0 %``."""
    return "–" if part is None else f"{100 * part:,.1f} %"


def _headline(report: CostReport) -> str:
    spent = interval(report.cost_usd, report.cost_usd_at_most)
    asked = count(report.questions, "question")
    return f"{spent} for {asked} answered by models"


def _parts(report: CostReport) -> list[str]:
    unknown = (
        f"{count(report.unknown_calls, 'call')} under way or with an end that was not seen: the "
        "total is an interval"
    )
    return [
        text
        for holds, text in (
            (report.unknown_calls, unknown),
            (report.lines, f"background {dollars(report.background_usd)} of it"),
            (Decimal(report.storage_usd), f"cache storage {dollars(report.storage_usd)} of it"),
            (
                report.cached_answers,
                f"{count(report.cached_answers, 'answer')} from the answer cache: 0 tokens",
            ),
        )
        if holds
    ]


def _lines(paper: Paper, lines: Sequence[SpentLine]) -> None:
    header = ("model", "for", "calls", "uncached", "written 5m", "written 1h", "written", "read")
    paper.table(
        (*header, "output", "reasoning", "cost"),
        [
            (
                one.model,
                one.purpose + (" (background)" if one.background else ""),
                one.calls,
                one.usage.uncached,
                one.usage.cache_write_5m,
                one.usage.cache_write_1h,
                one.usage.cache_write_other,
                one.usage.cache_read,
                one.usage.output,
                one.usage.reasoning,
                interval(one.cost_usd, one.cost_usd_at_most),
            )
            for one in lines
        ],
    )


def _baselines(paper: Paper, report: CostReport) -> None:
    spent = interval(report.cost_usd, report.cost_usd_at_most)
    paper.table(
        ("the same questions", "read anew", "from a cache", "cost", "saved", "saving", ""),
        [
            (_WAYS["ifmem"], *_read(report.usage), spent, "", "", ""),
            *(
                (
                    _WAYS.get(one.baseline, one.baseline),
                    *_read(one.usage),
                    dollars(one.cost_usd),
                    dollars(one.saved_usd),
                    _between(one.saving_at_least, one.saving),
                    one.why or "",
                )
                for one in report.baselines
            ),
        ],
    )


def _read(usage: Usage | None) -> tuple[int | None, int | None]:
    """Prompt tokens that were not in a cache, written ones too; and those that were."""
    if usage is None:
        return None, None
    return usage.uncached + usage.cache_write, usage.cache_read


def _between(least: float | None, most: float | None) -> str:
    return share(most) if least == most else f"{share(least)} to {share(most)}"


def _models(paper: Paper, report: CostReport) -> None:
    for one in report.models:
        sources = ", ".join(
            " of ".join(part for part in (price.source, price.as_of) if part)
            for price in one.prices
        )
        how = "measured in this log" if one.measured else "not measured: as its card says"
        paper.line(
            Dim(
                f"{one.model}: prices {sources}; {one.tokens_per_o200k:.3f} of its tokens for one "
                f"o200k token, {how}"
            )
        )


def _projection(paper: Paper, given: Projection) -> None:
    paper.line()
    paper.line(Bold(f"{given.queries:,} questions a day"))
    if given.measured:
        paper.line("at what a question was measured to cost, the mix as it was:")
        _projected(paper, given.measured)
    if given.paper:
        assert given.paper_price is not None
        source = f"{given.paper_price.source} of {given.paper_price.as_of}"
        paper.line()
        paper.line(f"the paper's tokens at the prices of {given.paper_model} ({source}):")
        _projected(paper, given.paper)
    paper.line()
    paper.line("the paper's infrastructure, a month of 30 days:")
    paper.table(
        ("component", "paper", "computed", ""),
        [
            (one.name, f"${one.printed_monthly_usd}", dollars(one.monthly_usd), one.note)
            for one in given.infrastructure
        ],
    )
    paper.line(f"together {dollars(given.infrastructure_monthly_usd)}")
    if given.why:
        paper.line(Dim(given.why))


def _projected(paper: Paper, rows: Sequence[ProjectedRow]) -> None:
    printed = any(row.printed_daily_usd for row in rows)
    extra = ("paper, a query", "paper, 6,000 a day") if printed else ()
    paper.table(
        ("", "a question", "a day", "a year", "saved a day", "saving", *extra),
        [
            (
                _WAYS.get(row.name, row.name),
                dollars(row.per_query_usd),
                dollars(row.daily_usd),
                dollars(row.annual_usd),
                dollars(row.saved_daily_usd),
                share(row.saving),
                *(
                    f"${value}" if value else "–"
                    for value in (row.printed_per_query_usd, row.printed_daily_usd)
                    if printed
                ),
            )
            for row in rows
        ],
    )


def _write(session: Session, paper: Paper, entry: LedgerEntry) -> None:
    if session.options.as_json:
        import msgspec

        sys.stdout.write(msgspec.json.encode(entry).decode() + "\n")
    elif entry.question is not None:
        asked = entry.question
        how = "from the answer cache" if asked.cached_answer else asked.model
        paper.line(
            Dim(f"{asked.at}  "),
            f"question {asked.question_id}",
            Dim(f"  {asked.asked_tokens:,} tokens asked, {how}"),
        )
    elif entry.call is not None:
        from ifmem.domain.price import usd

        made = entry.call
        paper.line(
            Dim(f"{made.at}  "),
            f"{made.model} {made.purpose} {made.state}  ",
            Bold(dollars(usd(made.cost_pico_usd))),
            Dim(f"  at most {dollars(usd(made.bound_pico_usd))}  {made.call_id}"),
        )


def _per_day(text: str | None) -> int | None:
    """``6000`` or ``6000/day``."""
    if text is None:
        return None
    number = text.removesuffix("/day").replace(",", "").replace("_", "").strip()
    if not number.isdecimal() or int(number) == 0:
        raise Invalid(
            f"{text[:60]!r} is no number of questions: write --project 6000/day", project=text[:60]
        )
    return int(number)
