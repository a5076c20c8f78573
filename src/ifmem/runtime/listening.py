"""The daemon's socket: JSON lines in, JSON lines out, each call on its own."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec

from ifmem import clock
from ifmem.errors import Failed, IfMemError, Invalid, to_wire
from ifmem.wire.calls import MAX_LINE_BYTES, Reply, Request

log = logging.getLogger(__name__)


class Emitter:
    """Sends events to the caller while its call goes on."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self.call = 0
        """The number of the call, once it is known."""
        self._writer = writer

    def __call__(self, event: dict[str, Any]) -> None:
        """Send an event, however slow the caller reads."""
        _write(self._writer, Reply(self.call, event=event))

    async def drained(self) -> None:
        """Wait while the caller does not read what was sent; for calls that send without end.

        Raises:
            ConnectionError: the caller has gone.
        """
        await self._writer.drain()


Handler = Callable[[Request, Emitter], Awaitable[Any]]


class Listener:
    """Serves a Unix socket until it is told to stop.

    A caller that goes away takes its running calls with it; what they had begun to store is
    finished or undone as a whole.
    """

    def __init__(self, handle: Handler) -> None:
        self._handle = handle
        self._connections: set[asyncio.Task[None]] = set()
        self._last_used = clock.monotonic()

    @property
    def idle_seconds(self) -> float:
        """How long nobody has been connected."""
        return 0.0 if self._connections else clock.monotonic() - self._last_used

    async def listen(self, socket: Path) -> asyncio.Server:
        """Start serving at ``socket``, which only this user may open."""
        with contextlib.suppress(FileNotFoundError):
            socket.unlink()  # noqa: ASYNC240 - once, at the start
        server = await asyncio.start_unix_server(
            self._connected, path=str(socket), limit=MAX_LINE_BYTES
        )
        socket.chmod(0o600)  # noqa: ASYNC240 - once, at the start
        return server

    async def close(self) -> None:
        """End the calls that still run."""
        for task in list(self._connections):
            task.cancel()
        while self._connections:
            await asyncio.wait(self._connections)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        try:
            async with asyncio.TaskGroup() as group:
                while line := await _next_line(reader, writer):
                    group.create_task(self._answer(line, writer))
                raise _GoneError
        except* (_GoneError, ConnectionError):
            pass
        except* asyncio.CancelledError:
            pass
        finally:
            self._last_used = clock.monotonic()
            self._connections.discard(task)
            writer.close()

    async def _answer(self, line: bytes, writer: asyncio.StreamWriter) -> None:
        number = 0
        emit = Emitter(writer)
        try:
            request = msgspec.json.decode(line, type=Request)
            number = emit.call = request.id
            result = await self._handle(request, emit)
            reply = Reply(number, result=msgspec.Raw(msgspec.json.encode(result)))
        except msgspec.MsgspecError as error:
            reply = Reply(number, error=to_wire(Invalid(f"this is no call: {error}")))
        except IfMemError as error:
            reply = Reply(number, error=to_wire(error))
        except Exception as error:
            log.exception("call %d failed", number)
            told = Failed(f"ifmem itself failed ({type(error).__name__}: {error}); see its log")
            reply = Reply(number, error=to_wire(told))
        _write(writer, reply)
        with contextlib.suppress(ConnectionError):
            await writer.drain()


class _GoneError(Exception):
    """The caller closed the connection: its other calls end with it."""


async def _next_line(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
    try:
        return await reader.readline()
    except ValueError:
        told = Invalid(f"a call may take {MAX_LINE_BYTES:,} bytes: load larger texts from files")
        _write(writer, Reply(0, error=to_wire(told)))
        return b""


def _write(writer: asyncio.StreamWriter, reply: Reply) -> None:
    if not writer.is_closing():
        writer.write(msgspec.json.encode(reply) + b"\n")
