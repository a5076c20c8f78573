"""Forwarded calls over a real server; the test plays the bridge with the product's own side."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import timedelta
from typing import Any

import msgspec
import pytest
import redis

from ifmem.bus.address import read_url
from ifmem.bus.bus import Bus
from ifmem.bus.calls import KEPT_SECONDS, MOST_UNREAD, MOST_WAITING, Asked, Calls
from ifmem.bus.client import open_client
from ifmem.clock import monotonic
from ifmem.errors import Invalid, NotFound, OutcomeUnknown, Unavailable, to_wire
from ifmem.wire.forwarded import (
    Begun,
    Cancel,
    Event,
    Failure,
    ForwardedCall,
    Lost,
    Order,
    Result,
    StillThere,
    read_order,
    read_part,
)

PATIENCE_S = 30.0
LIST = "ifmem:1:calls"
READS = Asked("recall", msgspec.Raw(b'{"query":"light"}'), "client-1")
WRITES = Asked(
    "remember", msgspec.Raw(b"{}"), "client-1", "repeat it with the same id", {"id": "f-1"}
)


class Scene:
    """A client's end and a bridge's end on one server."""

    def __init__(self, url: str, plain: redis.Redis) -> None:
        self.plain = plain
        self._client = open_client(read_url(url), True, None)
        self._blocking = open_client(read_url(url), True, None, socket_timeout=None)
        self.bus = Bus(self._client, blocking=self._blocking)
        self.calls: Calls = self.bus.calls
        self.events: list[dict[str, Any]] = []
        self.may_read = asyncio.Event()
        self.may_read.set()

    async def own(self, *, bridge: str = "b-1", seconds: float = 60.0) -> None:
        await self.bus.ownership.claim(
            "store", bridge=bridge, name="host-1", duration=timedelta(seconds=seconds), adopt=True
        )

    async def call(self, asked: Asked = READS, *, patience: float = PATIENCE_S) -> Any:
        async def on_event(event: dict[str, Any]) -> None:
            await self.may_read.wait()
            self.events.append(event)

        return msgspec.json.decode(await self.calls.call(asked, on_event, patience=patience))

    async def order(self) -> Order:
        async with asyncio.timeout(PATIENCE_S):
            while (raw := await self.calls.take(1.0)) is None:
                pass
        return read_order(raw)

    async def begun(self, bridge: str = "b-1") -> ForwardedCall:
        call = await self.order()
        assert isinstance(call, ForwardedCall)
        await self.calls.reply(call.id, Begun(bridge))
        return call

    async def until(self, is_so: Callable[[], Any]) -> None:
        deadline = monotonic() + PATIENCE_S
        while not is_so():
            assert monotonic() < deadline, "it did not come true in time"
            await asyncio.sleep(0.01)

    async def close(self) -> None:
        await self._client.aclose()
        await self._blocking.aclose()


Play = Callable[[Callable[[Scene], Awaitable[None]]], None]


@pytest.fixture
def run(server_url: str, plain: redis.Redis) -> Play:
    """Plays a scene on an empty server."""

    def play(scene: Callable[[Scene], Awaitable[None]]) -> None:
        async def all_of_it() -> None:
            stage = Scene(server_url, plain)
            try:
                async with asyncio.timeout(2 * PATIENCE_S):
                    await scene(stage)
            finally:
                await stage.close()

        asyncio.run(all_of_it())

    return play


def test_a_call_its_events_and_its_result_come_in_order_and_nothing_stays_for_long(
    run: Play,
) -> None:
    async def scene(stage: Scene) -> None:
        await stage.own()
        async with asyncio.TaskGroup() as group:
            calling = group.create_task(stage.call())
            call = await stage.begun()
            assert (call.method, call.caller, bytes(call.params)) == (
                "recall",
                "client-1",
                b'{"query":"light"}',
            )
            for number in range(3):
                await stage.calls.reply(call.id, Event({"n": number}))
            await stage.calls.reply(call.id, Result(msgspec.Raw(b'{"passages":[]}')))
        assert calling.result() == {"passages": []}
        assert stage.events == [{"n": 0}, {"n": 1}, {"n": 2}]
        assert stage.plain.keys("ifmem:1:reply:*") == []
        await stage.calls.reply(call.id, Lost())
        assert 0 < stage.plain.ttl(f"ifmem:1:reply:{call.id}") <= KEPT_SECONDS

    run(scene)


def test_an_error_of_the_bridge_arrives_as_itself(run: Play) -> None:
    async def scene(stage: Scene) -> None:
        await stage.own()
        with pytest.raises(NotFound, match="no such thing") as caught:
            await _while(
                _answering(stage, Failure(to_wire(NotFound("no such thing", a=1)))), stage.call()
            )
        assert caught.value.facts == {"a": 1}

    run(scene)


def test_without_a_live_bridge_a_call_says_what_to_start(run: Play) -> None:
    async def scene(stage: Scene) -> None:
        with pytest.raises(Unavailable, match=r"no owner of space 'default' is running.*ifmem up"):
            await stage.call()
        await stage.own(seconds=0.0)
        with pytest.raises(Unavailable, match=r"the last one was host-1"):
            await stage.call()
        assert not stage.plain.exists(LIST)

    run(scene)


def test_a_call_that_nobody_begins_is_taken_back(run: Play) -> None:
    async def scene(stage: Scene) -> None:
        await stage.own()
        with pytest.raises(Unavailable, match="was not begun") as caught:
            await stage.call(WRITES, patience=0.1)
        assert not isinstance(caught.value, OutcomeUnknown)
        assert not stage.plain.exists(LIST)

    run(scene)


def test_a_call_taken_but_never_begun_has_an_unknown_outcome_only_if_it_writes(run: Play) -> None:
    async def scene(stage: Scene) -> None:
        await stage.own()
        for asked, kind in ((WRITES, OutcomeUnknown), (READS, Unavailable)):
            with pytest.raises(kind, match="did not answer") as caught:
                await _while(stage.order(), stage.call(asked, patience=0.1))
            assert type(caught.value) is kind

    run(scene)


def test_a_late_call_is_known_by_the_servers_clock(run: Play) -> None:
    async def scene(stage: Scene) -> None:
        await stage.own()
        for patience, late in ((PATIENCE_S, False), (-1.0, True)):
            calling = asyncio.ensure_future(stage.call(patience=patience))
            call = await stage.order()
            assert isinstance(call, ForwardedCall)
            assert await stage.calls.is_late(call) is late
            calling.cancel()
            with suppress(asyncio.CancelledError, Unavailable):
                await calling
            stage.plain.delete(LIST)

    run(scene)


def test_a_bridge_that_ends_after_it_began_leaves_the_outcome_unknown(run: Play) -> None:
    async def scene(stage: Scene) -> None:
        await stage.own()
        with pytest.raises(OutcomeUnknown, match=r"may or may not .*same id \(id f-1\)") as caught:
            await _while(_succeeded(stage), stage.call(WRITES))
        assert caught.value.facts["id"] == "f-1"

    run(scene)


def test_a_call_that_the_bridge_does_not_know_any_more_is_lost(run: Play) -> None:
    async def scene(stage: Scene) -> None:
        await stage.own()
        with pytest.raises(Unavailable, match="interrupted before `recall` was answered") as caught:
            await _while(_answering(stage, Lost()), stage.call())
        assert type(caught.value) is Unavailable

    run(scene)


def test_a_caller_that_goes_away_takes_its_call_back_or_cancels_it(run: Play) -> None:
    async def scene(stage: Scene) -> None:
        await stage.own()
        waiting = asyncio.ensure_future(stage.call())
        await stage.until(lambda: stage.plain.exists(LIST))
        await _cancelled(waiting)
        assert not stage.plain.exists(LIST)
        running = asyncio.ensure_future(stage.call())
        call = await stage.begun()
        await _cancelled(running)
        assert await stage.order() == Cancel(call.id)

    run(scene)


def test_a_caller_that_waits_shows_it(run: Play) -> None:
    async def scene(stage: Scene) -> None:
        await stage.own()
        calling = asyncio.ensure_future(stage.call())
        call = await stage.begun()
        assert await stage.order() == StillThere(call.id)
        await stage.calls.reply(call.id, Result(msgspec.Raw(b"1")))
        assert await calling == 1

    run(scene)


def test_more_calls_than_may_wait_are_refused(run: Play) -> None:
    async def scene(stage: Scene) -> None:
        await stage.own()
        stage.plain.rpush(LIST, *["{}"] * MOST_WAITING)
        with pytest.raises(Unavailable, match="repeat it a little later") as caught:
            await stage.call(WRITES)
        assert caught.value.facts["outcome"] == "busy"
        assert stage.plain.llen(LIST) == MOST_WAITING

    run(scene)


def test_a_caller_that_does_not_read_stops_the_sender_and_loses_nothing(run: Play) -> None:
    async def scene(stage: Scene) -> None:
        await stage.own()
        stage.may_read.clear()
        calling = asyncio.ensure_future(stage.call())
        call = await stage.begun()
        sent = 0

        async def send() -> None:
            nonlocal sent
            for number in range(3 * MOST_UNREAD):
                await stage.calls.reply(call.id, Event({"n": number}))
                sent += 1
            await stage.calls.reply(call.id, Result(msgspec.Raw(b"1")))

        async with asyncio.TaskGroup() as group:
            group.create_task(send())
            name = f"ifmem:1:reply:{call.id}"
            await stage.until(lambda: stage.plain.llen(name) > MOST_UNREAD)
            # Time enough for many more, if it did not wait.
            await asyncio.sleep(0.3)
            assert stage.plain.llen(name) == MOST_UNREAD + 1
            assert sent <= MOST_UNREAD + 2
            stage.may_read.set()
        assert await calling == 1
        assert [event["n"] for event in stage.events] == list(range(3 * MOST_UNREAD))

    run(scene)


@pytest.mark.parametrize("read", [read_order, read_part])
@pytest.mark.parametrize("body", [b"", b"\xff", b"[]", b"{}", b'{"kind":"?"}', b'{"kind":"call"}'])
def test_garbage_is_neither_an_order_nor_a_reply(read: Callable[[bytes], Any], body: bytes) -> None:
    with pytest.raises(Invalid):
        read(body)


async def _answering(stage: Scene, *parts: Any) -> None:
    call = await stage.begun()
    for part in parts:
        await stage.calls.reply(call.id, part)


async def _succeeded(stage: Scene) -> None:
    await stage.begun()
    await stage.own(bridge="b-2")


async def _cancelled(task: asyncio.Future[Any]) -> None:
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


async def _while(bridge: Awaitable[Any], call: Awaitable[Any]) -> Any:
    """The call's end, while the bridge does its part."""
    playing = asyncio.ensure_future(bridge)
    try:
        return await call
    finally:
        await playing
