"""Saving drafts: placed, stored and linked in one transaction, in the order they were read."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import PurePosixPath

from ifmem import tokens
from ifmem.domain.document import Draft, Skipped
from ifmem.domain.shard import Shard, Speciality
from ifmem.engine.placement import (
    NoRoom,
    PlacementRule,
    cut_into_parts,
    place,
    speciality_of,
)
from ifmem.store import contents, shards
from ifmem.store.contents import Origin


@dataclass(frozen=True, slots=True)
class Prepared:
    """A draft with its counts: all that can be done without the store."""

    draft: Draft
    origin: Origin
    title: str
    """The path below the parent of its root: what placement matches and ranking reads."""
    passage_tokens: tuple[int, ...]
    parts: tuple[range, ...]
    part_tokens: tuple[int, ...]

    @property
    def tokens(self) -> int:
        """o200k tokens of the text."""
        return sum(self.part_tokens)


def prepare(draft: Draft, origin: Origin, *, capacity: int) -> Prepared:
    """Count a draft's tokens and cut it into parts that each fit one shard."""
    text = draft.text
    passage_tokens = tokens.count_each(text[span.start : span.end] for span in draft.spans)
    parts = cut_into_parts(passage_tokens, capacity)
    part_tokens = [tokens.count(text[slice(*_characters(draft, part))]) for part in parts]
    return Prepared(
        draft=draft,
        origin=origin,
        title=title_of(draft.source, origin.root),
        passage_tokens=tuple(passage_tokens),
        parts=tuple(parts),
        # A text never has more tokens than its pieces counted alone, save by a rounding of the
        # tokeniser's word splitting; the smaller keeps the promise that a part fits.
        part_tokens=tuple(
            min(counted, sum(passage_tokens[i] for i in part))
            for counted, part in zip(part_tokens, parts, strict=True)
        ),
    )


def title_of(source: str, root: str) -> str:
    """The path of a source below its root's parent; a URL or chat as it is."""
    if not source.startswith("/"):
        return source
    parent = str(PurePosixPath(root).parent)
    return source.removeprefix(parent).lstrip("/")


def _characters(draft: Draft, part: range) -> tuple[int, int]:
    if not part:
        return (0, 0)
    return (draft.spans[part[0]].start, draft.spans[part[-1]].end)


@dataclass
class Changes:
    """What a transaction changed: what the index and the bus must hear of."""

    added: list[int] = field(default_factory=list)
    """Content ids."""
    removed: list[int] = field(default_factory=list)
    """Passage ids."""
    shards: set[int] = field(default_factory=set)
    rewritten: set[int] = field(default_factory=set)
    """Shards whose stored text changed in place: nothing rendered of them is still true."""
    sources: list[str] = field(default_factory=list)
    """Documents saved or removed."""
    skipped: list[Skipped] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Placement:
    """What placing follows: the table, and the bounds of a space."""

    rules: tuple[PlacementRule, ...]
    capacities: Mapping[Speciality, int]
    """o200k tokens that a new shard of each speciality may hold."""
    limit: int

    @property
    def least_capacity(self) -> int:
        """What fits a new shard of any speciality."""
        return min(self.capacities.values())


def save(
    connection: sqlite3.Connection, batch: Sequence[Prepared], placement: Placement
) -> Changes:
    """Store a batch in its order. A document that finds no room is skipped, with the reason."""
    saver = _Saver(connection, placement)
    for prepared in batch:
        saver.save(prepared)
    return saver.changes


def remove(connection: sqlite3.Connection, sources: Sequence[str]) -> Changes:
    """Remove documents; a text that no path leads to any more goes with its last one."""
    changes = Changes()
    for source in sources:
        content_id = contents.unlink(connection, source)
        if content_id is not None:
            changes.sources.append(source)
            _drop_if_unlinked(connection, content_id, changes)
    return changes


def blank(connection: sqlite3.Connection, content_id: int, ordinal: int) -> Changes:
    """Blank one passage of a text, its lines kept."""
    changes = Changes()
    ids = contents.blank_passage(connection, content_id, ordinal)
    if ids is None:
        return changes
    before, after = ids
    changes.removed.append(before)
    changes.rewritten.add(shards.recount_part_of(connection, after))
    return changes


