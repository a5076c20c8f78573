"""A memory whose model is served on loopback, with planted documents, and what its loops used."""

from __future__ import annotations

import asyncio
import tempfile
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from ifmem.benchmarks import texts
from ifmem.benchmarks.planted import Needle, plant
from ifmem.benchmarks.prompt_reader import PromptReader
from ifmem.benchmarks.texts import Copied
from ifmem.benchmarks.throwaway import Throwaway, throwaway
from ifmem.benchmarks.token_arms import Loop
from ifmem.client.memory import Memory
from ifmem.domain.model import ModelRef
from ifmem.domain.usage import TokenUsage
from ifmem.errors import Failed
from ifmem.llm.anthropic_model import AnthropicModel
from ifmem.llm.cards import card_of
from ifmem.llm.providers import merged
from ifmem.model_settings import BudgetSettings, ModelSettings, ProviderEntry
from ifmem.settings import Settings
from ifmem.testing.anthropic_server import AnthropicServer
from ifmem.wire.answers import Answer, Usage

MODEL = ModelRef("anthropic", "claude-haiku-5-5")
_FOLDERS = ("src", "tests", "decisions")
"""Each goes to a speciality of its own by the default placement."""
_SEED = 31
_LONGEST_BYTES = 8_000
"""Of a document: there must be one for each planted fact."""


@asynccontextmanager
async def served_memory() -> AsyncIterator[tuple[Throwaway, AnthropicServer]]:
    """A memory whose model is served on loopback."""
    with AnthropicServer(PromptReader()) as server, tempfile.TemporaryDirectory() as folder:
        key = Path(folder, "key")
        await asyncio.to_thread(key.write_text, server.key, encoding="utf-8")
        settings = Settings(
            models=ModelSettings(default=str(MODEL)),
            budget=BudgetSettings(per_question="100", per_day="10000", background_per_day="100"),
            providers=(ProviderEntry(name=MODEL.provider, base_url=server.url, key_file=str(key)),),
        )
        async with throwaway(settings) as place:
            yield place, server


@asynccontextmanager
async def bare_model(server: AnthropicServer) -> AsyncIterator[AnthropicModel]:
    """The vendor's model with nothing around it: what an agent without this memory calls."""
    card = card_of(MODEL, merged(())[MODEL.provider])
    model = AnthropicModel(card, api_key=server.key, base_url=server.url)
    try:
        yield model
    finally:
        await model.aclose()


def plant_corpus(into: Path, tokens: int, questions: int) -> tuple[Copied, list[Needle]]:
    """Real text in the folders of three specialities, and the facts planted in it."""
    short = (path for path in texts.library_files() if path.stat().st_size <= _LONGEST_BYTES)
    copied = texts.copy_text(short, texts.standard_library(), into / "all", at_least=tokens)
    files = list(texts.files_below(into / "all"))
    moved = []
    for place, path in enumerate(files):
        target = into / _FOLDERS[place % len(_FOLDERS)] / f"{place:03}_{path.name}"
        target.parent.mkdir(exist_ok=True)
        moved.append(path.rename(target))
    needles = [
        needle
        for round_ in range(2)
        for needle in plant(moved, seed=_SEED + round_)
        if needle.category == "named"
    ]
    return copied, needles[:questions]


async def documents_of_shards(memory: Memory) -> dict[int, list[Path]]:
    """The documents of each shard that holds some."""
    held: dict[int, list[Path]] = defaultdict(list)
    after: str | None = ""
    while after is not None:
        page = await memory.sources(after=after, scope="space")
        for source in page:
            for shard in source.shards:
                held[shard].append(Path(source.source))
        after = page.next
    return dict(sorted(held.items()))


async def ask_all(settings: Settings, needles: Sequence[Needle], workers: int) -> list[Answer]:
    """The questions in their order, by agents that take turns."""
    async with AsyncExitStack() as stack:
        agents = [
            await stack.enter_async_context(Memory.open(settings=settings)) for _ in range(workers)
        ]
        return [
            await agents[turn % workers].ask(needle.question, scope="space", fresh=True)
            for turn, needle in enumerate(needles)
        ]


async def loops_in_ledger(
    memory: Memory, needles: Sequence[Needle], answers: Sequence[Answer]
) -> list[Loop]:
    """What the ledger has of each question, call by call.

    Raises:
        Failed: the answers reported other tokens than the ledger has.
    """
    usages: dict[str, list[TokenUsage]] = defaultdict(list)
    async for entry in memory.ledger():
        if entry.call is not None and entry.call.question_id is not None:
            usages[entry.call.question_id].append(usage_of(entry.call.usage))
    loops = []
    for needle, answer in zip(needles, answers, strict=True):
        held = usages[answer.query_id]
        if sum(held, TokenUsage()) != usage_of(answer.usage):
            raise Failed(f"the ledger and the answer differ about question {answer.query_id}")
        loops.append(Loop(tuple(held), _holds(needle, answer)))
    return loops


def usage_of(usage: Usage) -> TokenUsage:
    """A reported usage as the buckets that are priced."""
    return TokenUsage(
        uncached=usage.uncached,
        cache_write_5m=usage.cache_write_5m,
        cache_write_1h=usage.cache_write_1h,
        cache_write_other=usage.cache_write_other,
        cache_read=usage.cache_read,
        output=usage.output,
        reasoning=usage.reasoning,
    )


def _holds(needle: Needle, answer: Answer) -> bool:
    return any(needle.is_in(one.quote, one.locator) for one in answer.citations)
