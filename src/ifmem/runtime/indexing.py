"""Keeping a space's indexes equal to its store, and copies of them on disk.

There are two of a kind: of what is live, and of what is archived. A passage that comes back from
the archive has a new id, so neither index ever holds a row with another shard than the store's.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from itertools import groupby

from ifmem.domain.passage import Passage
from ifmem.engine.librarian_reading import is_echo
from ifmem.index.sentence_encoder import NAME
from ifmem.index.snapshot import read_snapshot, write_snapshot
from ifmem.index.space_index import Row, SpaceIndex
from ifmem.runtime.space import Space
from ifmem.store import contents, embeddings, findings, sessions, supersession
from ifmem.store.findings import StoredFinding
from ifmem.store.shards import ARCHIVE
from ifmem.wire import finding_json

FINDINGS_SHARD = 4
"""Findings are routed with coordination and decision. They are bounded by the window, not by the
shard's capacity: `docs/decisions/0003-findings-beside-shards.md`."""
SNAPSHOT, ARCHIVE_SNAPSHOT = "index.npz", "archive.npz"
_WORTH_WRITING = 20_000
"""Passages added since the last copy that make a load write one: some seconds of a start."""
_MOST_DEAD = 0.3
"""Share of removed passages above which an index is built anew."""
_READ_AT_ONCE = 500
_WORTH_COPYING = 2_000
"""Findings from which on it is faster to copy them from index to index than to read them again."""


async def open_index(space: Space) -> None:
    """Read the copies on disk, if they can be used, and bring them in line with the store."""
    space.index = await _opened(space, archived=False)
    space.archive = await _opened(space, archived=True)


async def keep_index(space: Space) -> None:
    """Build anew what is mostly dead, and write a copy of what has much that is new."""
    if space.index.dead_share > _MOST_DEAD:
        renewed = SpaceIndex(space.sentences)
        await asyncio.to_thread(reconcile, space, renewed)
        space.index = renewed
        # What was stored while the new one was built went to the old one.
        await asyncio.to_thread(reconcile, space, renewed)
    if space.archive.dead_share > _MOST_DEAD:
        renewed = SpaceIndex(space.sentences)
        await asyncio.to_thread(reconcile, space, renewed, archived=True)
        space.archive = renewed
        await asyncio.to_thread(reconcile, space, renewed, archived=True)
    if space.index.added >= _WORTH_WRITING:
        await asyncio.to_thread(write_snapshot, space.index, space.directory / SNAPSHOT)
    if space.archive.added >= _WORTH_WRITING:
        await asyncio.to_thread(write_snapshot, space.archive, space.directory / ARCHIVE_SNAPSHOT)


async def write_index(space: Space) -> None:
    """Write copies of the indexes; of the archive's only when it changed since the last."""
    await asyncio.to_thread(write_snapshot, space.index, space.directory / SNAPSHOT)
    if space.archive.added or space.archive.removed:
        await asyncio.to_thread(write_snapshot, space.archive, space.directory / ARCHIVE_SNAPSHOT)


def reconcile(space: Space, index: SpaceIndex, *, archived: bool = False) -> None:
    """Add to an index what the store has and it lacks; remove what is gone from the store.

    A passage's text never changes under its id, so comparing ids is enough.
    """

    def work(connection: sqlite3.Connection) -> None:
        there = index.keys()
        stored = sessions.archived_keys(connection)
        if not archived:
            everything = contents.passage_ids(connection)
            everything |= {-sequence for sequence in findings.sequences(connection)}
            stored = everything - stored
        # What nobody believes any more is found only by who asks what was believed then.
        stored -= {-sequence for sequence in supersession.superseded(connection)}
        index.remove(there - stored)
        missing = stored - there
        passages = _passages(connection, sorted(key for key in missing if key > 0))
        for _, some in groupby(passages, key=lambda passage: passage.content_id):
            index.add(list(some))
        for stored_finding in _findings(connection, sorted(-key for key in missing if key < 0)):
            index_finding(index, stored_finding, shard=ARCHIVE if archived else FINDINGS_SHARD)
        if space.sentences is not None and stored:
            index.add_embedded(embeddings.all_of(connection, NAME))

    space.database.read_together(work)


