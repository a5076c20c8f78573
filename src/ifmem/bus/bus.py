"""One space's side of the bus: shard state, contexts, findings, heartbeats."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

import msgspec
from redis.asyncio import Redis

from ifmem.bus.replies import by_the_thousand, integer, raise_refusals, rows, text, translated
from ifmem.bus.server_side import ServerSide
from ifmem.bus.state import Context, ShardState, WorkerState
from ifmem.domain.shard import Shard
from ifmem.domain.space import DEFAULT_SPACE
from ifmem.errors import IntegrityError, NotPermitted, Unavailable
from ifmem.wire import blob, keys
from ifmem.wire.keys import Keys

BLOB_GRACE_SECONDS = 60
"""How long a replaced blob stays for readers that hold the manifest before."""


class Bus:
    """The keys of one space on one server.

    Guarantees:
        atomicity: each method that changes something is one server-side step; ``context:active``
            is computed in it.
        idempotency: every change may be repeated.

    Raises (every method):
        Unavailable: the server did not answer; a change may or may not have happened, and the
            store puts it right at the next connection.
    """

    def __init__(self, client: Redis, space: str = DEFAULT_SPACE) -> None:
        self.keys = Keys(space)
        self._client = client
        self._server = ServerSide(client)

    async def claim(self, store_id: str, *, adopt: bool) -> None:
        """Make these keys the store's own.

        Raises:
            NotPermitted: they carry another store's id, or seed keys that no store owns.
        """
        of = self.keys.of
        async with translated():
            owner = text(
                await self._server.call(
                    "claim",
                    [of(keys.OWNER), of(keys.CONTEXT_ACTIVE)],
                    store_id,
                    "1" if adopt else "0",
                )
            )
        if owner != store_id:
            whose = "keys that no store owns" if owner == "?" else f"keys of the store {owner}"
            raise NotPermitted(
                f"space {self.keys.space!r} on this Redis holds {whose}: use another --space, or "
                "`ifmem up --adopt` to take them over and rebuild them from this store",
                owner=owner,
            )

    async def put_shard(
        self,
        shard: Shard,
        *,
        worker: str,
        manifest: blob.Manifest,
        new_blobs: Mapping[str, bytes],
        replaced: Sequence[str],
    ) -> int:
        """Publish a shard's state and context; the new ``context:active``.

        Blobs go first, the manifest with the counts in one step after them, and blobs that no
        manifest names any more expire last: a reader sees the old context or the new one.
        """
        of, n = self.keys.of, shard.number
        async with translated():
            if new_blobs:
                async with self._client.pipeline(transaction=False) as pipe:
                    for digest, data in new_blobs.items():
                        pipe.set(of(keys.BLOB, sha256=digest), data)
                    await pipe.execute()
            active = await self._server.call(
                "put_shard",
                [
                    of(keys.CONTEXT_ACTIVE),
                    of(keys.SHARDS),
                    of(keys.SHARD_CAPACITY, n=n),
                    of(keys.SHARD_TOKENS, n=n),
                    of(keys.SHARD_ACTIVE, n=n),
                    of(keys.SHARD_CARD, n=n),
                    of(keys.MANIFEST, n=n),
                ],
                self.keys.prefix,
                n,
                shard.capacity,
                shard.tokens,
                "1",
                blob.encode_manifest(manifest),
                *("speciality", shard.speciality.value, "documents", shard.documents),
                *("generation", shard.generation, "worker", worker),
            )
            if replaced:
                async with self._client.pipeline(transaction=False) as pipe:
                    for digest in replaced:
                        pipe.expire(of(keys.BLOB, sha256=digest), BLOB_GRACE_SECONDS)
                    await pipe.execute()
        return int(active)

    async def set_active(self, shards: Sequence[int], *, active: bool) -> int:
        """Mark shards as held by a live worker or not; the new ``context:active``."""
        of = self.keys.of
        async with translated():
            total = await self._server.call(
                "set_active",
                [
                    of(keys.CONTEXT_ACTIVE),
                    of(keys.SHARDS),
                    *(of(keys.SHARD_ACTIVE, n=n) for n in shards),
                ],
                self.keys.prefix,
                "1" if active else "0",
            )
        return int(total)

    async def shards(self) -> tuple[int, list[ShardState]]:
        """``context:active`` and the state of every shard, by number: two round trips."""
        of = self.keys.of
        async with translated():
            numbers = sorted(int(n) for n in await self._client.smembers(of(keys.SHARDS)))
            if not numbers:
                raise Unavailable(
                    "the bus has lost the keys of this space: they are written again from the "
                    "store at the next heartbeat, or at once by `ifmem doctor --repair`"
                )
            async with self._client.pipeline(transaction=False) as pipe:
                pipe.get(of(keys.CONTEXT_ACTIVE))
                for n in numbers:
                    pipe.mget(
                        of(keys.SHARD_CAPACITY, n=n),
                        of(keys.SHARD_TOKENS, n=n),
                        of(keys.SHARD_ACTIVE, n=n),
                    )
                    pipe.hgetall(of(keys.SHARD_CARD, n=n))
                total, *replies = await pipe.execute(raise_on_error=False)
            raise_refusals(replies)
        states = []
        for n, counts, card in zip(numbers, replies[::2], replies[1::2], strict=True):
            capacity, tokens, active = (text(value) for value in rows(counts, 3))
            about = card if isinstance(card, dict) else {}
            states.append(
                ShardState(
                    number=n,
                    speciality=text(about.get(b"speciality")) or "?",
                    capacity=integer(capacity),
                    tokens=integer(tokens),
                    active=active == "1",
                    documents=integer(text(about.get(b"documents"))),
                    generation=integer(text(about.get(b"generation"))),
                    worker=text(about.get(b"worker")),
                )
            )
        return integer(text(total)), states

    async def load_contexts(
        self, numbers: Sequence[int], held: Mapping[str, list[blob.LoadedPart]]
    ) -> tuple[list[Context], dict[str, list[blob.LoadedPart]]]:
        """The contexts of these shards, decoded and checked, and their blobs by digest.

        Blobs in ``held`` are not fetched again. A context is wholly of one manifest: when a
        replaced blob has expired meanwhile, the manifest is read anew.

        Raises:
            IntegrityError: a blob is missing or altered though the manifest names it.
        """
        for attempt in range(3):
            manifests = await self._manifests(numbers)
            wanted = {e.sha256: e for m in manifests for e in m.blobs if e.sha256 not in held}
            data = await self._blobs(list(wanted))
            try:
                fetched = {
                    digest: blob.decode(entry, value)
                    for (digest, entry), value in zip(wanted.items(), data, strict=True)
                }
            except IntegrityError:
                if attempt < 2 and await self._manifests(numbers) != manifests:
                    continue
                raise
            used = {
                e.sha256: fetched[e.sha256] if e.sha256 in fetched else held[e.sha256]
                for m in manifests
                for e in m.blobs
            }
            contexts = [
                Context(
                    shard=m.shard,
                    generation=m.generation,
                    tokens=m.tokens,
                    blobs=tuple(e.sha256 for e in m.blobs),
                    parts=tuple(part for e in m.blobs for part in used[e.sha256]),
                )
                for m in manifests
            ]
            return contexts, used
        raise AssertionError("the loop returns or raises")

    async def _manifests(self, numbers: Sequence[int]) -> list[blob.Manifest]:
        if not numbers:
            return []
        async with translated():
            found = await self._client.mget([self.keys.of(keys.MANIFEST, n=n) for n in numbers])
        for n, value in zip(numbers, found, strict=True):
            if value is None:
                raise IntegrityError(
                    f"shard {n} has no manifest on the bus: `ifmem doctor --repair` writes it",
                    shard=n,
                )
        return [blob.decode_manifest(cast("bytes", value)) for value in found]

    async def _blobs(self, digests: Sequence[str]) -> list[bytes | None]:
        if not digests:
            return []
        async with translated():
            names = [self.keys.of(keys.BLOB, sha256=digest) for digest in digests]
            return cast("list[bytes | None]", await self._client.mget(names))

    async def missing_blobs(self, digests: Sequence[str]) -> set[str]:
        """Those of the digests that the bus does not have."""
        async with translated(), self._client.pipeline(transaction=False) as pipe:
            for digest in digests:
                pipe.persist(self.keys.of(keys.BLOB, sha256=digest))
                pipe.exists(self.keys.of(keys.BLOB, sha256=digest))
            replies = await pipe.execute()
        return {d for d, there in zip(digests, replies[1::2], strict=True) if not there}

    async def put_finding(
        self, finding_id: str, *, sequence: int, body: bytes, stored: int, window: int
    ) -> None:
        """Publish a finding: value, order, count and wake-up in one step."""
        of = self.keys.of
        envelope = msgspec.json.encode({"finding_id": finding_id, "cursor": str(sequence)})
        async with translated():
            await self._server.call(
                "put_finding",
                [
                    of(keys.FINDING, uuid=finding_id),
                    of(keys.FINDINGS),
                    of(keys.COUNTERS),
                    of(keys.CHANNEL_FINDINGS),
                ],
                self.keys.prefix,
                finding_id,
                sequence,
                body,
                window,
                envelope,
                stored,
            )

    async def restore_findings(
        self, newest: Sequence[tuple[str, int, bytes]], *, stored: int
    ) -> None:
        """Make the window of findings equal to these (id, sequence, body), oldest first.

        A thousand that the bus has already are passed over together.
        """
        of = self.keys.of
        async with translated():
            scored = await self._client.zrange(of(keys.FINDINGS), 0, -1, withscores=True)
            there = {i.decode(): int(n) for i, n in cast("list[tuple[bytes, float]]", scored)}
            for some in by_the_thousand(sorted(there.keys() - {i for i, _, _ in newest})):
                await self._client.delete(*(of(keys.FINDING, uuid=i) for i in some))
                await self._client.zrem(of(keys.FINDINGS), *some)
            for batch in by_the_thousand(newest):
                names = [of(keys.FINDING, uuid=i) for i, _, _ in batch]
                known = all(there.get(i) == n for i, n, _ in batch)
                if known and await self._client.exists(*names) == len(batch):
                    continue
                bodies = (body for _, _, body in batch)
                await self._client.mset(dict(zip(names, bodies, strict=True)))
                await self._client.zadd(of(keys.FINDINGS), {i: n for i, n, _ in batch})
            await self._client.hset(of(keys.COUNTERS), "findings", str(stored))

    async def owner(self) -> str | None:
        """The id of the store that these keys were built from; None when the bus lost them."""
        async with translated():
            return text(await self._client.get(self.keys.of(keys.OWNER)))

    async def drop_finding(self, finding_id: str, *, stored: int) -> None:
        """Take a forgotten finding off the bus."""
        of = self.keys.of
        async with translated():
            await self._server.call(
                "drop_finding",
                [of(keys.FINDING, uuid=finding_id), of(keys.FINDINGS), of(keys.COUNTERS)],
                finding_id,
                stored,
            )

    async def findings_stored(self) -> int:
        """How many findings the store holds, as last counted."""
        async with translated():
            count = await self._client.hget(self.keys.of(keys.COUNTERS), "findings")
        return integer(text(count))

    async def beat(self, worker_id: str, *, expiry_seconds: int) -> str:
        """Write a heartbeat; its time by the server's clock."""
        of = self.keys.of
        async with translated():
            stamp = await self._server.call(
                "beat",
                [of(keys.WORKER_STATUS, id=worker_id), of(keys.WORKERS)],
                worker_id,
                expiry_seconds,
            )
        return text(stamp) or ""

    async def leave(self, worker_id: str) -> None:
        """Take a worker that stops off the bus."""
        of = self.keys.of
        async with translated():
            await self._server.call(
                "leave",
                [
                    of(keys.WORKER_STATUS, id=worker_id),
                    of(keys.WORKERS),
                    of(keys.WORKER_TASKS, id=worker_id),
                ],
                worker_id,
            )

    async def workers(self) -> list[WorkerState]:
        """The workers seen lately, newest heartbeat first."""
        of = self.keys.of
        async with translated():
            ids = [text(i) or "" for i in await self._client.zrevrange(of(keys.WORKERS), 0, 999)]
            names = [of(keys.WORKER_STATUS, id=i) for i in ids]
            stamps = await self._client.mget(names) if ids else []
        return [WorkerState(i, text(stamp)) for i, stamp in zip(ids, stamps, strict=True)]

    async def put_librarians(self) -> None:
        """Write the librarians' keys: offline, without quota, until one starts."""
        of = self.keys.of
        async with translated(), self._client.pipeline(transaction=True) as pipe:
            for n in keys.LIBRARIANS:
                pipe.set(of(keys.LIBRARIAN_STATUS, n=n), "offline", nx=True)
                pipe.set(of(keys.LIBRARIAN_QUOTA, n=n), 0, nx=True)
                pipe.set(of(keys.LIBRARIAN_CAPACITY, n=n), 0, nx=True)
            await pipe.execute()

    async def librarians(self) -> list[tuple[int, str, int, int]]:
        """Number, status, quota and capacity of each librarian."""
        of = self.keys.of
        kinds = (keys.LIBRARIAN_STATUS, keys.LIBRARIAN_QUOTA, keys.LIBRARIAN_CAPACITY)
        async with translated():
            values = await self._client.mget([of(k, n=n) for n in keys.LIBRARIANS for k in kinds])
        return [
            (
                n,
                text(values[3 * i]) or "offline",
                integer(text(values[3 * i + 1])),
                integer(text(values[3 * i + 2])),
            )
            for i, n in enumerate(keys.LIBRARIANS)
        ]
