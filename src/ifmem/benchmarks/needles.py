"""``bench needles`` (B6): one sentence in a page of something else, found, quoted, not made up."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import msgspec

from ifmem.benchmarks import texts
from ifmem.benchmarks.conditions import Conditions, conditions
from ifmem.benchmarks.labelled import CorpusRow, LabelledSet, load_into, read_labelled_set
from ifmem.benchmarks.planted import Needle, plant
from ifmem.benchmarks.report import Goal, condition_lines, goal_lines, table, write
from ifmem.benchmarks.settling import until_embedded
from ifmem.benchmarks.throwaway import Throwaway, throwaway
from ifmem.benchmarks.unanswerable import unanswerable, with_swapped_names
from ifmem.client.memory import Memory
from ifmem.errors import Refused

BUDGET = 4_000
"""o200k tokens of one ``recall``."""
_SEED = 23
_TOKENS = 800_000
_NAMED, _PARAPHRASE = "named", "paraphrase"
_WORD = re.compile(r"\w+")


class Asked(msgspec.Struct, frozen=True):
    """One question, for whoever wants to look at each."""

    question: str
    """Its text, or its number in a labelled set."""
    kind: str
    """``named``, ``paraphrase``, ``unanswerable`` or ``swapped``."""
    recalled: bool | None
    """The recall held the planted line."""
    answered: bool
    quoted: bool | None
    """A verified quote of the answer contains the planted line."""


class NeedlesReport(msgspec.Struct, frozen=True):
    dataset: str
    tokens: int
    needles: dict[str, int]
    budget_tokens: int
    answerable: dict[str, float]
    """By category: share of questions whose recall within the budget holds the planted line."""
    answered: dict[str, float]
    """By category: share that ``ask`` answered with a verified quote of the planted line."""
    wrong: dict[str, float]
    """By category: share that ``ask`` answered with something else."""
    unanswerable: int
    abstained: float
    """Share of the unanswerable questions with ``found: false``."""
    abstained_by_category: dict[str, float]
    abstained_swapped: float
    """The same for named questions with the name of another needle: harder, no goal."""
    goals: list[Goal]
    asked: list[Asked]
    conditions: Conditions
    written: str = ""


def run(
    *,
    directory: Path | None = None,
    tokens: int = _TOKENS,
    seed: int = _SEED,
    semantic: bool = False,
    out: Path | None = None,
    note: Callable[[str], None] = lambda _: None,
) -> NeedlesReport:
    """Ask for planted facts, and for facts that nobody planted.

    Args:
        directory: a labelled set with the categories ``named`` and ``paraphrase``; by default
            invented facts are planted in the standard library.
        tokens: of the library's text.
        seed: decides names, numbers and places.
        semantic: with the extra of that name, once it has embedded everything.
        out: the folder for the report.
    """
    return asyncio.run(_run(directory, tokens, seed, semantic, out, note))


async def _run(
    directory: Path | None,
    tokens: int,
    seed: int,
    semantic: bool,
    out: Path | None,
    note: Callable[[str], None],
) -> NeedlesReport:
    async with throwaway(semantic=semantic) as place:
        if directory is None:
            name = "planted"
            needles, words = await _planted(place, tokens, seed, note)
        else:
            given = read_labelled_set(directory)
            name = given.name
            note(f"loading {len(given.rows):,} rows of {name}")
            await load_into(place.memory, given.rows)
            needles, words = needles_of(given), _vocabulary(row.text for row in given.rows)
        if semantic:
            await until_embedded(place.memory, note)
        note(f"{len(needles)} questions, and as many that nothing answers")
        asked = [await _ask(place.memory, needle) for needle in needles]
        strangers = unanswerable(needles, words, seed=seed)
        kinds = [needle.category for needle in needles]
        told = [await _ask_stranger(place.memory, question) for question in strangers]
        swapped = [
            await _ask_stranger(place.memory, question, "swapped")
            for question in with_swapped_names(needles)
        ]
        status = await place.memory.status()
    answerable = _shares(asked, lambda one: one.recalled is True)
    answered = _shares(asked, lambda one: one.quoted is True)
    silent = [not one.answered for one in told]
    abstained = _share(silent)
    report = NeedlesReport(
        dataset=name,
        tokens=status.context_active,
        needles={kind: kinds.count(kind) for kind in sorted(set(kinds))},
        budget_tokens=BUDGET,
        answerable=answerable,
        answered=answered,
        wrong=_shares(asked, lambda one: one.answered and not one.quoted),
        unanswerable=len(strangers),
        abstained=abstained,
        abstained_by_category={
            kind: _share([one for one, of in zip(silent, kinds, strict=True) if of == kind])
            for kind in sorted(set(kinds))
        },
        abstained_swapped=_share([not one.answered for one in swapped]),
        goals=_goals(answerable, answered, abstained),
        asked=[*asked, *told, *swapped] if directory is None else _numbered(asked, told, swapped),
        conditions=conditions(status.redis.version, semantic=semantic),
    )
    file = f"needles-{name}" + "-semantic" * semantic
    path = write(file, report, {}, lines=lines(report), out=out, directory=Path.cwd())
    return msgspec.structs.replace(report, written=str(path))


def lines(report: NeedlesReport) -> list[str]:
    """The report for a person."""
    rows = [
        [
            kind,
            str(report.needles[kind]),
            f"{report.answerable[kind]:.3f}",
            f"{report.answered[kind]:.3f}",
            f"{report.wrong[kind]:.3f}",
        ]
        for kind in report.needles
    ]
    header = ("", "n", f"in recall of {report.budget_tokens:,}", "quoted by ask", "answered wrong")
    by_category = ", ".join(
        f"{kind} {share:.3f}" for kind, share in report.abstained_by_category.items()
    )
    return [
        f"needles in {report.dataset}: {report.tokens:,} tokens, default settings, "
        "no language model",
        *condition_lines(report.conditions),
        "",
        *table(header, rows),
        "",
        f"of {report.unanswerable} unanswerable questions, found: false for "
        f"{report.abstained:.3f} ({by_category})",
        f"asked with the name of another needle instead: {report.abstained_swapped:.3f}",
        *goal_lines(report.goals),
        *([f"each question: {report.written}"] if report.written else []),
    ]


def needles_of(given: LabelledSet) -> list[Needle]:
    """The questions of a labelled set, each with its row, and its line when a name tells it."""
    rows = {row.id: row for row in given.rows}
    needles = []
    for query in given.queries:
        row_id = max(query.judged, key=lambda one: query.judged[one])
        line = _planted_line(query.text, rows[row_id], given.rows)
        needles.append(Needle(query.text, query.category or "all", line, row_id))
    return needles


def _planted_line(question: str, row: CorpusRow, rows: Sequence[CorpusRow]) -> str | None:
    """The row's line with a word of the question that no other row has."""
    for word in _WORD.findall(question):
        if word[0].isupper() and sum(word in other.text for other in rows) == 1:
            held = [line for line in row.text.splitlines() if word in line]
            if len(held) == 1:
                return " ".join(held[0].split()).lstrip("# ")
    return None