def index_finding(index: SpaceIndex, stored: StoredFinding, *, shard: int = FINDINGS_SHARD) -> None:
    """Make a stored finding searchable by its claim, topic, tags and quotes; what repeats a
    librarian is not."""
    finding = finding_json.searched(stored.body)
    if is_echo(stored.author, source_model=finding.source_model, tags=finding.tags):
        return
    index.add_finding(
        Row(
            key=-stored.sequence,
            content_id=0,
            shard=shard,
            group=stored.run,
            author=stored.author,
            said_at=stored.said_at,
        ),
        " ".join((finding.claim, *finding.quotes)),
        " ".join((finding.topic or "", *finding.tags)),
    )


def index_new_findings(space: Space, new: Sequence[StoredFinding]) -> None:
    """Make findings that were just stored searchable, among what is live or what is archived."""
    for stored in new:
        index_finding(space.index, stored)
    of_sessions = [one.sequence for one in new if one.run is not None]
    if of_sessions:
        # A session that ends after this look finds them in the index, and moves them itself.
        read = partial(sessions.archived_among, sequences=of_sessions)
        if archived := space.database.read(read):
            archive_indexed(space, [], archived)


def archive_indexed(space: Space, content_ids: Sequence[int], sequences: Iterable[int]) -> None:
    """Move what the store has archived from one index to the other.

    First into the archive: meanwhile a search may find it in both, never in none.
    """
    space.archive_indexed(content_ids)
    moved = sorted(sequences)
    keys = [-sequence for sequence in moved]

    def work(connection: sqlite3.Connection) -> None:
        believed = _believed(connection, moved)
        if len(believed) >= _WORTH_COPYING:
            wanted = [-sequence for sequence in believed]
            copied = space.archive.copy_findings(space.index, wanted, shard=ARCHIVE)
            believed -= {-key for key in copied}
        for stored in _findings(connection, sorted(believed)):
            index_finding(space.archive, stored, shard=ARCHIVE)
        if space.sentences is not None:
            space.archive.add_embedded(embeddings.of_keys(connection, NAME, keys))

    space.database.read_together(work)
    space.index.remove(keys)
    # What was forgotten or superseded meanwhile was not in the archive yet.
    still = space.database.read(partial(_believed, sequences=moved))
    space.archive.remove([key for key in keys if -key not in still])


def _believed(connection: sqlite3.Connection, sequences: Sequence[int]) -> set[int]:
    archived = sessions.archived_among(connection, sequences)
    return archived - supersession.superseded_among(connection, archived).keys()


async def _opened(space: Space, *, archived: bool) -> SpaceIndex:
    path = space.directory / (ARCHIVE_SNAPSHOT if archived else SNAPSHOT)
    kept = await asyncio.to_thread(read_snapshot, path, space.sentences)
    usable = kept is not None and kept.dead_share <= _MOST_DEAD
    index = kept if kept is not None and usable else SpaceIndex(space.sentences)
    await asyncio.to_thread(reconcile, space, index, archived=archived)
    if index.added >= _WORTH_WRITING:
        await asyncio.to_thread(write_snapshot, index, path)
    return index


def _passages(connection: sqlite3.Connection, ids: list[int]) -> Iterator[Passage]:
    for first in range(0, len(ids), _READ_AT_ONCE):
        yield from contents.passages_by_id(connection, ids[first : first + _READ_AT_ONCE]).values()


def _findings(connection: sqlite3.Connection, sequences: list[int]) -> Iterator[StoredFinding]:
    for first in range(0, len(sequences), _READ_AT_ONCE):
        some = sequences[first : first + _READ_AT_ONCE]
        yield from findings.by_sequence(connection, some).values()
