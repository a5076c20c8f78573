"""One connection to the daemon: any number of calls at once over a Unix socket, a line each."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from ifmem.errors import Failed, IfMemError, Invalid, OutcomeUnknown, Unavailable, from_wire
from ifmem.wire.calls import MAX_LINE_BYTES, REPEAT, Nothing, Reply, Request

Result = TypeVar("Result")
OnEvent = Callable[[Mapping[str, Any]], None]

_reply = msgspec.json.Decoder(Reply)


@dataclass(frozen=True, slots=True)
class _Pending:
    method: str
    facts: Mapping[str, object]
    on_event: OnEvent | None
    reply: asyncio.Future[msgspec.Raw]


class Connection:
    """A client's end of the socket; ``await Connection.open(path)``, and ``close`` it.

    Calls are answered in any order. Cancelling one abandons its reply; closing the connection
    makes the daemon stop what it still does for it.
    """

    def __init__(self, lines: _Lines) -> None:
        self._lines = lines
        self._last_id = 0

    @classmethod
    async def open(cls, path: Path, *, log: Path) -> Connection:
        """Connect.

        Args:
            path: the socket.
            log: the daemon's log, which errors name.

        Raises:
            OSError: nobody listens there.
        """
        loop = asyncio.get_running_loop()
        _, lines = await loop.create_unix_connection(lambda: _Lines(path, log), str(path))
        return cls(lines)

    async def call(
        self,
        method: str,
        params: msgspec.Struct | None = None,
        *,
        returns: type[Result],
        space: str,
        on_event: OnEvent | None = None,
        **facts: object,
    ) -> Result:
        """The result of one call.

        Args:
            method: its name in the protocol.
            params: what it takes; None where it takes nothing.
            returns: the shape of its result.
            space: the space it is about.
            on_event: is given each event before the result, on the loop; it must not block.
            facts: what a caller needs to repeat the call, for the error when the answer is lost.

        Raises:
            IfMemError: the one the daemon answered with.
            OutcomeUnknown: the connection ended and the call writes: repeat it.
            Unavailable: the connection ended and the call only reads.
        """
        self._last_id += 1
        request = Request(self._last_id, method, space, _raw(params or Nothing()))
        future = asyncio.get_running_loop().create_future()
        pending = _Pending(method, facts, on_event, future)
        self._lines.send(request, pending)
        try:
            return msgspec.json.decode(await future, type=returns)
        except msgspec.ValidationError as error:
            raise Failed(
                f"the daemon's answer to `{method}` has another shape than this version knows "
                f"({error}): run `ifmem down` and repeat it",
                method=method,
            ) from error
        finally:
            self._lines.pending.pop(request.id, None)

    @property
    def is_closed(self) -> bool:
        """Whether one end of it has closed it: no call can be made on it any more."""
        return self._lines.is_closed

    def pause(self) -> None:
        """Read nothing until ``resume``: the daemon's events pile up there, and it waits."""
        self._lines.pause()

    def resume(self) -> None:
        """Read on."""
        self._lines.resume()

    def abandon(self) -> None:
        """Begin to end the connection, without waiting: the daemon stops what it does for it."""
        self._lines.close()

    async def close(self) -> None:
        """End the connection; safe to repeat."""
        self._lines.close()
        await self._lines.closed.wait()


class _Lines(asyncio.Protocol):
    """Cuts what arrives into lines and gives each reply to the call that waits for it.

    A protocol needs no reader task, so a connection may outlive the task that opened it.
    """

    def __init__(self, path: Path, log: Path) -> None:
        self.pending: dict[int, _Pending] = {}
        self.closed = asyncio.Event()
        self._path = path
        self._log = log
        self._transport: asyncio.Transport | None = None
        self._partial = bytearray()

    @property
    def is_closed(self) -> bool:
        return self._transport is None or self._transport.is_closing()

    def send(self, request: Request, pending: _Pending) -> None:
        line = msgspec.json.encode(request)
        if len(line) >= MAX_LINE_BYTES:
            raise Invalid(
                f"this call has {len(line):,} bytes and the limit is {MAX_LINE_BYTES:,}: "
                "put the text in a file and load that",
                bytes=len(line),
                limit=MAX_LINE_BYTES,
            )
        if self._transport is None or self.is_closed:
            raise Unavailable("the connection to the daemon is closed: open the memory again")
        self.pending[request.id] = pending
        self._transport.write(line + b"\n")

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def pause(self) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.pause_reading()

    def resume(self) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        *whole, rest = data.split(b"\n")
        for line in whole:
            self._partial += line
            complete, self._partial = self._partial, bytearray()
            self._deliver(bytes(complete))
        self._partial += rest
        if len(self._partial) > MAX_LINE_BYTES:
            self._give_up(f"sent a line longer than {MAX_LINE_BYTES:,} bytes")

    def connection_lost(self, exc: Exception | None) -> None:
        for pending in self.pending.values():
            if not pending.reply.done():
                pending.reply.set_exception(_lost(pending, self._log))
        self.closed.set()

    def _deliver(self, line: bytes) -> None:
        try:
            reply = _reply.decode(line)
        except msgspec.DecodeError:
            self._give_up("does not speak the protocol of this version")
            return
        if reply.id == 0 and reply.error is not None:
            # It could not even read which call it refuses.
            self._fail_all(from_wire(reply.error))
            return
        pending = self.pending.get(reply.id)
        if pending is None or pending.reply.done():
            return
        if reply.event is not None:
            if pending.on_event is not None:
                pending.on_event(reply.event)
        elif reply.error is not None:
            pending.reply.set_exception(from_wire(reply.error))
        else:
            pending.reply.set_result(reply.result)

    def _give_up(self, what: str) -> None:
        self._fail_all(Unavailable(f"what listens on {self._path} {what}: run `ifmem down`"))
        if self._transport is not None:
            self._transport.abort()

    def _fail_all(self, error: IfMemError) -> None:
        for pending in self.pending.values():
            if not pending.reply.done():
                pending.reply.set_exception(error)


def _raw(params: msgspec.Struct) -> msgspec.Raw:
    try:
        return msgspec.Raw(msgspec.json.encode(params))
    except UnicodeEncodeError as error:
        raise Invalid(
            "a name or text contains bytes that are not UTF-8: rename the file, or load the "
            "folder that contains it"
        ) from error


def _lost(pending: _Pending, log: Path) -> IfMemError:
    repeat = REPEAT.get(pending.method)
    if repeat is None:
        return Unavailable(
            f"the daemon ended before it answered `{pending.method}`: ask again (its log is {log})",
            method=pending.method,
            **pending.facts,
        )
    named = "".join(f" ({name} {value})" for name, value in pending.facts.items())
    return OutcomeUnknown(
        f"the daemon ended before it answered `{pending.method}`, so it may or may not have "
        f"happened: {repeat}{named}; its log is {log}",
        method=pending.method,
        **pending.facts,
    )