async def _planted(
    place: Throwaway, tokens: int, seed: int, note: Callable[[str], None]
) -> tuple[list[Needle], set[str]]:
    corpus = place.directory / "corpus"
    root = texts.standard_library()
    files = texts.library_files()
    await asyncio.to_thread(texts.copy_text, files, root, corpus, at_least=tokens)
    held = list(texts.files_below(corpus))
    try:
        needles = plant(held, seed=seed)
    except ValueError as error:
        raise Refused(f"{error}: ask for more --tokens") from error
    note(f"loading {len(held)} files with {len(needles)} planted questions")
    await place.memory.load(corpus)
    return needles, _vocabulary(path.read_text(encoding="utf-8") for path in held)


def _numbered(*rounds: Sequence[Asked]) -> list[Asked]:
    """A labelled set's questions by number: its text is not ours to write into a report."""
    return [
        msgspec.structs.replace(one, question=f"question {number}")
        for asked in rounds
        for number, one in enumerate(asked, 1)
    ]


def _vocabulary(held: Iterable[str]) -> set[str]:
    words: set[str] = set()
    for text in held:
        words.update(_WORD.findall(text.lower()))
    return words


async def _ask(memory: Memory, needle: Needle) -> Asked:
    recalled = await memory.recall(needle.question, max_tokens=BUDGET, scope="space")
    answer = await memory.ask(needle.question, scope="space")
    return Asked(
        question=needle.question,
        kind=needle.category,
        recalled=any(needle.is_in(one.text, one.locator) for one in recalled.passages),
        answered=answer.found,
        quoted=any(
            one.verified and _quotes(needle, one.quote, one.locator) for one in answer.citations
        ),
    )


def _quotes(needle: Needle, quote: str, locator: str | None) -> bool:
    """Whether a quote is of the planted line; the marks before it do not count."""
    if needle.line is None:
        return needle.is_in(quote, locator)
    return replace(needle, line=needle.line.rstrip(".")).is_in(quote, locator)


async def _ask_stranger(memory: Memory, question: str, kind: str = "unanswerable") -> Asked:
    answer = await memory.ask(question, scope="space")
    return Asked(question, kind, None, answer.found, None)


def _shares(asked: Sequence[Asked], holds: Callable[[Asked], bool]) -> dict[str, float]:
    kinds = sorted({one.kind for one in asked})
    return {kind: _share([holds(one) for one in asked if one.kind == kind]) for kind in kinds}


def _share(held: Sequence[bool]) -> float:
    return round(sum(held) / max(len(held), 1), 4)


def _goals(
    answerable: dict[str, float], answered: dict[str, float], abstained: float
) -> list[Goal]:
    goals = [Goal("unanswerable, `found: false` at least .90", abstained, abstained >= 0.9)]
    if _NAMED in answerable:
        named, quoted = answerable[_NAMED], answered[_NAMED]
        goals += [
            Goal("named, in recall at least .95", named, named >= 0.95),
            Goal("named, quoted by ask at least .80", quoted, quoted >= 0.8),
        ]
    if _PARAPHRASE in answerable:
        other = answerable[_PARAPHRASE]
        goals += [
            Goal("paraphrase, in recall at least .30", other, other >= 0.3),
            Goal("paraphrase, in recall at least .50 (with `semantic`)", other, other >= 0.5),
        ]
    return goals
