"""Whether the local model answers planted facts as well by way of this memory as from the text."""

from __future__ import annotations

import asyncio
import hashlib
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from ifmem import clock
from ifmem.benchmarks.throwaway import throwaway
from ifmem.client.memory import Memory
from ifmem.domain.model import LOCAL, ModelCall, Purpose
from ifmem.errors import ConfigError
from ifmem.llm.local_model import LocalModel
from ifmem.model_settings import LocalSettings, ModelSettings
from ifmem.prompts.fencing import FencedDocument, fence
from ifmem.prompts.shard_answer import shard_answer
from ifmem.settings import Settings

_MAX_OUTPUT = 48
_FACTS = (
    ("greenhouse safe", "combination", "4417"),
    ("harbour crane", "serial number", "Q-208"),
    ("night train", "platform", "19"),
    ("glass bell", "weight in grams", "735"),
    ("river ferry", "call sign", "Tango-6"),
    ("clock tower", "number of steps", "312"),
    ("bakery oven", "temperature", "265"),
    ("lighthouse lamp", "colour", "amber"),
    ("museum vault", "floor", "minus three"),
    ("orchestra", "lead instrument", "oboe"),
    ("library annex", "opening day", "Thursday"),
    ("observatory dome", "paint", "cobalt"),
    ("postal van", "licence plate", "KX-9041"),
    ("school choir", "conductor", "Vesna Olrik"),
    ("printing press", "year of purchase", "1987"),
    ("botanical garden", "oldest tree", "ginkgo"),
    ("water mill", "owner", "Tomas Brandl"),
    ("radio mast", "height in metres", "148"),
    ("cheese cellar", "humidity in percent", "91"),
    ("village pond", "depth in centimetres", "220"),
    ("chess club", "meeting room", "B14"),
    ("fire station", "spare key", "under the bench"),
    ("ski lift", "last ride", "half past four"),
    ("vineyard", "harvest month", "October"),
)
_FILLER = (
    "People from the valley often ask about it.",
    "Nobody has changed that in years.",
    "Visitors read it on the board at the entrance.",
)


class LocalAccuracy(msgspec.Struct, frozen=True):
    """Shares of the questions whose answer holds the planted value."""

    model: str
    questions: int
    context_tokens: int
    """Of the longest prompt, as the engine reports it."""
    ours: float
    """By `ask` in the memory: answers without a verified quote count as none."""
    reread: float
    """The model alone with the same text in its prompt, whatever it says."""


async def measure(questions: int, note: Callable[[str], None]) -> LocalAccuracy | None:
    """Ask the local model both ways; None without questions, the extra or its weights."""
    if not questions:
        return None
    facts = _FACTS[:questions]
    note(f"the local model: {len(facts)} questions, twice")
    settings = Settings(models=ModelSettings(default=LOCAL, max_output=_MAX_OUTPUT))
    async with throwaway(settings) as place:
        notes = place.directory / "notes.md"
        await asyncio.to_thread(notes.write_text, _text(facts), encoding="utf-8")
        try:
            alone, longest = await _alone(facts, notes)
        except ConfigError as error:
            note(f"left out: {error.message}")
            return None
        ours = await _by_memory(place.memory, facts, notes)
    return LocalAccuracy(
        model="SmolLM2-135M-Instruct Q4_1, or what IFMEM_LOCAL_WEIGHTS names",
        questions=len(facts),
        context_tokens=longest,
        ours=round(ours / len(facts), 3),
        reread=round(alone / len(facts), 3),
    )


def lines(measured: LocalAccuracy | None) -> list[str]:
    """The figures for a person."""
    if measured is None:
        return ["local model: left out, or not installed"]
    return [
        f"local model, {measured.questions} questions at {measured.context_tokens:,} tokens: "
        f"answered {measured.ours:.0%} by this memory, {measured.reread:.0%} by re-reading"
    ]


def _text(facts: Sequence[tuple[str, str, str]]) -> str:
    said = [
        f"The {what} of the {thing} is {value}. {_FILLER[place % len(_FILLER)]}"
        for place, (thing, what, value) in enumerate(facts)
    ]
    return "# Notes about the town\n\n" + "\n".join(said) + "\n"


def _question(thing: str, what: str) -> str:
    return f"What is the {what} of the {thing}?"


async def _alone(facts: Sequence[tuple[str, str, str]], notes: Path) -> tuple[int, int]:
    """Right answers of the model by itself, and the tokens of its longest prompt."""
    data = await asyncio.to_thread(notes.read_bytes)
    # To the letter what the memory's prompt says: so small a model minds the name of a file.
    document = FencedDocument(1, str(notes), hashlib.sha256(data).hexdigest(), data.decode())
    documents = fence([document])
    right = longest = 0
    with tempfile.TemporaryDirectory() as folder:
        model = LocalModel(LocalSettings(), directory=Path(folder))
        try:
            for thing, what, value in facts:
                call = ModelCall(
                    call_id=clock.new_id(),
                    prompt=shard_answer(documents, _question(thing, what), structured=False),
                    purpose=Purpose.ANSWER,
                    max_output=_MAX_OUTPUT,
                )
                completion = await model.complete(call)
                right += value.lower() in completion.text.lower()
                longest = max(longest, completion.usage.prompt)
        finally:
            await model.aclose()
    return right, longest


async def _by_memory(memory: Memory, facts: Sequence[tuple[str, str, str]], notes: Path) -> int:
    await memory.load(notes)
    right = 0
    for thing, what, value in facts:
        answer = await memory.ask(_question(thing, what), scope="space", fresh=True)
        right += value.lower() in (answer.answer or "").lower()
    return right
