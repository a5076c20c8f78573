"""Saving drafts: placed, stored and linked in one transaction, in the order they were read."""

from __future__ import annotations

import shlex
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
from ifmem.store import audit_notes, contents, sessions, shards, tombstones
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


def insert_part(
    connection: sqlite3.Connection, prepared: Prepared, content_id: int, ordinal: int, *, shard: int
) -> None:
    """Put a part of a stored text, with its passages, at the end of a shard."""
    draft, part = prepared.draft, prepared.parts[ordinal]
    part_id = shards.append_part(
        connection,
        content_id=content_id,
        ordinal=ordinal,
        shard=shard,
        tokens=prepared.part_tokens[ordinal],
        bytes=len(draft.text[slice(*_characters(draft, part))].encode()),
    )
    contents.insert_passages(
        connection,
        content_id=content_id,
        part_id=part_id,
        ordinals=part,
        spans=draft.spans,
        tokens=prepared.passage_tokens,
        text=draft.text,
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
    archived: list[int] = field(default_factory=list)
    """Ids of contents that went to the archive."""
    removed: list[int] = field(default_factory=list)
    """Passage ids."""
    shards: set[int] = field(default_factory=set)
    rewritten: set[int] = field(default_factory=set)
    """Shards whose stored text changed in place: nothing rendered of them is still true."""
    sources: list[str] = field(default_factory=list)
    """Documents saved or removed."""
    skipped: list[Skipped] = field(default_factory=list)
    forgotten: int = 0
    """Of the skipped, those that were forgotten."""


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
    for origin in {one.origin.run: one.origin for one in batch}.values():
        sessions.enter(connection, origin.run, agent=origin.agent, at=origin.loaded_at)
    for prepared in batch:
        saver.save(prepared)
    return saver.changes


def remove(connection: sqlite3.Connection, sources: Sequence[str]) -> Changes:
    """Remove documents; a text that no path leads to any more goes with its last one."""
    changes = take_out(connection, sources)
    audit_notes.documents_removed(connection, changes.sources)
    return changes


def take_out(connection: sqlite3.Connection, sources: Sequence[str]) -> Changes:
    """The same, for a caller who writes it down himself."""
    changes = Changes()
    for source in sources:
        content_id = contents.unlink(connection, source)
        if content_id is not None:
            changes.sources.append(source)
            _drop_if_unlinked(connection, content_id, changes)
    return changes


def forgotten(connection: sqlite3.Connection, source: str, sha256: str) -> str | None:
    """Why a text is not stored, when it or its source was forgotten."""
    if tombstones.blocked(connection, tombstones.SOURCE, source):
        return f"forgotten: `ifmem forget --lift {shlex.quote(source)}` lets it be loaded again"
    if tombstones.blocked(connection, tombstones.CONTENT, sha256):
        return f"its text was forgotten: `ifmem forget --lift {sha256}` lets it be loaded again"
    return None


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
        if reason := forgotten(self._connection, source, draft.sha256):
            # What it was before is not what the source says now.
            self._release(contents.unlink(self._connection, source))
            self.changes.skipped.append(Skipped(source, reason))
            self.changes.forgotten += 1
            return
        before = audit_notes.digest_at(self._connection, source)
        held = contents.content_of(self._connection, draft.sha256, draft.format)
        loaders = sessions.loaded_by(self._connection, source)
        if held is None:
            # The version before makes room first, so that a full shard can take the new one.
            self._release(contents.unlink(self._connection, source))
            placed = self._insert(prepared)
            if isinstance(placed, NoRoom):
                self.changes.skipped.append(Skipped(source, _no_room(placed, prepared.tokens)))
                return
            held = placed
            self.changes.added.append(held)
            self._blank_forgotten(held, draft)
        elif not self.revive(held, source):
            return
        released = contents.link(self._connection, origin, held)
        for loader in loaders:
            sessions.add_loader(self._connection, source, loader)
        self._release(released)
        audit_notes.document_saved(self._connection, origin, draft.sha256, before=before)
        self.changes.sources.append(source)

    def revive(self, content_id: int, source: str) -> bool:
        """Bring a text back from the archive, if it is there; False when it finds no room."""
        if not sessions.is_archived(self._connection, content_id):
            return True
        kind, title = contents.kind_and_title(self._connection, content_id)
        speciality = speciality_of(kind, title, self._placement.rules)
        removed: list[int] = []
        self._connection.execute("SAVEPOINT revived")
        for part_id, size in shards.parts_of_content(self._connection, content_id):
            number = self._place(size, speciality, title)
            if isinstance(number, NoRoom):
                self._connection.execute("ROLLBACK TO revived")
                self._connection.execute("RELEASE revived")
                self._read_shards()
                self.changes.skipped.append(Skipped(source, _no_room(number, size)))
                return False
            # With new ids: an index knows a passage and its shard by id.
            removed += shards.move_part(self._connection, part_id, number)[0]
            self._read_shards()
            self.changes.shards.add(number)
        self._connection.execute("RELEASE revived")
        self.changes.removed += removed
        self.changes.added.append(content_id)
        return True

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

    def _blank_forgotten(self, content_id: int, draft: Draft) -> None:
        """Blank the passages of a new text that were forgotten, there or elsewhere."""
        if not tombstones.any_of(self._connection, tombstones.PASSAGE):
            return
        for ordinal, span in enumerate(draft.spans):
            text = draft.text[span.start : span.end]
            if tombstones.is_passage_blocked(self._connection, draft.sha256, ordinal, text):
                self.changes.shards |= blank(self._connection, content_id, ordinal).rewritten
                self._read_shards()

    def _insert_part(self, prepared: Prepared, content_id: int, ordinal: int) -> NoRoom | None:
        part_tokens = prepared.part_tokens[ordinal]
        speciality = speciality_of(prepared.draft.kind, prepared.title, self._placement.rules)
        number = self._place(part_tokens, speciality, prepared.title)
        if isinstance(number, NoRoom):
            return number
        insert_part(self._connection, prepared, content_id, ordinal, shard=number)
        shard = self._shards[number]
        self._shards[number] = replace(shard, tokens=shard.tokens + part_tokens)
        self.changes.shards.add(number)
        return None

    def _place(self, tokens: int, speciality: Speciality, title: str) -> int | NoRoom:
        """The shard that a part goes to, beside those of its directory; opened when need be."""
        directory = str(PurePosixPath(title).parent)
        placed = place(
            tokens,
            speciality,
            list(self._shards.values()),
            near=shards.shard_near(self._connection, directory, speciality),
            limit=self._placement.limit,
        )
        if isinstance(placed, NoRoom):
            return placed
        if placed.opens:
            capacity = self._placement.capacities[speciality]
            shards.open_sibling(self._connection, placed.shard, speciality, capacity)
            self._read_shards()
        shards.remember_neighbour(self._connection, directory, speciality, placed.shard)
        return placed.shard

    def _read_shards(self) -> None:
        self._shards = {s.number: s for s in shards.all_shards(self._connection)}


def _drop_if_unlinked(connection: sqlite3.Connection, content_id: int, changes: Changes) -> None:
    if contents.is_linked(connection, content_id):
        # Those who are left may all have ended.
        given = sessions.archive_if_over(connection, content_id)
        if given:
            changes.shards |= given
            changes.archived.append(content_id)
        return
    changes.shards |= set(shards.release_parts(connection, content_id))
    changes.removed += contents.delete_content(connection, content_id)
    if content_id in changes.added:
        changes.added.remove(content_id)


def load_again(
    connection: sqlite3.Connection,
    sources: Sequence[str],
    placement: Placement,
    *,
    run: str,
    agent: str,
    at: str,
) -> Changes:
    """Note who loads documents that did not change; archived ones are live again."""
    saver = _Saver(connection, placement)
    sessions.enter(connection, run, agent=agent, at=at)
    for source in sources:
        found = contents.content_at(connection, source)
        if found is not None and saver.revive(found[0], source):
            sessions.add_loader(connection, source, run)
    return saver.changes


def _no_room(full: NoRoom, needed: int) -> str:
    return (
        f"no room for {needed:,} tokens: every {full.speciality} shard is full and {full.shards} "
        "shards are the limit; raise [shards] limit, or forget what is not needed"
    )
