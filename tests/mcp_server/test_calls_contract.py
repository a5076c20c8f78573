"""What every way to the daemon's verbs promises: within the daemon, and over its socket."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from importlib import metadata
from pathlib import Path
from typing import Any

import msgspec
import pytest

from ifmem.client.reconnecting import ReconnectingCalls
from ifmem.errors import Failed, Invalid, NotFound, OutcomeUnknown, Unavailable
from ifmem.mcp_server.port import Calls
from ifmem.runtime.calling import InsideCalls
from ifmem.runtime.listening import Emitter, Listener
from ifmem.settings import Settings
from ifmem.sockets import DAEMON_SOCKET, socket_path
from ifmem.wire.calls import PROTOCOL, Request, TaskCall
from ifmem.wire.shapes import Hello

PATIENCE_S = 30.0
TASK = TaskCall("t-1")


class Daemon:
    """Answers by its methods' names, and tells what became of the calls."""

    def __init__(self) -> None:
        self.begun = asyncio.Semaphore(0)
        self.ended = asyncio.Semaphore(0)
        self.go_on = asyncio.Event()
        self.greeted = 0

    async def handle(self, request: Request, emit: Emitter) -> Any:
        match request.method:
            case "hello":
                self.greeted += 1
                return Hello(metadata.version("ifmem"), PROTOCOL, os.getpid(), "", "owner")
            case "echo":
                return {"space": request.space, "params": msgspec.json.decode(request.params)}
            case "missing":
                raise NotFound("there is no such thing: look elsewhere", thing="it")
            case "broken":
                raise ZeroDivisionError("a mistake of ours")
            case "count":
                for number in range(50):
                    emit({"number": number})
                return {"count": 50}
            case _:
                return await self._last()

    async def _last(self) -> Any:
        self.begun.release()
        try:
            await self.go_on.wait()
        finally:
            self.ended.release()
        return {}


@asynccontextmanager
async def inside(daemon: Daemon, home: Path) -> AsyncIterator[Calls]:
    yield InsideCalls(daemon.handle)


@asynccontextmanager
async def over_the_socket(daemon: Daemon, home: Path) -> AsyncIterator[Calls]:
    async with listening(daemon, home), ReconnectingCalls(Settings(home=str(home))) as calls:
        yield calls


@asynccontextmanager
async def listening(daemon: Daemon, home: Path) -> AsyncIterator[None]:
    listener = Listener(daemon.handle)
    server = await listener.listen(socket_path(home, DAEMON_SOCKET))
    try:
        async with server:
            yield
            await listener.close()
    finally:
        await listener.close()


Way = Callable[[Daemon, Path], AbstractAsyncContextManager[Calls]]
Use = Callable[[Calls, Daemon], Coroutine[Any, Any, None]]
every_way = pytest.mark.parametrize("way", [inside, over_the_socket])


def run(way: Way, home: Path, use: Use) -> None:
    async def within() -> None:
        daemon = Daemon()
        async with asyncio.timeout(PATIENCE_S), way(daemon, home) as calls:
            await use(calls, daemon)

    asyncio.run(within())


@every_way
def test_a_result_comes_back_in_the_shape_that_was_asked_for(way: Way, tmp_path: Path) -> None:
    class Echo(msgspec.Struct):
        space: str
        params: TaskCall

    async def use(calls: Calls, daemon: Daemon) -> None:
        assert await calls.call("echo", TASK, returns=Echo, space="acme") == Echo("acme", TASK)
        empty = await calls.call("echo", None, returns=dict, space="acme")
        assert empty == {"space": "acme", "params": {}}

    run(way, tmp_path, use)


@every_way
def test_an_error_is_the_verbs_own_with_its_facts(way: Way, tmp_path: Path) -> None:
    async def use(calls: Calls, daemon: Daemon) -> None:
        with pytest.raises(NotFound, match="look elsewhere") as missing:
            await calls.call("missing", TASK, returns=dict, space="default")
        assert missing.value.facts == {"thing": "it"}
        with pytest.raises(Failed, match="ifmem itself failed"):
            await calls.call("broken", TASK, returns=dict, space="default")
        assert await calls.call("echo", None, returns=dict, space="default")

    run(way, tmp_path, use)


