"""One space's side of the bus: shards, contexts, workers, and parts with files of their own."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import cast

from redis.asyncio import Redis

from ifmem.bus.calls import Calls
from ifmem.bus.connection import run_id
from ifmem.bus.erasing import Erasing
from ifmem.bus.findings import Findings
from ifmem.bus.log import Log
from ifmem.bus.messages import Mailbox
from ifmem.bus.ownership import Ownership
from ifmem.bus.replies import integer, raise_refusals, rows, text, translated
from ifmem.bus.server_side import ServerSide
from ifmem.bus.state import Context, LibrarianState, Look, ShardState, WorkerState
from ifmem.bus.tasks import TaskBoard
from ifmem.domain.shard import Shard
from ifmem.errors import IntegrityError, NotFound, Unavailable
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

    def __init__(
        self, client: Redis, keys: Keys | None = None, *, blocking: Redis | None = None
    ) -> None:
        """The space that ``keys`` name; ``blocking`` is a client whose calls may wait for long."""
        self.keys = keys or Keys()
        self.client = client
        self.server = ServerSide(client, self.keys)
        self.ownership = Ownership(client, self.keys, self.server)
        self.log = Log(client, self.keys, self.server, blocking or client)
        self.findings = Findings(client, self.keys, self.server)
        self.tasks = TaskBoard(blocking or client, self.keys, self.server)
        self.messages = Mailbox(client, self.keys, self.server)
        self.calls = Calls(client, self.keys, blocking or client)
        self.erasing = Erasing(client, self.keys)
        self._client = client
        self._known_shards: list[int] = []

    async def run_id(self) -> str:
        """The identity of the server's process; another one after a restart or a fail-over."""
        return await run_id(self._client)

    async def sequence(self) -> int:
        """The last sequence that a finding was given."""
        async with translated():
            value = await self._client.hget(self.keys.of(keys.COUNTERS), "sequence")
        return integer(text(value))

    async def task_counts(self) -> dict[str, int]:
        """How many tasks are in each state."""
        async with translated():
            raw = await self._client.hgetall(self.keys.of(keys.COUNTERS))
        named = ((text(name) or "", integer(text(value))) for name, value in raw.items())
        return {n.removeprefix("tasks:"): v for n, v in named if n.startswith("tasks:")}

    async def put_shard(
        self,
        shard: Shard,
        *,
        bridge: str,
        manifest: blob.Manifest,
        new_blobs: Mapping[str, bytes],
        replaced: Sequence[str],
    ) -> int:
        """Publish a shard's state and context; the new ``context:active``.

        A live worker that holds it keeps it; otherwise ``bridge``, the bridge's own worker, does.
        Blobs go first, the manifest with the counts in one step after them, and blobs that no
        manifest names any more expire last: a reader sees the old context or the new one.
        """
        of = self.keys.of
        async with translated():
            if new_blobs:
                async with self._client.pipeline(transaction=False) as pipe:
                    for digest, data in new_blobs.items():
                        pipe.set(of(keys.BLOB, sha256=digest), data)
                    await pipe.execute()
            _, active = await self.server.call(
                "put_shard",
                shard.number,
                bridge,
                shard.capacity,
                shard.tokens,
                blob.encode_manifest(manifest),
                *("speciality", shard.speciality.value, "documents", shard.documents),
                *("generation", shard.generation),
            )
            if replaced:
                async with self._client.pipeline(transaction=False) as pipe:
                    for digest in replaced:
                        pipe.expire(of(keys.BLOB, sha256=digest), BLOB_GRACE_SECONDS)
                    await pipe.execute()
        return int(active)

    async def take_shard(self, number: int, worker: str, *, over: str = "") -> str | None:
        """Become a shard's holder; the live holder that keeps it, or None when it is taken.

        A shard is taken from a dead holder, from nobody, or from ``over``. It is inactive until
        ``set_ready``.

        Raises:
            NotFound: there is no such shard.
        """
        async with translated():
            word, *rest = await self.server.call("take_shard", worker, number, over)
        if word == "unknown":
            raise NotFound(f"there is no shard {number}: `ifmem shards` lists them", shard=number)
        return text(rest[0]) if word == "held" else None

    async def set_ready(self, number: int, worker: str, *, active: bool) -> bool:
        """Say that a shard is loaded, or give it back; False when another worker holds it now."""
        async with translated():
            word, _ = await self.server.call("set_ready", worker, number, "1" if active else "0")
        return bool(word == "ok")

    async def shards(self) -> tuple[int, list[ShardState]]:
        """``context:active`` and the state of every shard, by number: two round trips."""
        of = self.keys.of
        async with translated():
            numbers = _numbers(await self._client.smembers(of(keys.SHARDS)))
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

    async def look(self) -> Look:
        """Which shards are active, and the manifest of each: one round trip.

        A second one after shards were added.
        """
        of = self.keys.of
        async with translated():
            while True:
                known = self._known_shards
                async with self._client.pipeline(transaction=False) as pipe:
                    pipe.smembers(of(keys.SHARDS))
                    if known:
                        pipe.mget([of(keys.SHARD_ACTIVE, n=n) for n in known])
                        pipe.mget([of(keys.MANIFEST, n=n) for n in known])
                    members, *values = await pipe.execute()
                self._known_shards = _numbers(members)
                if known == self._known_shards:
                    active, manifests = (dict(zip(known, each, strict=True)) for each in values)
                    return Look({n: value == b"1" for n, value in active.items()}, manifests)

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

    async def beat(self, worker_id: str, *, expiry_seconds: int) -> str:
        """Write a heartbeat; its time by the server's clock."""
        async with translated():
            _, stamp = await self.server.call("beat", worker_id, expiry_seconds)
        return text(stamp) or ""

    async def leave(self, worker_id: str) -> None:
        """Take a worker that stops off the bus."""
        async with translated():
            await self.server.call("leave", worker_id)

    async def workers(self) -> list[WorkerState]:
        """The workers seen lately, newest heartbeat first."""
        of = self.keys.of
        async with translated():
            ids = [text(i) or "" for i in await self._client.zrevrange(of(keys.WORKERS), 0, 999)]
            names = [of(keys.WORKER_STATUS, id=i) for i in ids]
            stamps = await self._client.mget(names) if ids else []
        return [WorkerState(i, text(stamp)) for i, stamp in zip(ids, stamps, strict=True)]

    async def put_librarians(
        self, states: Sequence[LibrarianState], *, count: int | None = None
    ) -> None:
        """Write the keys of these librarians in one step, whatever they held.

        Args:
            states: what to show.
            count: how many there are; the keys of those above it are removed.
        """
        of = self.keys.of
        gone = range(keys.MOST_LIBRARIANS if count is None else count, keys.MOST_LIBRARIANS)
        async with translated(), self._client.pipeline(transaction=True) as pipe:
            for one in states:
                pipe.set(of(keys.LIBRARIAN_STATUS, n=one.number), one.status)
                pipe.set(of(keys.LIBRARIAN_QUOTA, n=one.number), one.quota)
                pipe.set(of(keys.LIBRARIAN_CAPACITY, n=one.number), one.capacity)
            if gone:
                pipe.delete(*(of(kind, n=n + 1) for n in gone for kind in keys.LIBRARIAN))
            await pipe.execute()

    async def librarians(self, count: int) -> list[LibrarianState]:
        """What is shown of the librarians 1 to ``count``; offline where nothing is."""
        of = self.keys.of
        numbers = range(1, count + 1)
        async with translated():
            values = await self._client.mget(
                [of(kind, n=n) for n in numbers for kind in keys.LIBRARIAN]
            )
        return [
            LibrarianState(
                n,
                text(values[3 * i]) or "offline",
                integer(text(values[3 * i + 1])),
                integer(text(values[3 * i + 2])),
            )
            for i, n in enumerate(numbers)
        ]


def _numbers(members: Iterable[bytes | str]) -> list[int]:
    """The shards that there are."""
    numbers = sorted(int(n) for n in members)
    if not numbers:
        raise Unavailable(
            "the bus has lost the keys of this space: they are written again from the store at the "
            "next heartbeat, or at once by `ifmem doctor --repair`"
        )
    return numbers
