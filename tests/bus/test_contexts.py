"""Contexts in memory: fetched once, true to the bus, and not more of them than the bound."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
import redis

from ifmem.bus.bus import Bus
from ifmem.bus.connection import connect
from ifmem.domain.shard import Shard, Speciality
from ifmem.errors import Unavailable
from ifmem.runtime import contexts
from ifmem.runtime.contexts import Contexts
from ifmem.settings import RedisSettings
from ifmem.wire import blob, keys
from ifmem.wire.blob import BlobPart, BlobPassage, Manifest

PATIENCE_S = 60


async def put(bus: Bus, number: int, text: str, *, generation: int = 0) -> None:
    passages = (BlobPassage(len(text), 0, 1, 1, 1, ""),)
    part = BlobPart(f"/{number}", f"{number:064}", "prose", 1, passages)
    entry, data = blob.encode([part], text)
    await bus.put_shard(
        Shard(number=number, speciality=Speciality.FILES_GIT, capacity=9_000, tokens=1),
        bridge="w",
        manifest=Manifest(number, generation, 1, (entry,)),
        new_blobs={entry.sha256: data},
        replaced=[],
    )


def run(url: str, work: Callable[[Bus], Awaitable[None]]) -> None:
    async def main() -> None:
        server = await connect(RedisSettings(url=url), Path("unused"))
        async with asyncio.timeout(PATIENCE_S):
            await work(Bus(server.client))
        await server.client.aclose()

    asyncio.run(main())


def test_the_context_unused_longest_is_let_go_and_fetched_again_when_asked_for(
    server_url: str, plain: redis.Redis
) -> None:
    async def work(bus: Bus) -> None:
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

    run(server_url, work)


def test_a_context_is_held_while_the_bus_shows_the_same(
    server_url: str, plain: redis.Redis
) -> None:
    async def work(bus: Bus) -> None:
        held = Contexts(bus)
        await put(bus, 1, "first text")
        assert held.held(1, await held.look()) is None, "it has not been fetched"
        first = await held.fetch(1)
        assert held.held(1, await held.look()) is first

        await put(bus, 1, "other text")
        assert held.held(1, await held.look()) is None
        other = await held.fetch(1)
        assert held.held(1, await held.look()) is other

        await put(bus, 1, "other text", generation=7)
        assert held.held(1, await held.look()) is None, "a generation is another context"
        plain.set(bus.keys.of(keys.MANIFEST, n=1), b"no manifest")
        assert held.held(1, await held.look()) is None
        plain.delete(bus.keys.of(keys.MANIFEST, n=1))
        assert held.held(1, await held.look()) is None

    run(server_url, work)


def test_a_look_shows_every_shard_as_it_is_now(server_url: str, plain: redis.Redis) -> None:
    async def work(bus: Bus) -> None:
        held = Contexts(bus)
        with pytest.raises(Unavailable, match="lost the keys"):
            await held.look()
        await put(bus, 2, "two")
        assert dict((await held.look()).active) == {2: True}
        await put(bus, 1, "one")
        plain.set("context:shard:2:active", "0")
        look = await held.look()
        assert dict(look.active) == {1: True, 2: False}
        assert look.manifests[1] == plain.get(bus.keys.of(keys.MANIFEST, n=1)).encode()
        plain.flushall()
        with pytest.raises(Unavailable, match="lost the keys"):
            await held.look()

    run(server_url, work)


def test_many_who_look_at_once_share_a_round_trip_and_one_who_comes_later_does_not(
    server_url: str, plain: redis.Redis
) -> None:
    async def work(bus: Bus) -> None:
        held = Contexts(bus)
        await put(bus, 1, "one")
        await held.look()
        plain.config_resetstat()
        async with asyncio.TaskGroup() as group:
            looks = [group.create_task(held.look()) for _ in range(20)]
        assert {id(one.result()) for one in looks} == {id(looks[0].result())}
        assert plain.info("commandstats")["cmdstat_smembers"]["calls"] == 1
        plain.set("context:shard:1:active", "0")
        assert dict((await held.look()).active) == {1: False}

    run(server_url, work)