@every_way
def test_a_result_of_another_shape_is_an_error_and_no_surprise(way: Way, tmp_path: Path) -> None:
    async def use(calls: Calls, daemon: Daemon) -> None:
        with pytest.raises(Failed):
            await calls.call("count", None, returns=TaskCall, space="default")

    run(way, tmp_path, use)


@every_way
def test_what_is_no_text_is_refused_before_it_is_sent(way: Way, tmp_path: Path) -> None:
    async def use(calls: Calls, daemon: Daemon) -> None:
        with pytest.raises(Invalid):
            await calls.call("echo", TaskCall("\udcff"), returns=dict, space="default")
        assert await calls.call("echo", None, returns=dict, space="default")

    run(way, tmp_path, use)


@every_way
def test_events_come_in_order_and_before_the_result(way: Way, tmp_path: Path) -> None:
    async def use(calls: Calls, daemon: Daemon) -> None:
        heard: list[Any] = []
        result = await calls.call(
            "count", None, returns=dict, space="default", on_event=heard.append
        )
        assert heard == [{"number": number} for number in range(50)]
        assert result == {"count": 50}

    run(way, tmp_path, use)


@every_way
def test_cancelling_a_call_ends_what_is_done_for_it_and_no_other_call(
    way: Way, tmp_path: Path
) -> None:
    async def use(calls: Calls, daemon: Daemon) -> None:
        async with asyncio.TaskGroup() as group:
            first, second = (
                group.create_task(calls.call("last", None, returns=dict, space="default"))
                for _ in range(2)
            )
            await daemon.begun.acquire()
            await daemon.begun.acquire()
            first.cancel()
            await daemon.ended.acquire()
            assert not second.done()
            assert await calls.call("echo", None, returns=dict, space="default")
            daemon.go_on.set()
        assert second.result() == {}

    run(way, tmp_path, use)


def test_a_connection_is_used_again_and_many_at_once_have_one_each(tmp_path: Path) -> None:
    async def use(calls: Calls, daemon: Daemon) -> None:
        for _ in range(20):
            await calls.call("echo", None, returns=dict, space="default")
        assert daemon.greeted == 1
        async with asyncio.TaskGroup() as group:
            for _ in range(40):
                group.create_task(calls.call("last", None, returns=dict, space="default"))
            for _ in range(40):
                await daemon.begun.acquire()
            daemon.go_on.set()
        assert daemon.greeted == 40

    run(over_the_socket, tmp_path, use)


def test_a_daemon_that_ended_between_two_calls_is_not_missed(tmp_path: Path) -> None:
    async def within() -> None:
        async with (
            asyncio.timeout(PATIENCE_S),
            ReconnectingCalls(Settings(home=str(tmp_path))) as calls,
        ):
            for _ in range(3):
                async with listening(Daemon(), tmp_path):
                    assert await calls.call("echo", None, returns=dict, space="default")
                # The other end is closed: our own has to be told by the loop, in a few rounds.
                for _ in range(100):
                    await asyncio.sleep(0)

    asyncio.run(within())


@pytest.mark.parametrize(
    ("method", "told"), [("last", Unavailable), ("task_claim", OutcomeUnknown)]
)
def test_a_daemon_that_ends_is_told_and_the_next_call_reaches_its_successor(
    method: str, told: type[Unavailable], tmp_path: Path
) -> None:
    async def told_by(calls: Calls) -> Exception | None:
        try:
            await calls.call(method, None, returns=dict, space="default")
        except Unavailable as error:
            return error
        return None

    async def within() -> None:
        first, second = Daemon(), Daemon()
        async with (
            asyncio.timeout(PATIENCE_S),
            ReconnectingCalls(Settings(home=str(tmp_path))) as calls,
            asyncio.TaskGroup() as group,
        ):
            async with listening(first, tmp_path):
                lost = group.create_task(told_by(calls))
                await first.begun.acquire()
            assert type(await lost) is told
            async with listening(second, tmp_path):
                assert await calls.call("echo", None, returns=dict, space="default")

    asyncio.run(within())
