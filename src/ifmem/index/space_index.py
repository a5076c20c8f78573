"""The searchable index of one space: every passage and finding, ranked in one pass.

One index serves all shards of a space, so document frequencies are the space's and a question is
ranked the same however the corpus is spread. It is derived from the store and rebuilt from it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from ifmem.domain.passage import Passage
from ifmem.engine.analysis import date_words, known_terms
from ifmem.index import ranking
from ifmem.index.encoder import DIMENSIONS, Vectors, shared_encoder
from ifmem.index.growing import Growing
from ifmem.index.meanings import Flags, Meanings, Meant
from ifmem.index.postings import Postings, Scores
from ifmem.index.ranking import Numbers, Ranked
from ifmem.index.sentence_encoder import SentenceEncoder
from ifmem.index.vectors import VectorTable


@dataclass(frozen=True, slots=True)
class Row:
    """What a filter may ask of an indexed passage."""

    key: int
    """The passage's id; a finding's sequence, negative."""
    content_id: int
    shard: int
    group: str | None
    author: str | None
    """The speaker of a turn, the author of a finding."""
    said_at: str | None

    @property
    def is_turn(self) -> bool:
        """True for a turn of a chat."""
        return self.key > 0 and self.author is not None


# A search makes a hundred of them: a struct takes a fifth of the time of a frozen dataclass.
class Hit(msgspec.Struct, frozen=True, gc=False):
    """A passage or finding that matched; the three parts sum to the score."""

    key: int
    shard: int
    score: float
    lexical: float
    vector: float
    neighbour: float


Where = Callable[[Row], bool]
_NOBODYS = Row(key=0, content_id=0, shard=0, group=None, author=None, said_at=None)
"""Stands where a row was purged."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """One search of several that are made together."""

    question: str
    limit: int
    where: Where | None = None


_PREFIX = 64
"""The static vectors' dimensions are ordered by variance: these tell most."""


