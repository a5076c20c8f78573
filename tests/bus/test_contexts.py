"""Contexts in memory: fetched once, true to the bus, and not more of them than the bound."""

from __future__ import annotations

import asyncio
import weakref
from pathlib import Path

import redis

from ifmem.bus.bus import Bus
from ifmem.bus.connection import connect
from ifmem.domain.shard import Shard, Speciality
from ifmem.runtime import contexts
from ifmem.runtime.contexts import Contexts
from ifmem.settings import RedisSettings
from ifmem.wire import blob
from ifmem.wire.blob import BlobPart, BlobPassage, Manifest

PATIENCE_S = 60


async def put(bus: Bus, number: int, text: str) -> None:
    passages = (BlobPassage(len(text), 0, 1, 1, 1, ""),)
    part = BlobPart(f"/{number}", f"{number:064}", "prose", 1, passages)
    entry, data = blob.encode([part], text)
    await bus.put_shard(
        Shard(number=number, speciality=Speciality.FILES_GIT, capacity=9_000, tokens=1),
        bridge="w",
        manifest=Manifest(number, 0, 1, (entry,)),
        new_blobs={entry.sha256: data},
        replaced=[],
    )


def test_the_context_unused_longest_is_let_go_and_fetched_again_when_asked_for(
    server_url: str, plain: redis.Redis
) -> None:
    async def work() -> None:
        server = await connect(RedisSettings(url=server_url), Path("unused"))
        bus = Bus(server.client)
        held = Contexts(bus)
        for number in range(1, contexts.MOST_HELD + 2):
            await put(bus, number, f"text {number}")
        first, second = await held.fetch(1), weakref.ref(await held.fetch(2))
        for number in range(3, contexts.MOST_HELD + 1):
            await held.fetch(number)
        assert await held.fetch(1) is first, "a context in use is not fetched twice"
        await held.fetch(contexts.MOST_HELD + 1)
        assert await held.fetch(1) is first
        assert second() is None
        assert (await held.fetch(2)).text(f"{2:064}", 0) == "text 2"
        await server.client.aclose()

    async def main() -> None:
        async with asyncio.timeout(PATIENCE_S):
            await work()

    asyncio.run(main())
