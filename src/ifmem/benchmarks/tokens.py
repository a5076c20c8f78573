"""``bench tokens`` (B4): what agents' loops are billed for, by this memory and by reading again.

The accounting runs over a vendor's protocol on loopback, whose server keeps the vendor's caching
rules and answers from the prompt it was sent; the accuracy is repeated with the local model.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from ifmem import clock
from ifmem.benchmarks import local_accuracy
from ifmem.benchmarks.conditions import Conditions, conditions
from ifmem.benchmarks.local_accuracy import LocalAccuracy
from ifmem.benchmarks.planted import Needle
from ifmem.benchmarks.prompt_reader import PromptReader
from ifmem.benchmarks.report import Goal, condition_lines, goal_lines, table, write
from ifmem.benchmarks.served_memory import (
    MODEL,
    ask_all,
    bare_model,
    documents_of_shards,
    loops_in_ledger,
    plant_corpus,
    served_memory,
)
from ifmem.benchmarks.token_arms import Loop, read_again, share_correct
from ifmem.domain.price import Price
from ifmem.llm.prices import PriceBook
from ifmem.llm.providers import merged
from ifmem.testing.anthropic_server import AnthropicServer

LOOPS = (1, 2, 5, 10, 50)


class Point(msgspec.Struct, frozen=True):
    """So many loops, from the first on; token figures are input equivalents.

    That is prompt tokens, each bucket weighted by its price over that of an uncached token.
    """

    loops: int
    ours: float
    reread: float
    """All documents into the prompts of every question, uncached."""
    reread_cached: float
    """The same with the provider's cache."""
    reread_asked: float
    """Only the documents of the shards that were asked, uncached: by somebody who knew which."""
    saving: float
    """1 − ours / reread."""
    saving_over_cached: float
    saving_over_asked: float


class Once(msgspec.Struct, frozen=True):
    """Where it does not pay: each shard is asked once, and nothing is read a second time."""

    questions: int
    ours: float
    reread_asked: float
    saving: float
    """Negative when writing to the provider's cache costs more than reading once."""


class TokensReport(msgspec.Struct, frozen=True):
    documents: int
    tokens: int
    """o200k, of all documents."""
    bytes: int
    text: list[str]
    shards: int
    questions: int
    workers: int
    model: str
    price_source: str
    price_as_of: str
    points: list[Point]
    once: Once
    accuracy: dict[str, float]
    """Share of questions whose quotes hold the planted fact, by arm, over all loops."""
    cost_usd: str
    """Of our arm, by the ledger, with what was spent beside the questions."""
    local: LocalAccuracy | None
    """None without the extra ``local``, or when it was left out."""
    goals: list[Goal]
    conditions: Conditions
    written: str = ""


def run(
    *,
    tokens: int = 200_000,
    loops: Sequence[int] = LOOPS,
    workers: int = 4,
    local_questions: int = 20,
    out: Path | None = None,
    note: Callable[[str], None] = lambda _: None,
) -> TokensReport:
    """Ask planted facts, loop by loop, and count what is billed.

    Args:
        tokens: of the documents together, o200k; real text with planted lines.
        loops: after how many loops to look; at most 60.
        workers: agents that take turns; each has a connection of its own.
        local_questions: asked of the local model; 0 leaves it out.
        out: the folder for the report.

    Raises:
        Refused: there is not enough text.
        Failed: the ledger has other tokens than the answers.
    """
    return asyncio.run(_run(tokens, sorted(loops), workers, local_questions, out, note))


async def _run(
    tokens: int,
    loops: Sequence[int],
    workers: int,
    local_questions: int,
    out: Path | None,
    note: Callable[[str], None],
) -> TokensReport:
    price = _price()
    async with served_memory() as (place, server):
        folder = place.directory / "corpus"
        copied, needles = await asyncio.to_thread(plant_corpus, folder, tokens, loops[-1])
        note(f"loading {copied.tokens:,} tokens of {copied.files} files")
        await place.memory.load(folder)
        shards = await documents_of_shards(place.memory)
        note(f"{len(needles)} loops of {workers} agents")
        answers = await ask_all(place.memory.settings, needles, workers)
        ours = await loops_in_ledger(place.memory, needles, answers)
        costs = await place.memory.costs()
        status = await place.memory.status()
        groups = list(shards.values())
        note("the same questions with all documents in every prompt")
        async with bare_model(server) as model:
            again = await read_again(model, groups, needles, cached=False)
        note("the same with the provider's cache")
        with AnthropicServer(PromptReader()) as another:
            async with bare_model(another) as model:
                cached = await read_again(model, groups, needles, cached=True)
        note("each shard once")
        once = await _once(folder, needles, again, price)
    numbers = list(shards)
    asked = [[numbers.index(n) for n in answer.shards_asked if n in shards] for answer in answers]
    points = [_point(n, price, ours, again, cached, asked) for n in loops]
    accuracy = {
        "ours": share_correct(ours),
        "reread": share_correct(again),
        "reread_cached": share_correct(cached),
    }
    local = await local_accuracy.measure(local_questions, note)
    report = TokensReport(
        documents=copied.files,
        tokens=copied.tokens,
        bytes=copied.bytes,
        text=list(copied.roots),
        shards=len(shards),
        questions=len(needles),
        workers=workers,
        model=str(MODEL),
        price_source=price.source,
        price_as_of=price.as_of,
        points=points,
        once=once,
        accuracy=accuracy,
        cost_usd=costs.cost_usd,
        local=local,
        goals=_goals(points[-1], accuracy, local),
        conditions=conditions(status.redis.version),
    )
    path = write("tokens", report, {}, lines=lines(report), out=out, directory=Path.cwd())
    return msgspec.structs.replace(report, written=str(path))


