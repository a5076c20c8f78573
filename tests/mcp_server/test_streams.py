"""The SDK's server on a socket: no line without an answer, no call for who has hung up."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from typing import Any

import mcp_types as types
import pytest
from mcp.server.lowlevel import Server

from ifmem.mcp_server.streams import speaker

LIMIT = 10_000
PATIENCE_S = 30.0
META = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientCapabilities": {},
}


class Peer:
    """The other end."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self.writer = writer

    def says(self, line: bytes) -> None:
        self.writer.write(line + b"\n")

    def asks(self, number: object, method: str, **params: object) -> None:
        message = {"jsonrpc": "2.0", "id": number, "method": method}
        self.says(json.dumps(message | {"params": params | {"_meta": META}}).encode())

    async def hears(self) -> Any:
        async with asyncio.timeout(PATIENCE_S):
            return json.loads(await self._reader.readline())

    async def is_hung_up_on(self) -> bool:
        async with asyncio.timeout(PATIENCE_S):
            return await self._reader.read() == b""


class Slow:
    """A tool that never ends by itself."""

    def __init__(self) -> None:
        self.begun = asyncio.Event()
        self.cancelled = asyncio.Event()

    async def call(self, _: object, __: object) -> types.CallToolResult:
        self.begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.cancelled.set()
        raise AssertionError


@asynccontextmanager
async def served(slow: Slow) -> AsyncIterator[Peer]:
    near, far = socket.socketpair()
    peer = Peer(*await asyncio.open_connection(sock=near))
    reader, writer = await asyncio.open_connection(sock=far, limit=LIMIT)
    speak = speaker(Server("test", on_call_tool=slow.call), limit=LIMIT)
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(speak(reader, writer))
            yield peer
            peer.writer.close()
    finally:
        for end in (peer.writer, writer):
            end.close()
            with suppress(ConnectionError):
                await end.wait_closed()


def play(scene: Callable[[Peer, Slow], Coroutine[Any, Any, None]]) -> None:
    async def run() -> None:
        slow = Slow()
        async with asyncio.timeout(PATIENCE_S), served(slow) as peer:
            await scene(peer, slow)

    asyncio.run(run())


def test_a_request_is_answered() -> None:
    async def scene(peer: Peer, _: Slow) -> None:
        peer.asks(1, "server/discover")
        assert (await peer.hears())["result"]["supportedVersions"] == ["2026-07-28"]

    play(scene)


@pytest.mark.parametrize(
    ("line", "number", "code"),
    [
        (b"no json", None, -32700),
        (b"[" * 9_000, None, -32700),
        (b"\xff\xfe", None, -32700),
        (b"[]", None, -32600),
        (b'{"jsonrpc": "2.0", "id": 7}', 7, -32600),
        (b'{"jsonrpc": "2.0", "id": "seven", "method": 5}', "seven", -32600),
        (b'{"jsonrpc": "2.0", "id": [7], "method": "ping"}', None, -32600),
        (b'{"jsonrpc": "2.0", "id": true, "method": "ping"}', None, -32600),
        (b"x" * 3_000_000, None, -32600),
        (b'{"id": 7, "text": "' + b"x" * LIMIT + b'"}', None, -32600),
    ],
)
def test_what_is_no_message_is_answered_and_the_next_is_served(
    line: bytes, number: object, code: int
) -> None:
    async def scene(peer: Peer, _: Slow) -> None:
        peer.says(line)
        told = await peer.hears()
        assert (told["id"], told["error"]["code"]) == (number, code)
        peer.asks(8, "server/discover")
        assert (await peer.hears())["id"] == 8

    play(scene)


def test_a_peer_that_hangs_up_takes_its_calls_with_it() -> None:
    async def scene(peer: Peer, slow: Slow) -> None:
        peer.asks(1, "tools/call", name="slow", arguments={})
        await slow.begun.wait()
        peer.writer.close()
        await slow.cancelled.wait()

    play(scene)


def test_a_cancelled_call_ends_and_is_not_answered() -> None:
    async def scene(peer: Peer, slow: Slow) -> None:
        peer.asks(1, "tools/call", name="slow", arguments={})
        await slow.begun.wait()
        note = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 1}}
        peer.says(json.dumps(note).encode())
        await slow.cancelled.wait()
        peer.asks(2, "server/discover")
        assert (await peer.hears())["id"] == 2

    play(scene)
