"""What a librarian reads: the whole archive in the order of storing, or the best of it."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import groupby

from ifmem import tokens
from ifmem.domain.passage import Passage
from ifmem.engine.evidence import locate
from ifmem.engine.librarian_reading import fitting, is_echo
from ifmem.engine.shard_answers import Proof, ShownDocument, ShownPassage
from ifmem.prompts.fencing import FencedDocument, fence
from ifmem.runtime.archived import archive_tokens
from ifmem.runtime.asking import MOST_HITS
from ifmem.runtime.quoting import Source, finding_citation, passage_citation, rows_of, words_of
from ifmem.runtime.space import Space
from ifmem.store.findings import StoredFinding
from ifmem.wire import finding_json
from ifmem.wire.answers import CitationShape
from ifmem.wire.calls import Filters

MOST_RECORDS = 4_000
"""Records read for one question when the archive does not fit."""
_LEAST_RECORD = 64
"""o200k tokens of a record with its fence, about: how many are looked for follows from it."""


@dataclass(frozen=True)
class Record:
    """A finding, or consecutive passages of a document, as one document of a prompt."""

    number: int
    rows: tuple[Source, ...]
    """One finding, or passages in order."""

    @cached_property
    def shown(self) -> ShownDocument:
        """As a model's quotes are looked up in it."""
        return ShownDocument(self.number, self._source, tuple(map(_shown, self.rows)))

    @cached_property
    def fenced(self) -> FencedDocument:
        """As a prompt holds it."""
        return FencedDocument(self.number, self._source, self._sha256, self.shown.text)

    @property
    def _source(self) -> str:
        first = self.rows[0]
        return f"finding:{first.finding_id}" if isinstance(first, StoredFinding) else first.source

    @property
    def _sha256(self) -> str:
        first = self.rows[0]
        if isinstance(first, StoredFinding):
            return finding_json.parse(first.body).content_sha256
        return first.sha256


@dataclass(frozen=True)
class Reading:
    """What a librarian was shown for a question."""

    records: tuple[Record, ...]
    whole: bool
    """It is all of the archive, and stands before the cache boundary."""

    @cached_property
    def text(self) -> str:
        """All of it, fenced."""
        return fence(record.fenced for record in self.records)

    @cached_property
    def tokens(self) -> int:
        """o200k tokens of ``text``."""
        return tokens.count(self.text)

    @cached_property
    def documents(self) -> Mapping[int, ShownDocument]:
        """By number."""
        return {record.number: record.shown for record in self.records}


async def read_archive(space: Space, found: Sequence[int], filters: Filters, most: int) -> Reading:
    """What fits: the whole archive, else the best of it for the question.

    Args:
        found: the archive's keys for the question, best first.
        filters: of the question; with one, the archive is never read whole.
        most: o200k tokens, fences included.
    """
    if filters == Filters() and await archive_tokens(space) <= most:
        reading = await _whole(space)
        if reading.tokens <= most:
            return reading
    return await space.compute(_best, space, found, most)


def records_for(most: int) -> int:
    """How many records to look for, to fill so many tokens."""
    return min(MOST_RECORDS, max(MOST_HITS, most // _LEAST_RECORD))


async def _whole(space: Space) -> Reading:
    archive = space.archive
    version = (id(archive), archive.added, archive.removed)
    kept = space.desk.whole
    if kept is not None and kept[0] == version and isinstance(kept[1], Reading):
        return kept[1]
    reading = await space.compute(_read_whole, space, archive.keys())
    space.desk.whole = (version, reading)
    return reading


def _read_whole(space: Space, keys: Collection[int]) -> Reading:
    rows = _rows(space, sorted(keys))
    in_order = sorted(rows, key=_stored_at)
    runs = (tuple(run) for _, run in groupby(in_order, key=_document_of))
    reading = Reading(tuple(Record(n, run) for n, run in enumerate(runs, start=1)), whole=True)
    # Counted here, off the event loop, and kept.
    _ = reading.tokens
    return reading


def _best(space: Space, keys: Sequence[int], most: int) -> Reading:
    """Records in the order of the search, as many as fit."""
    rows = _rows(space, keys)
    # The number of a record is a few digits: its place here has as many as its place there.
    sizes = [tokens.count(Record(n, (row,)).fenced.fenced) for n, row in enumerate(rows, start=1)]
    chosen = [rows[place] for place in fitting(sizes, most)]
    return Reading(tuple(Record(n, (row,)) for n, row in enumerate(chosen, start=1)), whole=False)


def _rows(space: Space, keys: Sequence[int]) -> list[Source]:
    found = space.database.read(partial(rows_of, keys=keys))
    return [found[key] for key in keys if key in found and not echoes(found[key])]


def echoes(row: Source) -> bool:
    """It repeats what a librarian said."""
    if not isinstance(row, StoredFinding):
        return False
    said = finding_json.searched(row.body)
    return is_echo(row.author, source_model=said.source_model, tags=said.tags)


def cite(space: Space, reading: Reading, proofs: Sequence[Proof]) -> list[CitationShape | None]:
    """A citation for each proof, found once more in the store; None for one that is gone."""
    records = {record.number: record for record in reading.records}
    return space.database.read(
        lambda connection: [_cited(connection, records[one.document], one) for one in proofs]
    )


def _cited(connection: sqlite3.Connection, record: Record, proof: Proof) -> CitationShape | None:
    read = list(_around(record, proof))
    found = rows_of(connection, [_key(row) for row in read])
    rows = [found[_key(row)] for row in read if _key(row) in found]
    if not read or len(rows) != len(read):
        return None
    first = rows[0]
    if not isinstance(first, StoredFinding):
        return passage_citation([row for row in rows if isinstance(row, Passage)], proof.quote)
    claim, _ = words_of(first)
    place = locate(proof.quote, claim)
    return None if place is None else finding_citation(first, claim[slice(*place)])


def _around(record: Record, proof: Proof) -> Iterable[Source]:
    """The rows that a proof stands in."""
    start = 0
    for row in record.rows:
        end = start + len(words_of(row)[0])
        if start < proof.end and proof.start < end:
            yield row
        start = end


def _shown(row: Source) -> ShownPassage:
    text, under = words_of(row)
    return ShownPassage(text, under.strip())


def _key(row: Source) -> int:
    return -row.sequence if isinstance(row, StoredFinding) else row.passage_id


def _document_of(row: Source) -> int:
    return -row.sequence if isinstance(row, StoredFinding) else row.content_id


def _stored_at(row: Source) -> tuple[str, int, int]:
    """In the order of storing; the passages of a document in theirs."""
    if isinstance(row, StoredFinding):
        return row.said_at, 0, row.sequence
    return row.loaded_at or "", row.content_id, row.ordinal