def lines(report: TokensReport) -> list[str]:
    """The report for a person."""
    rows = [
        [
            f"{point.loops}",
            *(
                f"{figure:,.0f}"
                for figure in (
                    point.ours,
                    point.reread,
                    point.reread_cached,
                    point.reread_asked,
                )
            ),
            *(
                f"{saving:.1%}"
                for saving in (
                    point.saving,
                    point.saving_over_cached,
                    point.saving_over_asked,
                )
            ),
        ]
        for point in report.points
    ]
    once = report.once
    return [
        f"tokens: {report.documents} documents, {report.tokens:,} tokens, {report.bytes:,} bytes "
        f"in {report.shards} shards; {report.questions} questions, {report.workers} agents",
        f"text of {', '.join(report.text)}, with planted lines",
        f"model: {report.model} by its protocol on loopback, price of {report.price_source} "
        f"({report.price_as_of}); what answers reads its prompt by the extractive rule",
        *condition_lines(report.conditions),
        "",
        "billed input equivalents up to the n-th loop:",
        *table(
            (
                "loops",
                "ours",
                "re-read",
                "re-read, cached",
                "asked shards only",
                "saved",
                "over cached",
                "over asked",
            ),
            rows,
        ),
        "",
        f"where it does not pay: {once.questions} shards asked once each, {once.ours:,.0f} against "
        f"{once.reread_asked:,.0f}: {once.saving:.1%}",
        "planted facts quoted: "
        + ", ".join(f"{arm} {share:.1%}" for arm, share in report.accuracy.items()),
        f"spent by the ledger: ${report.cost_usd}",
        *local_accuracy.lines(report.local),
        *goal_lines(report.goals),
        *([f"report: {report.written}"] if report.written else []),
    ]


def _price() -> Price:
    price = PriceBook((), merged(())).price(MODEL, clock.now())
    assert price is not None, f"genai-prices does not know {MODEL}"
    return price


async def _once(
    corpus: Path, needles: Sequence[Needle], again: Sequence[Loop], price: Price
) -> Once:
    """A memory that has just read everything, and is asked once about each shard."""
    async with served_memory() as (place, _):
        copy = place.directory / "corpus"
        await asyncio.to_thread(shutil.copytree, corpus, copy)
        await place.memory.load(copy)
        shards = await documents_of_shards(place.memory)
        asked, answers = [], []
        for number, paths in shards.items():
            needle = await asyncio.to_thread(_needle_in, paths, needles)
            asked.append(needle)
            answers.append(
                await place.memory.ask(needle.question, shard=number, scope="space", fresh=True)
            )
        loops = await loops_in_ledger(place.memory, asked, answers)
    ours = sum(loop.equivalents(price) for loop in loops)
    # A question of that arm has one prompt for each shard: together, each shard is read once.
    reread = again[0].equivalents(price)
    return Once(
        questions=len(asked),
        ours=round(ours),
        reread_asked=round(reread),
        saving=_saving(ours, reread),
    )


def _needle_in(paths: Sequence[Path], needles: Sequence[Needle]) -> Needle:
    """A question that these documents answer; if they answer none, another: they are read alike."""
    texts_of = [path.read_text(encoding="utf-8") for path in paths]
    held = (one for one in needles if any(one.is_in(text, None) for text in texts_of))
    return next(held, needles[0])


def _point(
    loops: int,
    price: Price,
    ours: Sequence[Loop],
    again: Sequence[Loop],
    cached: Sequence[Loop],
    asked: Sequence[Sequence[int]],
) -> Point:
    mine = sum(loop.equivalents(price) for loop in ours[:loops])
    reread = sum(loop.equivalents(price) for loop in again[:loops])
    with_cache = sum(loop.equivalents(price) for loop in cached[:loops])
    of_asked = sum(
        loop.equivalents(price, groups=groups)
        for loop, groups in zip(again[:loops], asked[:loops], strict=True)
    )
    return Point(
        loops=loops,
        ours=round(mine),
        reread=round(reread),
        reread_cached=round(with_cache),
        reread_asked=round(of_asked),
        saving=_saving(mine, reread),
        saving_over_cached=_saving(mine, with_cache),
        saving_over_asked=_saving(mine, of_asked),
    )


def _saving(ours: float, baseline: float) -> float:
    return round(1 - ours / baseline, 4)


def _goals(last: Point, accuracy: dict[str, float], local: LocalAccuracy | None) -> list[Goal]:
    goals = [
        Goal(
            f"billed input at least 70 % below full re-reading at {last.loops} loops, in %",
            100 * last.saving,
            last.saving >= 0.7,
        ),
        Goal(
            f"billed input at least 95 % below full re-reading at {last.loops} loops, in %",
            100 * last.saving,
            last.saving >= 0.95,
        ),
        Goal(
            "planted facts quoted no more rarely than by re-reading, difference",
            accuracy["ours"] - accuracy["reread"],
            accuracy["ours"] >= accuracy["reread"],
        ),
    ]
    if local is not None:
        goals.append(
            Goal(
                "local model: facts answered no more rarely than by re-reading, difference",
                local.ours - local.reread,
                local.ours >= local.reread,
            )
        )
    return goals
