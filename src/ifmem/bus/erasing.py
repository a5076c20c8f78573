"""What the forgotten has left on the bus beside its own keys: caches, dead letters, old blobs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Collection
from typing import Any

from redis.asyncio import Redis

from ifmem import clock
from ifmem.bus.direct_writes import forget_history
from ifmem.bus.replies import by_the_thousand, text, translated
from ifmem.errors import IntegrityError
from ifmem.wire import blob, keys
from ifmem.wire.keys import KeyKind, Keys

_LOOK_SECONDS = 0.01
_SCANNED_AT_ONCE = 1_000


class Erasing:
    """Takes off one space's bus what holds words of the forgotten.

    Raises (every method):
        Unavailable: the server did not answer; all may be repeated.
    """

    def __init__(self, client: Redis, keys: Keys) -> None:
        self.keys = keys
        self._client = client

    async def announce(self, payload: bytes) -> None:
        """Tell whoever follows the findings."""
        async with translated():
            await self._client.publish(self.keys.of(keys.CHANNEL_FINDINGS), payload)

    async def drop_orphaned_blobs(self) -> int:
        """Remove the blobs that no manifest names, also before their grace is over; how many.

        Nobody may publish meanwhile: a blob is written before the manifest that names it.
        """
        async with translated():
            shards = await self._client.smembers(self.keys.of(keys.SHARDS))
            manifests = [self.keys.of(keys.MANIFEST, n=int(n)) for n in shards]
            named = set()
            for raw in await self._client.mget(manifests) if manifests else ():
                named |= _named(raw)
            kept = {self.keys.of(keys.BLOB, sha256=digest) for digest in named}
            gone = [name async for name in self._found(keys.BLOB) if name not in kept]
            return await self._delete(gone)

    async def drop_cached_results(self) -> int:
        """Remove what workers show of their last results; how many workers'."""
        async with translated():
            return await self._delete([one async for one in self._found(keys.WORKER_CONTEXT)])

    async def drop_dead_letters(self, tells: Callable[[bytes], bool]) -> int:
        """Remove those dead letters of which a field tells of the forgotten; how many."""
        name = self.keys.of(keys.DEAD_LETTERS)
        async with translated():
            rows: Any = await self._client.xrange(name)
            gone = [entry for entry, fields in rows if any(map(tells, fields.values()))]
            return int(await self._client.xdel(name, *gone)) if gone else 0

    async def drop_messages(self) -> int:
        """Remove every message and inbox; how many messages."""
        async with translated():
            messages = await self._delete([one async for one in self._found(keys.MESSAGE)])
            for kind in (keys.INBOX, keys.UNACKED, keys.TOPIC):
                await self._delete([one async for one in self._found(kind)])
        return messages

    async def replies(self) -> int:
        """How many results of calls from other hosts lie here: a minute each."""
        async with translated():
            return len([one async for one in self._found(keys.REPLY)])

    async def rewrite_history(self, seconds: float) -> bool:
        """Have the server's file hold only what it holds now; False when that takes longer."""
        async with translated():
            if not (await self._client.info("persistence")).get("aof_enabled"):
                return True
        await forget_history(self._client)
        until = clock.monotonic() + seconds
        while True:
            async with translated():
                said = await self._client.info("persistence")
            if not (said["aof_rewrite_in_progress"] or said["aof_rewrite_scheduled"]):
                return True
            if clock.monotonic() > until:
                return False
            await asyncio.sleep(_LOOK_SECONDS)

    async def _found(self, kind: KeyKind) -> AsyncIterator[str]:
        head = self.keys.prefix + kind.pattern.partition("{")[0]
        pattern = "".join(f"[{c}]" if c in "*?[" else c for c in head) + "*"
        async for name in self._client.scan_iter(match=pattern, count=_SCANNED_AT_ONCE):
            yield text(name) or ""

    async def _delete(self, names: Collection[str]) -> int:
        deleted = 0
        for some in by_the_thousand(list(names)):
            deleted += int(await self._client.delete(*some))
        return deleted


def _named(manifest: bytes | str | None) -> set[str]:
    """The blobs that a manifest names; one that cannot be read names none."""
    if not isinstance(manifest, bytes):
        return set()
    try:
        return {entry.sha256 for entry in blob.decode_manifest(manifest).blobs}
    except IntegrityError:
        return set()
