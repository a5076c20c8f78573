"""A proxy between a client and a server that spoils their connections on demand.

For tests and measurements of what happens when a network does: it delays, cuts, swallows one
direction, answers nothing, and heals. It is no protocol's: it carries bytes.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ifmem.clock import monotonic

Place = tuple[str, int] | Path
"""Host and port, or the path of a Unix socket."""
Direction = Literal["requests", "answers"]

_PIECE = 64 * 1024
_PIECES_UNDER_WAY = 256
_PATIENCE_S = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Faults:
    """What is wrong with every connection; by default nothing."""

    latency_s: float = 0.0
    """Seconds by which each piece is late, in both directions; order and throughput stay."""
    swallow: Direction | None = None
    """Half-open: what goes in this direction is lost, and neither side is told."""
    black_hole: bool = False
    """Connections are accepted and all that is sent is lost, in both directions."""
    cut_after: int | None = None
    """A connection ends when this many bytes have passed in both directions together."""

    def loses(self, direction: Direction) -> bool:
        """True when what goes in this direction does not arrive."""
        return self.black_hole or self.swallow == direction


@dataclass(slots=True, eq=False)
class _Conversation:
    writers: list[asyncio.StreamWriter]
    passed: int = 0
    has_lost: bool = False

    def reset(self) -> None:
        for writer in self.writers:
            connection = writer.get_extra_info("socket")
            if connection is not None and connection.family != socket.AF_UNIX:
                # Linger for no time: the other side sees a reset, no orderly end. One that has
                # ended already cannot be told.
                with contextlib.suppress(OSError):
                    connection.setsockopt(
                        socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
                    )
            writer.transport.abort()


class FaultProxy:
    """A running proxy. Its methods may be called from any thread and have happened on return."""

    def __init__(self, upstream: Place) -> None:
        self._upstream = upstream
        self._faults = Faults()
        self._conversations: set[_Conversation] = set()
        self._loop = asyncio.get_running_loop()
        self._idle = asyncio.Event()
        self._idle.set()
        self.place: Place = upstream
        """Where it listens."""

    @property
    def connections(self) -> int:
        """How many clients are connected."""
        return len(self._conversations)

    def spoil(self, faults: Faults) -> None:
        """From now on, these faults and no others.

        A connection that has lost bytes is reset: going on would show a gap that no network has.
        """

        def change() -> None:
            self._faults = faults
            for conversation in self._conversations:
                conversation.passed = 0
                if conversation.has_lost:
                    conversation.reset()

        self._do(change)

    def heal(self) -> None:
        """From now on, no faults."""
        self.spoil(Faults())

    def reset(self) -> None:
        """Reset every connection; new ones are served."""

        def reset_all() -> None:
            for conversation in self._conversations:
                conversation.reset()

        self._do(reset_all)

    def _do(self, act: Callable[[], object]) -> None:
        with contextlib.suppress(RuntimeError):
            if asyncio.get_running_loop() is self._loop:
                act()
                return
        done: Future[object] = Future()
        self._loop.call_soon_threadsafe(lambda: done.set_result(act()))
        done.result(_PATIENCE_S)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Carry one connection to its end."""
        conversation = _Conversation([writer])
        self._conversations.add(conversation)
        self._idle.clear()
        try:
            with contextlib.suppress(OSError):
                if self._faults.black_hole:
                    conversation.has_lost = True
                    while await reader.read(_PIECE):
                        pass
                    return
                server_reader, server_writer = await _open(self._upstream)
                conversation.writers.append(server_writer)
                await self._carry(conversation, reader, server_reader)
        finally:
            for one in conversation.writers:
                one.close()
            for one in conversation.writers:
                with contextlib.suppress(OSError):
                    await one.wait_closed()
            self._conversations.discard(conversation)
            if not self._conversations:
                self._idle.set()

    async def end(self) -> None:
        """Reset every connection and wait until none is left."""
        self.reset()
        async with asyncio.timeout(_PATIENCE_S):
            await self._idle.wait()

    async def _carry(
        self,
        conversation: _Conversation,
        from_client: asyncio.StreamReader,
        from_server: asyncio.StreamReader,
    ) -> None:
        to_client, to_server = conversation.writers
        ways: list[tuple[asyncio.StreamReader, asyncio.StreamWriter, Direction]] = [
            (from_client, to_server, "requests"),
            (from_server, to_client, "answers"),
        ]
        async with asyncio.TaskGroup() as group:
            tasks = []
            for reader, writer, direction in ways:
                under_way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(_PIECES_UNDER_WAY)
                tasks.append(group.create_task(self._take(reader, under_way)))
                tasks.append(
                    group.create_task(self._bring(conversation, under_way, writer, direction))
                )
            # The end of either direction is the end of the connection.
            bringing = tasks[1::2]
            await asyncio.wait(bringing, return_when=asyncio.FIRST_COMPLETED)
            for task in tasks:
                task.cancel()

    async def _take(
        self, reader: asyncio.StreamReader, under_way: asyncio.Queue[tuple[float, bytes]]
    ) -> None:
        data = b"?"
        while data:
            try:
                data = await reader.read(_PIECE)
            except OSError:
                data = b""
            await under_way.put((monotonic() + self._faults.latency_s, data))

    async def _bring(
        self,
        conversation: _Conversation,
        under_way: asyncio.Queue[tuple[float, bytes]],
        writer: asyncio.StreamWriter,
        direction: Direction,
    ) -> None:
        while True:
            due, data = await under_way.get()
            await asyncio.sleep(max(0.0, due - monotonic()))
            if not data:
                return
            if self._faults.loses(direction):
                conversation.has_lost = True
                continue
            limit = self._faults.cut_after
            left = len(data) if limit is None else max(0, limit - conversation.passed)
            conversation.passed += len(data[:left])
            try:
                writer.write(data[:left])
                await writer.drain()
            except OSError:
                return
            if limit is not None and conversation.passed >= limit:
                return


@contextlib.asynccontextmanager
async def fault_proxy(upstream: Place, listen: Path | None = None) -> AsyncIterator[FaultProxy]:
    """A proxy to ``upstream`` in this event loop, on a port of loopback or a Unix socket."""
    proxy = FaultProxy(upstream)
    if listen is None:
        server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
        host, port = server.sockets[0].getsockname()[:2]
        proxy.place = (host, port)
    else:
        server = await asyncio.start_unix_server(proxy.serve, listen)
        proxy.place = listen
    try:
        yield proxy
    finally:
        server.close()
        await proxy.end()
        await server.wait_closed()


@contextlib.contextmanager
def fault_proxy_thread(upstream: Place, listen: Path | None = None) -> Iterator[FaultProxy]:
    """The same in a thread of its own, for code that is not async."""
    started: Future[FaultProxy] = Future()
    ended = threading.Event()

    async def run() -> None:
        try:
            async with fault_proxy(upstream, listen) as proxy:
                started.set_result(proxy)
                await asyncio.to_thread(ended.wait)
        except OSError as error:
            if started.done():
                raise
            started.set_exception(error)

    thread = threading.Thread(target=lambda: asyncio.run(run()), name="fault proxy", daemon=True)
    thread.start()
    try:
        yield started.result(_PATIENCE_S)
    finally:
        ended.set()
        thread.join(_PATIENCE_S)


async def _open(place: Place) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    if isinstance(place, Path):
        return await asyncio.open_unix_connection(place)
    return await asyncio.open_connection(*place)
