"""A shard as a model reads it: whole, or the passages that were found for a question."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from ifmem import tokens
from ifmem.bus.state import Context
from ifmem.engine.shard_answers import ShownDocument, ShownPassage
from ifmem.prompts.fencing import FencedDocument, fence
from ifmem.wire.blob import BlobPart, BlobPassage

MOST_HELD = 32
"""Shards whose prompts stay in memory, a megabyte each or less; the one unused longest goes."""
FENCE_TOKENS = 64
"""Of the lines around a document, about."""


class Piece(NamedTuple):
    """A passage of a part, with its text."""

    passage: BlobPassage
    text: str


@dataclass(frozen=True)
class ReadDocument:
    """Consecutive passages of one part, as one document of a prompt."""

    number: int
    part: BlobPart
    pieces: tuple[Piece, ...]

    @cached_property
    def shown(self) -> ShownDocument:
        """As a model's quotes are looked up in it."""
        return ShownDocument(
            self.number,
            self.part.source,
            tuple(ShownPassage(text, passage.header) for passage, text in self.pieces),
        )

    @cached_property
    def fenced(self) -> FencedDocument:
        """As a prompt holds it."""
        return FencedDocument(self.number, self.part.source, self.part.sha256, self.shown.text)


@dataclass(frozen=True)
class ShardText:
    """Documents in the order of their numbers, from 1."""

    documents: tuple[ReadDocument, ...]

    @cached_property
    def text(self) -> str:
        """All of them, fenced."""
        return fence(document.fenced for document in self.documents)

    @cached_property
    def tokens(self) -> int:
        """o200k tokens of ``text``."""
        return tokens.count(self.text)

    @property
    def is_counted(self) -> bool:
        """Asking for ``tokens`` takes no time."""
        return "tokens" in self.__dict__

    def numbers(self, digests: Collection[str]) -> tuple[int, ...]:
        """The documents with these digests."""
        return tuple(one.number for one in self.documents if one.part.sha256 in digests)


class ShardTexts:
    """Whole shards as prompts hold them, kept while they stay as they are."""

    def __init__(self) -> None:
        self._texts: OrderedDict[int, tuple[Context, ShardText]] = OrderedDict()

    def of(self, context: Context) -> ShardText:
        """The text of a context; made once for as long as the context is held."""
        held = self._texts.get(context.shard)
        if held is None or held[0] is not context:
            held = (context, whole(context))
            self._texts[context.shard] = held
        self._texts.move_to_end(context.shard)
        while len(self._texts) > MOST_HELD:
            self._texts.popitem(last=False)
        return held[1]

    def let_go(self, numbers: Iterable[int]) -> None:
        """Keep nothing of these shards."""
        for number in numbers:
            self._texts.pop(number, None)

    def ready(self, context: Context) -> ShardText | None:
        """The text of a context when it is made and counted, without any work."""
        held = self._texts.get(context.shard)
        if held is None or held[0] is not context or not held[1].is_counted:
            return None
        return held[1]


def whole(context: Context) -> ShardText:
    """Every part of a shard, in its order."""
    return ShardText(
        tuple(
            ReadDocument(number, loaded.part, tuple(map(Piece, loaded.part.passages, loaded.texts)))
            for number, loaded in enumerate(context.parts, start=1)
        )
    )


def excerpts(context: Context, found: Iterable[tuple[str, int]], *, most: int) -> ShardText:
    """The found passages that fit a budget, in the order of the shard; neighbours are joined.

    Args:
        context: the shard.
        found: digest and ordinal of each passage, best first.
        most: o200k tokens.
    """
    places = {
        (loaded.part.sha256, passage.ordinal): (at, index)
        for at, loaded in enumerate(context.parts)
        for index, passage in enumerate(loaded.part.passages)
    }
    chosen: list[tuple[int, int]] = []
    left = most
    for key in found:
        place = places.get(key)
        if place is None or place in chosen:
            continue
        at, index = place
        needed = context.parts[at].part.passages[index].tokens + FENCE_TOKENS
        if needed <= left:
            left -= needed
            chosen.append(place)
    return ShardText(
        tuple(
            _run(context, number, run) for number, run in enumerate(_runs(sorted(chosen)), start=1)
        )
    )


def _run(context: Context, number: int, run: Sequence[tuple[int, int]]) -> ReadDocument:
    loaded = context.parts[run[0][0]]
    pieces = tuple(Piece(loaded.part.passages[i], loaded.texts[i]) for _, i in run)
    return ReadDocument(number, loaded.part, pieces)


def _runs(places: Iterable[tuple[int, int]]) -> list[list[tuple[int, int]]]:
    """Places in runs of neighbouring passages of one part."""
    runs: list[list[tuple[int, int]]] = []
    for at, index in places:
        if runs and runs[-1][-1] == (at, index - 1):
            runs[-1].append((at, index))
        else:
            runs.append([(at, index)])
    return runs
