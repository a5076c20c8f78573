"""Subscriptions to resources, in both eras, over a real daemon."""

from __future__ import annotations

import asyncio
import sys
import warnings
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import mcp_types as types
import pytest
from mcp import Client, MCPError
from mcp.client.subscriptions import ResourcesListChanged, ResourceUpdated

from ifmem.clock import new_id
from ifmem.domain.grant import Scope
from ifmem.wire.calls import FindingsCall, ForgetCall, LoadTextCall
from ifmem.wire.shapes import FindingLine, Forgotten, LoadReport, Page

sys.path.insert(0, str(Path(__file__).parent))
import memory_calls as memory

FINDINGS = "memory://findings"
CONTEXT = "memory://context/active"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    home = tmp_path_factory.mktemp("home")
    memory.start(home)
    yield home
    memory.stop(home)


@dataclass
class Updates:
    """What a client of either era is told, and how it subscribes."""

    told: asyncio.Queue[str] = field(default_factory=asyncio.Queue)

    async def next(self) -> str:
        async with asyncio.timeout(memory.PATIENCE_S):
            return await self.told.get()

    async def until(self, uri: str) -> None:
        """Wait until told of this one, among others."""
        while await self.next() != uri:
            pass


@asynccontextmanager
async def modern(server: Any, who: Any, *uris: str) -> AsyncIterator[Updates]:
    """A client that listens by a stream; entered once it is acknowledged."""
    updates = Updates()
    async with memory.client_of(server, who) as client, asyncio.TaskGroup() as group:
        listening = asyncio.Event()

        async def listen() -> None:
            async with client.listen(
                resource_subscriptions=uris, resources_list_changed=True
            ) as stream:
                listening.set()
                async for event in stream:
                    match event:
                        case ResourceUpdated(uri=uri):
                            updates.told.put_nowait(uri)
                        case ResourcesListChanged():
                            updates.told.put_nowait("list")

        task = group.create_task(listen())
        await listening.wait()
        yield updates
        task.cancel()


@asynccontextmanager
async def legacy(server: Any, who: Any, *uris: str) -> AsyncIterator[Updates]:
    """A client of a session that subscribes to each."""
    async with session(server, who) as (client, updates):
        for uri in uris:
            await subscribe(client, uri)
        yield updates


@asynccontextmanager
async def session(server: Any, who: Any) -> AsyncIterator[tuple[Client, Updates]]:
    updates = Updates()

    async def heard(message: Any) -> None:
        if isinstance(message, types.ResourceUpdatedNotification):
            updates.told.put_nowait(message.params.uri)

    async with memory.client_of(server, who, "legacy", message_handler=heard) as client:
        yield client, updates


