"""Publishing shards: from the store's parts to content-addressed blobs and a manifest."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from ifmem.bus.bus import Bus
from ifmem.domain.shard import Shard
from ifmem.store import shards
from ifmem.store.database import Database
from ifmem.store.shards import Part
from ifmem.wire import blob
from ifmem.wire.blob import BlobEntry, Manifest

Group = tuple[int, ...]
"""The part ids of one blob, in order."""


@dataclass(frozen=True, slots=True)
class _Rendering:
    shard: Shard
    entries: dict[Group, BlobEntry]
    new: dict[str, bytes]

    @property
    def manifest(self) -> Manifest:
        return Manifest(
            shard=self.shard.number,
            generation=self.shard.generation,
            tokens=self.shard.tokens,
            blobs=tuple(self.entries.values()),
        )


class Publisher:
    """Keeps the bus's picture of the shards equal to the store's.

    Publishing is idempotent and derives everything from the store, so after any crash it is
    enough to publish all shards again.
    """

    def __init__(
        self,
        database: Database,
        bus: Bus,
        worker_id: str,
        *,
        on_published: Callable[[int], None] = lambda shard: None,
    ) -> None:
        """Publishes the store's shards; ``on_published`` hears of each that the bus has taken."""
        self._database = database
        self._bus = bus
        self._worker_id = worker_id
        self._on_published = on_published
        self._published: dict[int, set[str]] = {}
        """Digests of the blobs that each shard's manifest on the bus names."""
        self._rendered: dict[int, dict[Group, BlobEntry]] = {}
        self._lock = asyncio.Lock()

    async def publish(self, numbers: Iterable[int]) -> None:
        """Publish these shards as the store has them now; the archive is never on the bus."""
        async with self._lock:
            for number in sorted(set(numbers) - {shards.ARCHIVE}):
                rendering = await asyncio.to_thread(self._render, number)
                await self._put(rendering)

    def void(self, numbers: Iterable[int]) -> None:
        """Forget what was rendered of these shards: their text changed in place."""
        for number in numbers:
            self._rendered.pop(number, None)

    async def sweep(self) -> None:
        """Remove at once what the manifests on the bus name no longer."""
        async with self._lock:
            await self._bus.erasing.drop_orphaned_blobs()

    async def publish_all(self) -> None:
        """Publish every shard anew: after a start, or when the bus lost what it had."""
        async with self._lock:
            self._published.clear()
            self._rendered.clear()
            for shard in await asyncio.to_thread(self._database.read, shards.all_shards):
                rendering = await asyncio.to_thread(self._render, shard.number)
                await self._put(rendering)

    async def _put(self, rendering: _Rendering) -> None:
        number = rendering.shard.number
        missing = await self._bus.missing_blobs(list(rendering.new))
        current = {entry.sha256 for entry in rendering.entries.values()}
        await self._bus.put_shard(
            rendering.shard,
            bridge=self._worker_id,
            manifest=rendering.manifest,
            new_blobs={digest: rendering.new[digest] for digest in missing},
            replaced=sorted(self._published.get(number, set()) - current),
        )
        self._published[number] = current
        self._rendered[number] = rendering.entries
        self._on_published(number)

    def _render(self, number: int) -> _Rendering:
        before = self._rendered.get(number, {})

        def work(connection: sqlite3.Connection) -> _Rendering:
            shard = next(s for s in shards.all_shards(connection) if s.number == number)
            entries: dict[Group, BlobEntry] = {}
            new: dict[str, bytes] = {}
            for group in group_parts(shards.parts_of(connection, number)):
                entry = before.get(group)
                if entry is None:
                    entry, data = blob.encode(
                        shards.blob_parts(connection, group),
                        shards.text_of_parts(connection, group),
                    )
                    new[entry.sha256] = data
                entries[group] = entry
            return _Rendering(shard, entries, new)

        # One read transaction, so that counts and parts are of the same moment.
        return self._database.read_together(work)


def group_parts(parts: Sequence[Part]) -> list[Group]:
    """Parts in runs of at least ``TARGET_BYTES``; appending changes only the last run."""
    groups: list[Group] = []
    held: list[int] = []
    size = 0
    for part in parts:
        held.append(part.part_id)
        size += part.bytes
        if size >= blob.TARGET_BYTES:
            groups.append(tuple(held))
            held, size = [], 0
    if held:
        groups.append(tuple(held))
    return groups