class _Saver:
    """One batch within one transaction, with the shards as it leaves them."""

    def __init__(self, connection: sqlite3.Connection, placement: Placement) -> None:
        self.changes = Changes()
        self._connection = connection
        self._placement = placement
        self._shards: dict[int, Shard] = {}
        self._read_shards()

    def save(self, prepared: Prepared) -> None:
        draft, source = prepared.draft, prepared.origin.source
        origin = prepared.origin
        if contents.is_users(self._connection, source):
            # It stays so, whoever brings a newer text of it.
            origin = replace(origin, trust="user")
        held = contents.content_of(self._connection, draft.sha256, draft.format)
        if held is None:
            # The version before makes room first, so that a full shard can take the new one.
            self._release(contents.unlink(self._connection, source))
            placed = self._insert(prepared)
            if isinstance(placed, NoRoom):
                self.changes.skipped.append(Skipped(source, _no_room(placed, prepared.tokens)))
                return
            held = placed
            self.changes.added.append(held)
        self._release(contents.link(self._connection, origin, held))
        self.changes.sources.append(source)

    def _release(self, content_id: int | None) -> None:
        if content_id is not None:
            _drop_if_unlinked(self._connection, content_id, self.changes)
            self._read_shards()

    def _insert(self, prepared: Prepared) -> int | NoRoom:
        """Store a text with all its parts, or nothing of it."""
        self._connection.execute("SAVEPOINT document")
        content_id = contents.insert_content(
            self._connection, prepared.draft, title=prepared.title, tokens=prepared.tokens
        )
        for ordinal in range(len(prepared.parts)):
            full = self._insert_part(prepared, content_id, ordinal)
            if full is not None:
                self._connection.execute("ROLLBACK TO document")
                self._connection.execute("RELEASE document")
                self._read_shards()
                return full
        self._connection.execute("RELEASE document")
        return content_id

    def _insert_part(self, prepared: Prepared, content_id: int, ordinal: int) -> NoRoom | None:
        draft, part = prepared.draft, prepared.parts[ordinal]
        part_tokens = prepared.part_tokens[ordinal]
        directory = str(PurePosixPath(prepared.title).parent)
        speciality = speciality_of(draft.kind, prepared.title, self._placement.rules)
        placed = place(
            part_tokens,
            speciality,
            list(self._shards.values()),
            near=shards.shard_near(self._connection, directory, speciality),
            limit=self._placement.limit,
        )
        if isinstance(placed, NoRoom):
            return placed
        if placed.opens:
            shards.open_sibling(
                self._connection,
                placed.shard,
                speciality,
                self._placement.capacities[speciality],
            )
            self._read_shards()
        first, last = _characters(draft, part)
        part_id = shards.append_part(
            self._connection,
            content_id=content_id,
            ordinal=ordinal,
            shard=placed.shard,
            tokens=part_tokens,
            bytes=len(draft.text[first:last].encode()),
        )
        contents.insert_passages(
            self._connection,
            content_id=content_id,
            part_id=part_id,
            ordinals=part,
            spans=draft.spans,
            tokens=prepared.passage_tokens,
            text=draft.text,
        )
        shards.remember_neighbour(self._connection, directory, speciality, placed.shard)
        shard = self._shards[placed.shard]
        self._shards[placed.shard] = replace(shard, tokens=shard.tokens + part_tokens)
        self.changes.shards.add(placed.shard)
        return None

    def _read_shards(self) -> None:
        self._shards = {s.number: s for s in shards.all_shards(self._connection)}


def _drop_if_unlinked(connection: sqlite3.Connection, content_id: int, changes: Changes) -> None:
    if contents.is_linked(connection, content_id):
        return
    changes.shards |= set(shards.release_parts(connection, content_id))
    changes.removed += contents.delete_content(connection, content_id)
    if content_id in changes.added:
        changes.added.remove(content_id)


def _no_room(full: NoRoom, needed: int) -> str:
    return (
        f"no room for {needed:,} tokens: every {full.speciality} shard is full and {full.shards} "
        "shards are the limit; raise [shards] limit, or forget what is not needed"
    )