async def subscribe(client: Client, uri: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        await client.subscribe_resource(uri)


async def unsubscribe(client: Client, uri: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        await client.unsubscribe_resource(uri)


ERAS = pytest.mark.parametrize("listens", [modern, legacy])


@ERAS
def test_what_one_client_stores_is_told_to_another_who_can_read_it_at_once(
    home: Path, listens: Any
) -> None:
    async def story() -> None:
        calls = memory.SocketCalls(home)
        server, who = memory.server_of(calls), memory.caller(memory.own_space())
        async with listens(server, who, FINDINGS) as updates:
            # Said and not waited for: it is told when the store has it.
            stored = await calls.remember("Ferries sail at dawn.", who.space)
            assert await updates.next() == FINDINGS
            page = await calls.call(
                "findings", FindingsCall(), returns=Page[FindingLine], space=who.space
            )
            assert [line.finding["finding_id"] for line in page] == [stored.finding_id]

    asyncio.run(story())


@ERAS
def test_a_single_finding_is_told_of_when_it_comes_and_when_it_is_forgotten(
    home: Path, listens: Any
) -> None:
    async def story() -> None:
        calls = memory.SocketCalls(home)
        server, who = memory.server_of(calls), memory.caller(memory.own_space())
        finding_id = new_id()
        uri = f"{FINDINGS}/{finding_id}"
        async with listens(server, who, uri) as updates:
            await calls.remember("Another one.", who.space)
            await calls.remember("This one.", who.space, finding_id=finding_id)
            assert await updates.next() == uri
            await calls.call("forget", ForgetCall(finding_id), returns=Forgotten, space=who.space)
            assert await updates.next() == uri
            assert updates.told.empty()

    asyncio.run(story())


@ERAS
def test_loading_tells_of_the_shard_and_of_the_context(home: Path, listens: Any) -> None:
    async def story() -> None:
        calls = memory.SocketCalls(home)
        server, who = memory.server_of(calls), memory.caller(memory.own_space())
        shards = [f"memory://shards/{n}" for n in range(1, 5)]
        async with listens(server, who, CONTEXT, *shards) as updates:
            load = LoadTextCall(text="The lamps are lit at dusk.", source="chat:lamps")
            report = await calls.call("load_text", load, returns=LoadReport, space=who.space)
            (shard,) = report.shards
            heard = {await updates.next(), await updates.next()}
            assert heard == {CONTEXT, f"memory://shards/{shard.shard}"}

    asyncio.run(story())


def test_other_spaces_are_not_heard(home: Path) -> None:
    async def story() -> None:
        calls = memory.SocketCalls(home)
        server = memory.server_of(calls)
        mine, other = memory.caller(memory.own_space()), memory.own_space()
        async with modern(server, mine, FINDINGS) as updates:
            await calls.remember("Not for you.", other)
            await calls.remember("For you.", mine.space)
            await updates.until(FINDINGS)
            assert updates.told.empty()

    asyncio.run(story())


def test_a_space_is_watched_by_one_call_for_as_long_as_somebody_listens(home: Path) -> None:
    async def story() -> None:
        calls = memory.SocketCalls(home)
        server, who = memory.server_of(calls), memory.caller(memory.own_space())
        async with modern(server, who, FINDINGS) as one, legacy(server, who, FINDINGS) as other:
            assert calls.watches == 1
            await calls.remember("Both hear it.", who.space)
            await one.until(FINDINGS)
            await other.until(FINDINGS)
        await calls.unwatched()
        assert calls.watched == 1

    asyncio.run(story())


@ERAS
def test_a_subscription_is_acknowledged_once_the_space_is_watched(home: Path, listens: Any) -> None:
    class Held(memory.SocketCalls):
        """Notes when the space is watched, which it is when the gate is open."""

        async def call(self, method: str, params: Any, **given: Any) -> Any:
            if method != "watch":
                return await super().call(method, params, **given)
            await gate.wait()
            on_event = given.pop("on_event")

            def noted(event: Any) -> None:
                order.extend(event.keys() & {"watching"})
                on_event(event)

            return await super().call(method, params, on_event=noted, **given)

    order: list[str] = []
    gate = asyncio.Event()

    async def story() -> None:
        calls = Held(home)
        server, who = memory.server_of(calls), memory.caller(memory.own_space())
        async with asyncio.TaskGroup() as group:

            async def listen() -> None:
                async with listens(server, who, FINDINGS):
                    order.append("acknowledged")

            group.create_task(listen())
            # A hasty acknowledgement would come while these are answered.
            for _ in range(5):
                await calls.remember("Meanwhile.", who.space)
            gate.set()
        assert order == ["watching", "acknowledged"]

    asyncio.run(story())


def test_a_session_hears_nothing_of_what_it_unsubscribed_from(home: Path) -> None:
    async def story() -> None:
        calls = memory.SocketCalls(home)
        server, who = memory.server_of(calls), memory.caller(memory.own_space())
        async with session(server, who) as (client, updates):
            kept, left = (f"{FINDINGS}/{new_id()}" for _ in range(2))
            for uri in (kept, left):
                await subscribe(client, uri)
            await unsubscribe(client, left)
            await unsubscribe(client, "memory://shards/9")
            for uri in (left, kept):
                await calls.remember("Said.", who.space, finding_id=uri.rpartition("/")[2])
            assert await updates.next() == kept
            await unsubscribe(client, kept)
            await calls.unwatched()

    asyncio.run(story())


def test_what_is_no_resource_cannot_be_subscribed_to(home: Path) -> None:
    async def story() -> None:
        server = memory.server_of(memory.SocketCalls(home))
        async with session(server, memory.caller()) as (client, _):
            with pytest.raises(MCPError) as refused:
                await subscribe(client, "memory://nothing")
            assert refused.value.code == -32002

    asyncio.run(story())


@ERAS
def test_who_may_not_read_may_not_listen(home: Path, listens: Any) -> None:
    async def story() -> None:
        server = memory.server_of(memory.SocketCalls(home))
        writer = memory.caller(scopes=frozenset({Scope.WRITE}))
        async with memory.client_of(
            server, writer, "legacy" if listens is legacy else "auto"
        ) as client:
            with pytest.raises(MCPError, match="scope `read`"):
                if listens is legacy:
                    await subscribe(client, FINDINGS)
                else:
                    async with client.listen(resource_subscriptions=[FINDINGS]):
                        pass

    asyncio.run(story())


def test_more_resources_than_a_stream_may_have_are_refused(home: Path) -> None:
    async def story() -> None:
        server = memory.server_of(memory.SocketCalls(home))
        many = [f"memory://shards/{n}" for n in range(1, 1_002)]
        async with memory.client_of(server, memory.caller()) as client:
            with pytest.raises(MCPError, match="at most 1,000"):
                async with client.listen(resource_subscriptions=many):
                    pass

    asyncio.run(story())


def test_after_a_lost_daemon_each_resource_is_told_of_once(
    tmp_path: Path, watch_end: Callable[[int], Callable[[], bool]]
) -> None:
    async def story() -> None:
        calls = memory.SocketCalls(tmp_path)
        server, who = memory.server_of(calls), memory.caller()
        async with (
            modern(server, who, FINDINGS, CONTEXT) as one,
            legacy(server, who, FINDINGS) as other,
        ):
            await asyncio.to_thread(memory.stop, tmp_path)
            await calls.unwatched()
            await asyncio.to_thread(memory.start, tmp_path)
            heard: set[str] = set()
            while heard != {FINDINGS, CONTEXT}:
                # An ending daemon may have told of its last total before.
                heard.add(await one.next())
            assert await other.next() == FINDINGS
            await calls.remember("It goes on.")
            await one.until(FINDINGS)
            assert await other.next() == FINDINGS
            assert other.told.empty()

    memory.start(tmp_path)
    try:
        asyncio.run(story())
    finally:
        memory.stop(tmp_path)


def test_nothing_is_lost_over_reconnects_when_a_client_catches_up(home: Path) -> None:
    """Ten findings each while it listens and while it is away: it gets all, each once."""

    async def story() -> None:
        calls = memory.SocketCalls(home)
        server, who = memory.server_of(calls), memory.caller(memory.own_space())
        said: list[str] = []
        got: list[str] = []
        cursor = "0"

        async def say(count: int) -> None:
            for _ in range(count):
                stored = await calls.remember(f"Fact {len(said)}.", who.space)
                said.append(stored.finding_id)

        async def catch_up() -> None:
            nonlocal cursor
            page = await calls.call(
                "findings", FindingsCall(since=cursor), returns=Page[FindingLine], space=who.space
            )
            for line in page:
                got.append(line.finding["finding_id"])
                cursor = line.cursor

        for listens in (modern, legacy, modern):
            async with listens(server, who, FINDINGS) as updates:
                await catch_up()
                async with asyncio.TaskGroup() as group:
                    group.create_task(say(10))
                    aim = len(said) + 10
                    while len(got) < aim:
                        await updates.until(FINDINGS)
                        await catch_up()
            await say(10)
        await catch_up()
        assert got == said

    asyncio.run(story())
