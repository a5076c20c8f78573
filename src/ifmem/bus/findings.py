"""Findings on the bus: published in one step, read in order, kept equal to the store's newest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

from redis.asyncio import Redis

from ifmem.bus.replies import by_the_thousand, integer, raise_refusal, text, translated
from ifmem.bus.server_side import ServerSide
from ifmem.wire import keys
from ifmem.wire.keys import Keys


@dataclass(frozen=True, slots=True)
class Published:
    """What became of a finding that was published."""

    is_new: bool
    sequence: int
    """Its place in the log; the store confirms it, or gives it the next free one."""
    entry: str
    """Durable once the store has committed this entry."""


@dataclass(frozen=True, slots=True)
class FindingRow:
    """A finding as the index on the bus has it."""

    sequence: int
    body: bytes


class Findings:
    """The newest findings of one space.

    Raises (every method):
        Unavailable: the server did not answer; publishing the same id again is safe.
    """

    def __init__(self, client: Redis, keys: Keys, server: ServerSide) -> None:
        self.keys = keys
        self._client = client
        self._server = server

    async def publish(
        self, finding_id: str, body: bytes, head: str, *, hidden: bool = False
    ) -> Published:
        """Publish a finding: value, order, log entry and wake-up in one step.

        Args:
            finding_id: publishing the same id again changes nothing.
            body: the finding as JSON, ``durable`` first and false.
            head: the open JSON object that the channel's message begins with.
            hidden: only the store gets it; it has its place in the order all the same.

        Raises:
            Unavailable: also when the log is full or the store refuses: ``facts["outcome"]`` is
                ``busy`` or ``refusing``, and nothing was stored.
        """
        async with translated():
            word, *rest = await self._server.call(
                "publish", finding_id, body, head, "1" if hidden else "0"
            )
        raise_refusal(word, rest)
        return Published(word == "new", int(rest[0]), text(rest[1]) or "0-0")

    async def since(self, sequence: int, limit: int) -> tuple[int, list[FindingRow]]:
        """The sequence of the oldest finding here, and those after ``sequence``, in order."""
        async with translated():
            _, oldest, *rows = await self._server.call("findings_since", sequence, limit)
        pairs = zip(rows[::2], rows[1::2], strict=True)
        return int(oldest), [FindingRow(int(number), body) for number, body in pairs]

    async def correct(self, bodies: Mapping[str, bytes]) -> None:
        """Replace what the store has changed of findings that are on the bus."""
        async with translated(), self._client.pipeline(transaction=False) as pipe:
            for finding_id, body in bodies.items():
                pipe.set(self.keys.of(keys.FINDING, uuid=finding_id), body, xx=True)
            await pipe.execute()

    async def drop(self, finding_id: str, *, stored: int) -> None:
        """Take a forgotten finding off the bus."""
        async with translated():
            await self._server.call("drop_finding", finding_id, stored)

    async def stored(self) -> int:
        """How many findings the store holds, as last counted."""
        async with translated():
            count = await self._client.hget(self.keys.of(keys.COUNTERS), "findings")
        return integer(text(count))

    async def restore(
        self, newest: Sequence[tuple[str, int, bytes]], *, stored: int, last: int | None
    ) -> None:
        """Make the window equal to these (id, sequence, body), oldest first.

        What has a sequence above ``last``, the store's highest, was published meanwhile and stays;
        None when nothing can be published meanwhile.
        A thousand that the bus has already are passed over together.
        """
        of = self.keys.of
        index = of(keys.FINDINGS)
        async with translated():
            scored = await self._client.zrange(index, 0, -1, withscores=True)
            there = {i.decode(): int(n) for i, n in cast("list[tuple[bytes, float]]", scored)}
            wanted = {finding_id for finding_id, _, _ in newest}
            stale = [i for i, n in there.items() if last is None or n <= last]
            gone = sorted(i for i in stale if i not in wanted)
            for some in by_the_thousand(gone):
                await self._client.delete(*(of(keys.FINDING, uuid=i) for i in some))
                await self._client.zrem(index, *some)
            for batch in by_the_thousand(newest):
                names = [of(keys.FINDING, uuid=i) for i, _, _ in batch]
                known = all(there.get(i) == n for i, n, _ in batch)
                if known and await self._client.exists(*names) == len(batch):
                    continue
                bodies = (body for _, _, body in batch)
                await self._client.mset(dict(zip(names, bodies, strict=True)))
                await self._client.zadd(index, {i: n for i, n, _ in batch})
            await self._client.hset(of(keys.COUNTERS), "findings", str(stored))
