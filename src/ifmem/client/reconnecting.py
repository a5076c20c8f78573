"""The daemon's verbs over its socket, for a process that outlives daemons."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Self

import msgspec

from ifmem.client import launch
from ifmem.client.connection import Connection, OnEvent, Result
from ifmem.settings import Settings

_MOST_IDLE = 16


class ReconnectingCalls:
    """``mcp_server.port.Calls`` of a home; ``async with`` closes its connections.

    A call that runs has a connection of its own: when the call is cancelled the connection is
    closed, by which the daemon ends what it does for it, and nobody else's call with it. A daemon
    that has ended is started again by the next call.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._idle: list[Connection] = []
        self._busy: set[Connection] = set()
        self._connecting = asyncio.Lock()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for connection in (*self._idle, *self._busy):
            await connection.close()

    async def call(
        self,
        method: str,
        params: msgspec.Struct | None,
        *,
        returns: type[Result],
        space: str,
        on_event: OnEvent | None = None,
    ) -> Result:
        """The result of one call; a daemon is started when none runs.

        Raises:
            IfMemError: the one the daemon answered with.
            OutcomeUnknown: the daemon ended during the call, and it writes: repeat it.
            Unavailable: the same for one that only reads, or no daemon can be started.
        """
        connection = await self._connected()
        self._busy.add(connection)
        answered = False
        try:
            result = await connection.call(
                method, params, returns=returns, space=space, on_event=on_event
            )
            answered = True
            return result
        except Exception:
            # An error of the verb is an answer too; a broken connection is seen to be one.
            answered = True
            raise
        finally:
            self._busy.discard(connection)
            if answered and not connection.is_closed and len(self._idle) < _MOST_IDLE:
                self._idle.append(connection)
            else:
                connection.abandon()

    async def _connected(self) -> Connection:
        if found := self._take_idle():
            return found
        # One at a time: when the daemon has ended, the first caller starts it for all who wait.
        async with self._connecting:
            return self._take_idle() or await launch.connect(self._settings)

    def _take_idle(self) -> Connection | None:
        while self._idle:
            connection = self._idle.pop()
            if not connection.is_closed:
                return connection
        return None