class SpaceIndex:
    """Passages by their words and their meaning.

    Thread safety: changes exclude each other; a search sees every change that had returned
    when it began.
    """

    def __init__(self, sentences: SentenceEncoder | None = None) -> None:
        """An empty index; with a sentence encoder, what it says counts once it was added."""
        self._sentences = sentences
        self._meanings = Meanings()
        self._writing = threading.Lock()
        self._encoder = shared_encoder()
        self._postings = Postings()
        self._vectors = VectorTable(DIMENSIONS, prefix=_PREFIX)
        self._rows: list[Row] = []
        self._numbers: dict[int, int] = {}
        self.added = 0
        """Passages and findings added since the index was built or read from disk."""
        self.removed = 0
        """The same of those removed."""
        self._unpurged = True
        self._before = Growing(np.intp(-1))
        self._after = Growing(np.intp(-1))
        self._turns = Growing(np.bool_(False))

    def __len__(self) -> int:
        return self._postings.live_count

    @property
    def dead_share(self) -> float:
        """Which part of what was ever added is removed, and still takes room."""
        return 1 - self._postings.live_count / max(self._postings.size, 1)

    def add(self, passages: Sequence[Passage]) -> None:
        """Index the passages of one content, in order; one that is known stays as it is."""
        with self._writing:
            previous: int | None = None
            for passage in passages:
                known = self._numbers.get(passage.passage_id)
                number = (
                    known
                    if known is not None
                    else self._add(
                        Row(
                            key=passage.passage_id,
                            content_id=passage.content_id,
                            shard=passage.shard,
                            group=passage.group,
                            author=passage.speaker,
                            said_at=passage.said_at,
                        ),
                        passage.text,
                        " ".join((passage.title, passage.header, date_words(passage.said_at))),
                    )
                )
                if passage.is_turn and previous is not None:
                    self._before.put(number, previous)
                    self._after.put(previous, number)
                previous = number if passage.is_turn else None

    def add_finding(self, row: Row, text: str, header: str) -> None:
        """Index a finding, unless it is known; its key is negative."""
        with self._writing:
            if row.key not in self._numbers:
                self._add(row, text, header)

    def copy_findings(self, other: SpaceIndex, keys: Iterable[int], *, shard: int) -> set[int]:
        """Take findings over from another index without reading their texts again.

        Worth it for many: it goes through all terms of the other once, whatever their number.

        Args:
            other: where they are; it keeps them.
            keys: which; negative.
            shard: that they are of from now on.

        Returns:
            The keys of those that were there and are here now.
        """
        with other._writing, self._writing:
            found = {key: other._numbers[key] for key in keys if key in other._numbers}
            new = sorted(number for key, number in found.items() if key not in self._numbers)
            first = len(self._rows)
            place = np.full(len(other._rows), -1, np.int64)
            place[new] = np.arange(first, first + len(new))
            self._rows += [replace(other._rows[number], shard=shard) for number in new]
            self._vectors.take(other._vectors, place)
            self._postings.take(other._postings, place)
            self._numbers |= {row.key: first + n for n, row in enumerate(self._rows[first:])}
            self.added += len(new)
        return set(found)

    def remove(self, keys: Iterable[int]) -> None:
        """Take passages or findings out of every answer; unknown keys are passed over."""
        with self._writing:
            for key in keys:
                number = self._numbers.pop(key, None)
                if number is not None:
                    self.removed += 1
                    self._unpurged = True
                    self._postings.remove(number)
                    # Its neighbours would lend it a score.
                    self._before.put(number, -1)
                    self._after.put(number, -1)

    def purge(self) -> None:
        """Drop all that is kept of what was removed: words, vectors, and whose it was."""
        with self._writing:
            if not self._unpurged:
                return
            self._unpurged = False
            dead = ~self._postings.live()
            self._postings.purge()
            self._vectors.purge(dead)
            self._meanings.purge(dead)
            for number in np.flatnonzero(dead).tolist():
                self._rows[number] = _NOBODYS

    def search(self, question: str, *, where: Where | None = None, limit: int) -> list[Hit]:
        """The best passages and findings, best first."""
        (hits,) = self.search_together([Wanted(question, limit, where)])
        return hits

    def search_together(self, wanted: Sequence[Wanted]) -> list[list[Hit]]:
        """The same for several questions, whose vectors are compared in one product."""
        questions = np.array(
            [self._encoder.question(one.question, self._word_weight) for one in wanted]
        )
        near = self._vectors.near(questions)
        return [self._search(*each) for each in zip(wanted, questions, near, strict=True)]

    def _search(self, wanted: Wanted, question: Vectors, near: Vectors) -> list[Hit]:
        weighted = self._weighted(wanted.question)
        words = self._postings.scores(weighted)
        size = len(words)
        within = self._within(wanted.where, size)
        best = float((words if within is None else words[within]).max(initial=0.0))
        allowed = self._allowed(within, size)
        meant = self._meant(wanted.question, allowed)
        reach = ranking.VECTOR_REACH
        ranked = ranking.rank(
            words,
            self._vectors.best(question, reach=reach, allowed=allowed, near=near),
            trust=ranking.lexical_trust(best, (weight for _, weight in weighted)),
            before=self._before.cut(size),
            after=self._after.cut(size),
            within=within,
            limit=wanted.limit,
            meant=meant,
        )
        return self._hits(ranked)

    def lacking(self, most: int) -> list[int]:
        """The keys of what has no vectors of the sentence encoder yet, the newest first."""
        live = self._postings.live()
        lacking = np.flatnonzero(live & ~self._meanings.known(len(live)))
        return [self._rows[number].key for number in lacking[-most:][::-1].tolist()]

    def embedded_count(self) -> int:
        """How many passages and findings have vectors of the sentence encoder."""
        live = self._postings.live()
        return int(np.count_nonzero(live & self._meanings.known(len(live))))

    def add_embedded(self, embedded: Iterable[tuple[int, bytes]]) -> None:
        """Take in vectors by key, as ``units.embed`` made them.

        Unknown keys, and those whose vectors are there, are passed over.
        """
        with self._writing:
            known = self._meanings.known(len(self._rows))
            self._meanings.add(
                (number, rows)
                for key, rows in embedded
                if (number := self._numbers.get(key)) is not None and not known[number]
            )

    def keys(self) -> set[int]:
        """The key of everything that can be found."""
        return set(self._numbers)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """The whole index as flat arrays, for ``from_arrays``; no change happens meanwhile."""
        with self._writing:
            size = len(self._rows)
            rows = msgspec.json.encode(self._rows)
            return {
                **self._postings.arrays(),
                **self._vectors.arrays(),
                "rows": np.frombuffer(rows, np.uint8),
                "before": self._before.cut(size),
                "after": self._after.cut(size),
            }

    @classmethod
    def from_arrays(
        cls, kept: Mapping[str, NDArray[Any]], sentences: SentenceEncoder | None = None
    ) -> SpaceIndex:
        """The index whose ``arrays`` these are."""
        index = cls(sentences)
        index._postings = Postings.from_arrays(kept)
        index._vectors = VectorTable.from_arrays(kept, DIMENSIONS, prefix=_PREFIX)
        index._rows = msgspec.json.decode(kept["rows"].tobytes(), type=list[Row])
        live = index._postings.live()
        index._numbers = {row.key: n for n, row in enumerate(index._rows) if live[n]}
        index._before = Growing(np.intp(-1), kept["before"])
        index._after = Growing(np.intp(-1), kept["after"])
        turns = np.fromiter((row.is_turn for row in index._rows), np.bool_, len(index._rows))
        index._turns = Growing(np.bool_(False), turns)
        return index

    def idf(self, term: str) -> float:
        """How much a term says: its inverse document frequency."""
        return ranking.idf(self._postings.frequency(term), self._postings.live_count)

    def occurs(self, term: str, *, where: Where | None = None) -> bool:
        """True when a term occurs in what a filter leaves."""
        if where is None:
            return self._postings.frequency(term) > 0
        scores: Scores = self._postings.scores([(term, 1.0)])
        return any(where(self._rows[number]) for number in np.flatnonzero(scores > 0).tolist())

    def _add(self, row: Row, text: str, header: str) -> int:
        self._rows.append(row)
        number = len(self._rows) - 1
        self._before.put(number, -1)
        self._after.put(number, -1)
        self._turns.put(number, row.is_turn)
        self._vectors.add(number, self._vectors_of(text))
        # Last: from here on a search finds it, so all that a search reads must be there.
        self._postings.add(ranking.passage_counts(text, header))
        self._numbers[row.key] = number
        self.added += 1
        return number

    def _vectors_of(self, text: str) -> Vectors:
        if "\n" not in text.strip():
            return self._encoder.whole([text])
        whole, lines = self._encoder.fine(text)
        return np.concatenate((whole, lines))

    def _allowed(self, within: Numbers | None, size: int) -> Flags:
        if within is None:
            return self._postings.live()[:size]
        allowed = np.zeros(size, np.bool_)
        allowed[within] = True
        return allowed

    def _meant(self, question: str, allowed: Flags) -> Meant | None:
        if self._sentences is None or not self._meanings.suffice(allowed):
            return None
        vector = self._sentences.question(question)
        if vector is None:
            return None
        return self._meanings.nearest(vector, allowed, self._turns.cut(len(allowed)))

    def _word_weight(self, word: str) -> float:
        """The mean IDF of a word's terms; nothing for a stop word."""
        found = known_terms(word)
        return sum(map(self.idf, found)) / len(found) if found else 0.0

    def _weighted(self, question: str) -> list[tuple[str, float]]:
        postings = self._postings
        return ranking.weighted_terms(question, postings.frequency, postings.live_count)

    def _within(self, where: Where | None, size: int) -> Numbers | None:
        if where is None:
            return None
        # Grows with the space, and only when a filter is given: a few ms for 100,000 passages.
        live = self._postings.live()
        return np.array(
            [n for n, row in enumerate(self._rows[:size]) if live[n] and where(row)], np.intp
        )

    def _hits(self, ranked: Ranked) -> list[Hit]:
        best = ranked.best
        parts = [part[best] for part in (ranked.lexical, ranked.vector, ranked.neighbour)]
        lexical, vector, neighbour = parts
        columns = [each.tolist() for each in (lexical + vector + neighbour, *parts)]
        rows = self._rows
        return [
            Hit(row.key, row.shard, *scores)
            for row, *scores in zip([rows[n] for n in best], *columns, strict=True)
        ]
