"""How an answer, and an estimate of one, look to a person."""

from __future__ import annotations

from collections.abc import Sequence

from ifmem.entrypoints.cli.paper import Accent, Bold, Dim, Paper, count, one_line
from ifmem.wire.answers import Answer, ConsultedShard, Disagreement, Estimate, Usage


def answer(paper: Paper, value: Answer) -> None:
    """The answer, its citations, what stands against it, and how it came about in dim lines."""
    if value.answer is None:
        paper.line("Nothing that is loaded supports an answer.")
    else:
        paper.line(Bold(value.answer))
    if value.citations:
        paper.line()
    for number, one in enumerate(value.citations, start=1):
        notes = [
            text
            for holds, text in ((not one.verified, "not verified"), (one.stale, "changed since"))
            if holds
        ]
        paper.line(
            f"[{number}] ",
            Accent(paper.place(one.source, one.lines)),
            f'  "{one_line(one.quote)}"',
            Dim(f"  ({', '.join(notes)})" if notes else ""),
        )
    for disagreement in value.disagreements:
        _disagreement(paper, disagreement)
    if value.missing:
        paper.line()
        paper.line(Dim("not found: "), one_line(value.missing))
    paper.line()
    for shard in value.shards:
        _shard(paper, shard)
    for passed in value.passed_over:
        told = f"librarian {passed.librarian} ({passed.model}) did not answer: {passed.reason}"
        paper.line(Dim(told))
    paper.line(Dim(" · ".join(part for part in _how(value) if part)))


def estimate(paper: Paper, value: Estimate) -> None:
    """What a question would cost, by whom, and whether the limits allow it."""
    paper.line(
        Bold(f"about ${value.expected_usd}, at most ${value.at_most_usd}"),
        Dim(f"  of ${value.allowed_usd} allowed"),
    )
    if not value.within:
        paper.line("It may reach a limit: what was found until then would be the answer.")
    for number, model in zip(value.shards_asked, value.models, strict=True):
        paper.line(Dim(f"shard {number}: "), model)
    hot = f", {value.hot_tokens:,} of them hot" if value.hot_tokens else ""
    paper.line(Dim(f"{count(value.prompt_tokens, 'token')} of prompts{hot}"))
    for price in value.prices:
        paper.line(Dim(f"price of {price}"))


def numbers(shards: Sequence[int]) -> str:
    """Shards by number: ``shards 1, 2``."""
    if not shards:
        return ""
    return ("shard " if len(shards) == 1 else "shards ") + ", ".join(map(str, shards))


def _how(value: Answer) -> list[str]:
    """Routing, model, tokens, cost and time."""
    spent = f"{value.model}: {count(_all_tokens(value.usage), 'token')}, ${value.cost_usd}"
    return [
        value.routing.rstrip("."),
        "asked " + (numbers(value.shards_asked) or "no shard"),
        f"missing {numbers(value.shards_missing)}" if value.shards_missing else "",
        f"{value.rounds} rounds" if value.rounds > 1 else "",
        f"{value.unverified} unproved and dropped" if value.unverified else "",
        spent + _of_which(value.usage),
        "kept from the same question before" if value.cached else "",
        f"{value.elapsed_ms:.1f} ms",
    ]


def _all_tokens(usage: Usage) -> int:
    prompt = usage.uncached + usage.cache_write + usage.cache_read
    return prompt + usage.output + usage.reasoning


def _of_which(usage: Usage) -> str:
    parts = [
        f"{number:,} {name}"
        for number, name in (
            (usage.cache_read, "read from cache"),
            (usage.cache_write, "written to cache"),
        )
        if number
    ]
    return f" ({', '.join(parts)})" if parts else ""


def _shard(paper: Paper, one: ConsultedShard) -> None:
    """A shard that a model answered for, or that nobody could."""
    if one.model == "extractive" and one.error is None:
        return
    heat = "hot" if one.hot else f"cold: {one.why_cold}" if one.why_cold else ""
    parts = [
        f"found, {one.confidence:.0%} sure" if one.found else "found nothing",
        heat,
        "" if one.whole else "read in passages",
        f"instead of {', '.join(one.fell_back_from)}" if one.fell_back_from else "",
        f"{one.unverified} dropped" if one.unverified else "",
    ]
    told = one.error if one.error is not None else " · ".join(part for part in parts if part)
    paper.line(Dim(f"shard {one.shard}, {one.model}: "), Dim(one_line(told)))


def _disagreement(paper: Paper, value: Disagreement) -> None:
    paper.line()
    paper.line("The shards disagree:")
    for side in value.sides:
        cited = "".join(f"[{number}]" for number in side.citations)
        paper.line(Dim(f"  shard {side.shard}  "), f"{one_line(side.claim)} {cited}")
