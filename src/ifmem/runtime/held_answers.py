"""How a worker answers for the shards it holds: from their contexts alone, every quote checked."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field

from ifmem import clock, tokens
from ifmem.bus.state import Context
from ifmem.domain.passage import Passage
from ifmem.engine import synthesis
from ifmem.engine.analysis import terms
from ifmem.engine.evidence import best_evidence, locate, question_weights, unknown_names
from ifmem.engine.synthesis import Candidate
from ifmem.errors import Unavailable
from ifmem.index.space_index import SpaceIndex
from ifmem.runtime.asking import PASSAGES_A_SHARD
from ifmem.runtime.recalling import require_question
from ifmem.wire.blob import BlobPart, BlobPassage
from ifmem.wire.queries import Query, Response

MOST_TOKENS = 4_000
"""o200k tokens of an answer, whatever the question allows."""

_Place = tuple[str, int]
"""Digest of a document and ordinal of its passage."""


@dataclass(slots=True)
class _Indexed:
    """A held shard, searchable."""

    context: Context
    index: SpaceIndex = field(default_factory=SpaceIndex)
    passages: dict[int, Passage] = field(default_factory=dict)
    keys: dict[_Place, int] = field(default_factory=dict)
    last_key: int = 0

    def update(self, context: Context) -> None:
        """Bring the index in line with a context; what stays is not read again."""
        there: set[_Place] = set()
        for loaded in context.parts:
            new: list[Passage] = []
            for passage, text in zip(loaded.part.passages, loaded.texts, strict=True):
                place = (loaded.part.sha256, passage.ordinal)
                there.add(place)
                if place not in self.keys:
                    self.last_key += 1
                    self.keys[place] = self.last_key
                    new.append(_passage(self.last_key, context.shard, loaded.part, passage, text))
            self.index.add(new)
            self.passages |= {one.passage_id: one for one in new}
        gone = [place for place in self.keys if place not in there]
        self.index.remove([self.keys[place] for place in gone])
        for place in gone:
            del self.passages[self.keys.pop(place)]
        self.context = context


class HeldAnswers:
    """The contexts of the held shards, searchable, and the answers they give."""

    def __init__(self) -> None:
        self._shards: dict[int, _Indexed] = {}
        # Searches and indexing are bound by the interpreter lock: one after the other is fastest.
        self._turn = asyncio.Lock()

    async def load(self, context: Context) -> None:
        """Answer from this context from now on."""
        shard = self._shards.get(context.shard)
        if shard is not None and shard.context is context:
            return
        shard = shard or _Indexed(context)
        async with self._turn:
            await asyncio.to_thread(shard.update, context)
        self._shards[context.shard] = shard

    def drop(self, number: int) -> None:
        """Answer for a shard no longer."""
        self._shards.pop(number, None)

    async def answer(self, query: Query, number: int) -> Response:
        """What a shard says to a query.

        Raises:
            Invalid: an empty or oversize question.
            Unavailable: the shard is not held here any more.
        """
        question = require_question(query.question)
        shard = self._shards.get(number)
        if shard is None:
            raise Unavailable(f"shard {number} is not held here now", shard=number)
        async with self._turn:
            return await asyncio.to_thread(_answer, shard, query, question)


def _passage(key: int, shard: int, part: BlobPart, passage: BlobPassage, text: str) -> Passage:
    return Passage(
        passage_id=key,
        content_id=0,
        ordinal=passage.ordinal,
        sha256=part.sha256,
        shard=shard,
        source=part.source,
        title=part.source.rstrip("/").rpartition("/")[2],
        kind=part.kind,
        group=None,
        first_line=passage.first_line,
        last_line=passage.last_line,
        tokens=passage.tokens,
        header=passage.header,
        speaker=None,
        said_at=None,
        locator=None,
        text=text,
    )


def _answer(shard: _Indexed, query: Query, question: str) -> Response:
    weights = question_weights(question, shard.index.idf)
    chosen: list[Candidate] = []
    if not unknown_names(question, shard.index.occurs):
        chosen = synthesis.select(_offered(shard, question, weights))
    cited = [
        (one.sentence.strip(), source)
        for one in chosen
        if (source := _source(shard.passages.get(one.key), one.sentence)) is not None
    ]
    text, cited = _within(cited, min(query.max_tokens, MOST_TOKENS))
    return Response(
        query_id=query.query_id,
        shard_id=shard.context.shard,
        timestamp=clock.stamp(clock.now()),
        answer=text,
        confidence=_share_held(weights, [quote for quote, _ in cited]),
        sources=tuple(source for _, source in cited),
        context_size=shard.context.tokens,
        found=bool(cited),
    )


def _offered(shard: _Indexed, question: str, weights: Mapping[str, float]) -> list[Candidate]:
    offered = []
    for place, hit in enumerate(shard.index.search(question, limit=PASSAGES_A_SHARD)):
        passage = shard.passages.get(hit.key)
        if passage is None:
            continue
        header = f"{passage.title} {passage.header}"
        offered += [
            Candidate(hit.key, hit.shard, place, passage.text[one.start : one.end], one)
            for one in best_evidence(weights, passage.text, header)
        ]
    return offered


def _source(passage: Passage | None, quote: str) -> str | None:
    """``path:line-line`` of a quote that stands in the context; None when it does not."""
    place = None if passage is None else locate(quote, passage.text)
    if passage is None or place is None:
        return None
    first = passage.first_line + passage.text.count("\n", 0, place[0])
    return f"{passage.source}:{first}-{first + passage.text.count(chr(10), *place)}"


def _within(cited: list[tuple[str, str]], budget: int) -> tuple[str, list[tuple[str, str]]]:
    """The answer that fits a budget of tokens, and what stands in it."""
    for count in range(len(cited), 0, -1):
        text = synthesis.compose([quote for quote, _ in cited[:count]])
        if tokens.count(text) <= budget:
            return text, cited[:count]
    if not cited:
        return "", []
    words = synthesis.compose([cited[0][0]]).split()
    while words and tokens.count(" ".join([*words, "…"])) > budget:
        words.pop()
    return " ".join([*words, "…"]), cited[:1]


def _share_held(weights: Mapping[str, float], quotes: list[str]) -> float:
    held = weights.keys() & {term for quote in quotes for term in terms(quote)}
    total = sum(weights.values())
    return round(sum(weights[term] for term in held) / total, 3) if total > 0 else 0.0
