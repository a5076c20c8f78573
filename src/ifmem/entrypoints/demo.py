"""``ifmem demo``: a first run of everything on real text, in a home of its own that is removed."""

from __future__ import annotations

import os
import sysconfig
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path

import msgspec

from ifmem import clock, tokens
from ifmem.benchmarks.throwaway import throwaway
from ifmem.client.memory import Memory
from ifmem.client.overview import OnProgress
from ifmem.entrypoints import local_demo
from ifmem.entrypoints.local_demo import LocalDemonstration
from ifmem.wire.answers import Answer, Usage
from ifmem.wire.shapes import ShardShape, SourceShape

PACKAGES = ("asyncio", "concurrent", "email", "http", "json", "logging", "sqlite3", "urllib")
"""Of the standard library: together some 250,000 tokens of code and prose."""
QUESTIONS = (
    "How does an asyncio Queue behave when maxsize is zero?",
    "What does a rotating log file do when maxBytes is zero?",
    "Why does a blob use xxh3 instead of sha256 on the hot path?",
    "Which city hosted the Olympic Games in 2012?",
)
"""The last one has no answer in what is loaded."""


class Saving(msgspec.Struct, frozen=True):
    """What the answers cost in tokens, beside one named way to do without this memory."""

    baseline: str
    baseline_tokens: int
    returned_tokens: int
    ratio: float
    """Baseline over returned."""


class TokenAccount(msgspec.Struct, frozen=True):
    """o200k tokens, all counted in this run."""

    held: int
    """Of the corpus, in the shards."""
    returned: int
    """Of all answers and quotes together: what a reader or a model gets."""
    savings: list[Saving]


class Demonstration(msgspec.Struct, frozen=True):
    """All that the demo did, as measured."""

    loaded: list[str]
    """The paths."""
    documents: int
    passages: int
    tokens: int
    tokenizer: str
    load_seconds: float
    asked: list[str]
    answers: list[Answer]
    account: TokenAccount
    usage: Usage
    shards: list[ShardShape]
    local: LocalDemonstration
    """A language model in this process, over a text of its own."""
    seconds: float
    left_behind: list[str]
    """The home and the daemon, if they are still there: nothing."""


async def run(
    *,
    on_progress: OnProgress | None = None,
    questions: Sequence[str] = QUESTIONS,
    packages: Sequence[str] = PACKAGES,
) -> Demonstration:
    """Load real text, ask, count, and leave nothing: no process, no file."""
    started = clock.stopwatch_ns()
    paths = [*_own_tree(), *_library(packages)]
    async with throwaway() as place:
        report = await place.memory.load(*paths, on_progress=on_progress)
        answers = [await place.memory.ask(one, scope="space") for one in questions]
        account = await _account(place.memory, report.tokens, answers)
        status = await place.memory.status()
    # Once the daemon is gone, so that the two do not share the cores.
    local = await local_demo.show()
    return Demonstration(
        loaded=[str(path) for path in paths],
        documents=report.documents,
        passages=report.passages,
        tokens=report.tokens,
        tokenizer=tokens.TOKENIZER,
        load_seconds=report.seconds,
        asked=list(questions),
        answers=answers,
        account=account,
        usage=Usage(),
        shards=[shard for shard in status.shards if shard.tokens],
        local=local,
        seconds=round(clock.milliseconds_since(started) / 1000, 2),
        left_behind=_left_behind(place.directory, status.daemon_pid),
    )


def _own_tree() -> Iterator[Path]:
    """This package, and in a checkout its documentation.

    Without this module and the local model's: questions would be answered by their own text.
    """
    entrypoints = Path(__file__).parent
    package = entrypoints.parent
    left_out = {entrypoints, Path(__file__), Path(local_demo.__file__)}
    for folder in (package, entrypoints):
        yield from (
            path
            for path in sorted(folder.iterdir())
            if path not in left_out and path.name != "__pycache__"
        )
    checkout = package.parent.parent
    if (checkout / "pyproject.toml").is_file() and package.parent.name == "src":
        yield from (path for name in ("README.md", "docs") if (path := checkout / name).exists())


def _library(packages: Sequence[str]) -> Iterator[Path]:
    """Packages of the running interpreter's standard library; one it does not have is left out."""
    root = Path(sysconfig.get_path("stdlib"))
    yield from (root / name for name in packages if (root / name).is_dir())


async def _account(memory: Memory, held: int, answers: Sequence[Answer]) -> TokenAccount:
    returned = sum(_returned(answer) for answer in answers)
    cited = [{citation.source for citation in answer.citations} for answer in answers]
    sizes = {item.source: item.tokens async for item in _sources(memory)}
    of_files = sum(sizes[source] for sources in cited for source in sources)
    return TokenAccount(
        held=held,
        returned=returned,
        savings=[
            _saving(
                f"the whole corpus put into the prompt of each of the {len(answers)} questions",
                held * len(answers),
                returned,
            ),
            _saving(
                "for each question only the cited files, read whole, by somebody who knew which",
                of_files,
                returned,
            ),
        ],
    )


def _saving(baseline: str, baseline_tokens: int, returned: int) -> Saving:
    return Saving(baseline, baseline_tokens, returned, round(baseline_tokens / returned, 1))


def _returned(answer: Answer) -> int:
    """The answer and each quote with its place, as a person or a model gets them."""
    cited = (f"{one.source}:{one.lines} {one.quote}" for one in answer.citations)
    return tokens.count("\n".join([answer.answer or "not found", *cited]))


async def _sources(memory: Memory) -> AsyncIterator[SourceShape]:
    after: str | None = ""
    while after is not None:
        page = await memory.sources(after=after, scope="space")
        for item in page:
            yield item
        after = page.next


def _left_behind(directory: Path, daemon: int) -> list[str]:
    left = [str(directory)] if directory.exists() else []
    try:
        os.kill(daemon, 0)
    except ProcessLookupError:
        return left
    return [*left, f"process {daemon}"]
