"""The SDK's streams over a socket: lines of JSON-RPC in, lines of JSON-RPC out."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Any

import anyio
import mcp_types as types
import msgspec
from mcp.server.lowlevel import Server
from mcp.shared.message import SessionMessage

Speak = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
_MOST_DIGITS = 4_000
"""Python refuses to read much longer numbers."""
_NO_MESSAGE = (
    "this is no JSON-RPC 2.0 message, or it holds half of a character, is nested too deeply, or "
    "has a number of thousands of digits"
)


def speaker(server: Server[Any], *, limit: int) -> Speak:
    """What serves one connection after the other, or many at once, with one server object.

    Args:
        limit: bytes of the longest line that is taken; the readers' own limit.
    """
    options = server.create_initialization_options()

    async def speak(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        outgoing = _Outgoing(writer)
        await server.run(_Incoming(reader, outgoing, limit), outgoing, options)

    return speak


class _Outgoing:
    """Each message as a line; waits for a reader that is slow."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self._writer = writer

    async def send(self, item: SessionMessage) -> None:
        text = item.message.model_dump_json(by_alias=True, exclude_unset=True)
        await self.write(text.encode())

    async def write(self, line: bytes) -> None:
        if self._writer.is_closing():
            raise anyio.ClosedResourceError
        self._writer.write(line + b"\n")
        try:
            await self._writer.drain()
        except ConnectionError as error:
            raise anyio.BrokenResourceError from error

    async def aclose(self) -> None:
        self._writer.close()

    async def __aenter__(self) -> _Outgoing:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.aclose()


class _Incoming:
    """Each line as a message; what is none is answered here, since the SDK passes over it."""

    def __init__(self, reader: asyncio.StreamReader, outgoing: _Outgoing, limit: int) -> None:
        self._reader = reader
        self._outgoing = outgoing
        self._limit = limit
        self._closed = False

    async def receive(self) -> SessionMessage | Exception:
        while not self._closed:
            try:
                line = await self._reader.readuntil()
            except (asyncio.IncompleteReadError, ConnectionError):
                break
            except asyncio.LimitOverrunError as overrun:
                await self._skip(overrun.consumed)
                told = f"a request may take {self._limit:,} bytes: load larger texts from files"
                await self._refuse(None, types.INVALID_REQUEST, told)
                continue
            if not line.strip():
                continue
            try:
                return SessionMessage(_message(line))
            except ValueError:
                await self._refuse(*_what_is_wrong(line))
        raise anyio.EndOfStream

    async def _skip(self, seen: int) -> None:
        while True:
            try:
                await self._reader.readexactly(seen)
                await self._reader.readuntil()
            except asyncio.LimitOverrunError as overrun:
                seen = overrun.consumed
            except (asyncio.IncompleteReadError, ConnectionError):
                return
            else:
                return

    async def _refuse(self, number: types.RequestId | None, code: int, told: str) -> None:
        error = {"code": code, "message": told}
        line = {"jsonrpc": "2.0", "id": number, "error": error}
        try:
            await self._outgoing.write(msgspec.json.encode(line))
        except (anyio.ClosedResourceError, anyio.BrokenResourceError):
            self._closed = True

    async def aclose(self) -> None:
        self._closed = True

    def __aiter__(self) -> _Incoming:
        return self

    async def __anext__(self) -> SessionMessage | Exception:
        try:
            return await self.receive()
        except anyio.EndOfStream:
            raise StopAsyncIteration from None

    async def __aenter__(self) -> _Incoming:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.aclose()


def _message(line: bytes) -> types.JSONRPCMessage:
    """The message of a line.

    Raises:
        ValueError: it is none.
    """
    message = types.jsonrpc_message_adapter.validate_json(line, by_name=False)
    # A request whose id is no id looks like a notification, and would never be answered.
    if isinstance(message, types.JSONRPCNotification) and "id" in msgspec.json.decode(line):
        raise ValueError("an id is a number or a text")
    return message


def _what_is_wrong(line: bytes) -> tuple[types.RequestId | None, int, str]:
    """The answer to a line that is no message: its id as far as it shows one, code, what it says.

    Python's own reader takes what the SDK's does not: halves of characters, very long numbers and
    more depth. Who sends such a request hears of it by its id, and does not wait.
    """
    try:
        said = json.loads(line.decode(), parse_int=_short, parse_constant=_refused)
    except (ValueError, RecursionError):
        return None, types.PARSE_ERROR, "this line is no JSON"
    number = said.get("id") if isinstance(said, dict) else None
    known = number if type(number) is int or _is_text(number) else None
    return known, types.INVALID_REQUEST, _NO_MESSAGE


def _short(digits: str) -> int | None:
    return int(digits) if len(digits) <= _MOST_DIGITS else None


def _refused(constant: str) -> float:
    raise ValueError(f"{constant} is no JSON")


def _is_text(value: object) -> bool:
    """Whether it is a text that can be sent."""
    try:
        return isinstance(value, str) and value.encode() is not None
    except UnicodeEncodeError:
        return False
