"""Keeping a space's index equal to its store, and a copy of it on disk."""

from __future__ import annotations

import asyncio
import sqlite3
from itertools import groupby

from ifmem.index.sentence_encoder import NAME
from ifmem.index.snapshot import read_snapshot, write_snapshot
from ifmem.index.space_index import Row, SpaceIndex
from ifmem.runtime.space import Space
from ifmem.store import contents, embeddings, findings
from ifmem.store.findings import StoredFinding
from ifmem.wire import finding_json

FINDINGS_SHARD = 4
"""Findings are routed with coordination and decision. They are bounded by the window, not by the
shard's capacity: `docs/decisions/0003-findings-beside-shards.md`."""
SNAPSHOT = "index.npz"
_WORTH_WRITING = 20_000
"""Passages added since the last copy that make a load write one: some seconds of a start."""
_MOST_DEAD = 0.3
"""Share of removed passages above which the index is built anew."""


async def open_index(space: Space) -> None:
    """Read the copy on disk, if it can be used, and bring it in line with the store."""
    kept = await asyncio.to_thread(read_snapshot, space.directory / SNAPSHOT, space.sentences)
    if kept is not None and kept.dead_share <= _MOST_DEAD:
        space.index = kept
    await asyncio.to_thread(reconcile, space, space.index)
    if space.index.added >= _WORTH_WRITING:
        await write_index(space)


async def keep_index(space: Space) -> None:
    """After a load: build anew what is mostly dead, and write a copy when much is new."""
    if space.index.dead_share > _MOST_DEAD:
        renewed = SpaceIndex(space.sentences)
        await asyncio.to_thread(reconcile, space, renewed)
        space.index = renewed
        # What was stored while the new one was built went to the old one.
        await asyncio.to_thread(reconcile, space, renewed)
    if space.index.added >= _WORTH_WRITING:
        await write_index(space)


async def write_index(space: Space) -> None:
    """Write a copy of the index, unless the one on disk is of this moment."""
    await asyncio.to_thread(write_snapshot, space.index, space.directory / SNAPSHOT)


def reconcile(space: Space, index: SpaceIndex) -> None:
    """Add to the index what the store has and it lacks; remove what is gone from the store.

    A passage's text never changes under its id, so comparing ids is enough.
    """

    def work(connection: sqlite3.Connection) -> None:
        there = index.keys()
        stored = contents.passage_ids(connection) | {-s for s in findings.sequences(connection)}
        index.remove(there - stored)
        newest = max((key for key in there if key > 0), default=0)
        rows = contents.passages_after(connection, newest)
        for _, passages in groupby(rows, key=lambda passage: passage.content_id):
            index.add(list(passages))
        last = max((-key for key in there if key < 0), default=0)
        for finding in findings.since(connection, sequence=last, limit=-1):
            index_finding(index, finding)
        if space.sentences is not None:
            index.add_embedded(embeddings.all_of(connection, NAME))

    space.database.read_together(work)


def index_finding(index: SpaceIndex, stored: StoredFinding) -> None:
    """Make a stored finding searchable by its claim, topic, tags and quotes."""
    finding = finding_json.searched(stored.body)
    index.add_finding(
        Row(
            key=-stored.sequence,
            content_id=0,
            shard=FINDINGS_SHARD,
            group=stored.run,
            author=stored.author,
            said_at=stored.said_at,
        ),
        " ".join((finding.claim, *finding.quotes)),
        " ".join((finding.topic or "", *finding.tags)),
    )
