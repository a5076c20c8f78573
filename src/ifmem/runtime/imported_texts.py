"""Taking the documents of an export: placed anew, with their passages as they were."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import accumulate

from ifmem import tokens
from ifmem.domain.document import Draft, Span
from ifmem.engine.exports import moved, source_of
from ifmem.engine.masking import mask
from ifmem.engine.placement import cut_into_parts
from ifmem.errors import Refused
from ifmem.runtime.saving import Placement, Prepared, blank, insert_part, save, title_of
from ifmem.store import contents, shards, tombstones
from ifmem.store.contents import Origin
from ifmem.store.imports import Tally
from ifmem.wire.exports import PassageRow, SourceRow, TextRow


@dataclass
class Texts:
    """What was stored."""

    live: list[int] = field(default_factory=list)
    """Content ids."""
    archived: list[int] = field(default_factory=list)
    tokens: int = 0
    masked: int = 0


def take_texts(
    connection: sqlite3.Connection,
    rows: Iterable[tuple[TextRow, bool]],
    tally: Tally,
    *,
    placement: Placement,
    moves: Mapping[str, str],
) -> Texts:
    """Store the texts that are new, each with whether it may hold credentials.

    A source that is here already keeps the text it has here.

    Raises:
        Refused: one finds no room.
    """
    taker = _Taker(connection, tally, placement, moves)
    for row, suspect in rows:
        taker.take(_masked(row, taker.stored) if suspect else row)
    return taker.stored


class _Taker:
    def __init__(
        self,
        connection: sqlite3.Connection,
        tally: Tally,
        placement: Placement,
        moves: Mapping[str, str],
    ) -> None:
        self.stored = Texts()
        self._connection = connection
        self._tally = tally
        self._placement = placement
        self._moves = moves
        self._forgets_passages = tombstones.any_of(connection, tombstones.PASSAGE)

    def take(self, row: TextRow) -> None:
        if tombstones.blocked(self._connection, tombstones.CONTENT, row.sha256):
            self._tally.blocked += len(row.sources)
            return
        wanted = [found for one in row.sources if (found := self._wanted(row, one)) is not None]
        if not wanted:
            return
        held = contents.content_of(self._connection, row.sha256, row.format)
        if held is None:
            held = self._insert(row, wanted[0][0])
        for origin, sessions in wanted:
            contents.link(self._connection, origin, held)
            self._connection.execute(
                "DELETE FROM document_session WHERE source = ?", (origin.source,)
            )
            self._connection.executemany(
                "INSERT INTO document_session VALUES (?, ?)",
                [(origin.source, session) for session in sessions],
            )
        self._tally.new += len(wanted)

    def _wanted(self, row: TextRow, one: SourceRow) -> tuple[Origin, tuple[str, ...]] | None:
        """The document as it will lie here; None for one that is not taken."""
        root = moved(one.root, self._moves)
        source = moved(source_of(one.root, one.path, below=one.below), self._moves)
        if tombstones.blocked(self._connection, tombstones.SOURCE, source):
            self._tally.blocked += 1
            return None
        here = self._connection.execute(
            "SELECT sha256, format FROM document JOIN content USING (content_id) WHERE source = ?",
            (source,),
        ).fetchone()
        if here is not None:
            if here == (row.sha256, row.format):
                self._tally.known += 1
            else:
                self._tally.differs(source)
            return None
        origin = Origin(
            source=source,
            root=root,
            size=one.size,
            mtime_ns=one.mtime_ns,
            inode=one.inode,
            loaded_at=one.loaded_at,
            trust=one.trust,
        )
        return origin, one.sessions

    def _insert(self, row: TextRow, origin: Origin) -> int:
        prepared = self._prepared(row, origin)
        if row.archived:
            content_id = _insert_archived(self._connection, prepared)
            self.stored.archived.append(content_id)
        else:
            changes = save(self._connection, [prepared], self._placement)
            if changes.skipped:
                raise Refused(f"{origin.source}: {changes.skipped[0].reason}; nothing was imported")
            (content_id,) = changes.added
            self.stored.live.append(content_id)
        # Of a text in several parts, or with a passage that was forgotten, the sum differs.
        self._connection.execute(
            "UPDATE content SET tokens = ? WHERE content_id = ?", (row.tokens, content_id)
        )
        self._blank_forgotten(row, content_id)
        self.stored.tokens += row.tokens
        return content_id

    def _prepared(self, row: TextRow, origin: Origin) -> Prepared:
        text = "".join(one.text for one in row.passages)
        ends = list(accumulate(len(one.text) for one in row.passages))
        spans = tuple(map(_span, [0, *ends], ends, row.passages))
        counts = tuple(one.tokens for one in row.passages)
        try:
            parts = tuple(cut_into_parts(counts, self._placement.least_capacity))
        except ValueError as error:
            raise Refused(
                f"{origin.source}: {error}; raise [shards] capacity; nothing was imported"
            ) from error
        counted: tuple[int, ...] = (row.tokens,)
        if len(parts) > 1:
            counted = tuple(
                min(
                    tokens.count("".join(row.passages[i].text for i in part)),
                    sum(counts[i] for i in part),
                )
                for part in parts
            )
        return Prepared(
            draft=Draft(
                source=origin.source,
                sha256=row.sha256,
                format=row.format,
                kind=row.kind,
                text=text,
                spans=spans,
                size=row.size,
                masked=row.masked,
                group=row.conversation,
            ),
            origin=origin,
            title=self._title(row, origin),
            passage_tokens=counts,
            parts=parts,
            part_tokens=counted,
        )

    def _title(self, row: TextRow, origin: Origin) -> str:
        """As it was, unless it told of a directory that lies elsewhere now."""
        first = row.sources[0]
        was = title_of(source_of(first.root, first.path, below=first.below), first.root)
        is_moved = moved(first.root, self._moves) != first.root
        return title_of(origin.source, origin.root) if is_moved and row.title == was else row.title

    def _blank_forgotten(self, row: TextRow, content_id: int) -> None:
        """What was forgotten here of a text stays so."""
        if not self._forgets_passages:
            return
        for ordinal, one in enumerate(row.passages):
            if tombstones.is_passage_blocked(self._connection, row.sha256, ordinal, one.text):
                blank(self._connection, content_id, ordinal)


def _insert_archived(connection: sqlite3.Connection, prepared: Prepared) -> int:
    draft = prepared.draft
    content_id = contents.insert_content(
        connection, draft, title=prepared.title, tokens=prepared.tokens
    )
    for ordinal in range(len(prepared.parts)):
        insert_part(connection, prepared, content_id, ordinal, shard=shards.ARCHIVE)
    return content_id


def _span(start: int, end: int, row: PassageRow) -> Span:
    return Span(
        start=start,
        end=end,
        first_line=row.first_line,
        last_line=row.last_line,
        header=row.header,
        speaker=row.speaker,
        said_at=row.said_at,
        locator=row.locator,
    )


def _masked(row: TextRow, stored: Texts) -> TextRow:
    from msgspec.structs import replace

    passages = []
    for one in row.passages:
        masked = mask(one.text)
        stored.masked += masked.count
        passages.append(replace(one, text=masked.text) if masked.count else one)
    return replace(row, passages=tuple(passages))
