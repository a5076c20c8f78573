"""A memory over a real daemon's socket, and one agent that calls; tests load this file by path."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
from mcp import Client
from mcp.server.lowlevel import Server

from ifmem.client import launch
from ifmem.client.connection import Connection
from ifmem.clock import new_id
from ifmem.domain.grant import EVERY_SCOPE, Scope
from ifmem.errors import Unavailable
from ifmem.mcp_server import completions, prompts, resources, subscriptions
from ifmem.mcp_server.port import Caller, caller_of_connection
from ifmem.settings import RetrievalSettings, Settings
from ifmem.sockets import DAEMON_SOCKET, socket_path
from ifmem.wire.calls import RememberCall
from ifmem.wire.shapes import Remembered

PATIENCE_S = 60.0


def own_space() -> str:
    """A space that no other test has."""
    return f"s{new_id()[:13]}"


class SocketCalls:
    """The verbs over the socket: a connection for each call, so that cancelling one ends it."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.watches = 0
        """``watch`` calls that are under way."""
        self.watched = 0
        """``watch`` calls that there ever were."""
        self._unwatched = asyncio.Event()

    async def call(
        self,
        method: str,
        params: msgspec.Struct | None,
        *,
        returns: Any,
        space: str,
        on_event: Any = None,
    ) -> Any:
        try:
            path = socket_path(self.home, DAEMON_SOCKET)
            connection = await Connection.open(path, log=self.home / "daemon.log")
        except OSError as error:
            raise Unavailable(f"no daemon listens: {error}") from error
        if method == "watch":
            self._count(1)
        try:
            return await connection.call(
                method, params, returns=returns, space=space, on_event=on_event
            )
        finally:
            await connection.close()
            if method == "watch":
                self._count(-1)

    async def unwatched(self) -> None:
        """Wait until no ``watch`` is under way."""
        async with asyncio.timeout(PATIENCE_S):
            await self._unwatched.wait()

    def _count(self, change: int) -> None:
        self.watches += change
        self.watched += max(0, change)
        self._unwatched.clear() if self.watches else self._unwatched.set()

    async def remember(self, claim: str, space: str = "default", **finding: Any) -> Remembered:
        """Store a finding as an agent does."""
        call = RememberCall({"claim": claim, **finding}, trust=finding.pop("trust", "agent"))
        found = await self.call("remember", call, returns=Remembered, space=space)
        assert isinstance(found, Remembered)
        return found


def settings_of(home: Path) -> Settings:
    return Settings(home=str(home), retrieval=RetrievalSettings(semantic="off"))


def start(home: Path) -> None:
    """Start the daemon of a home."""
    asyncio.run(launch.reach(settings_of(home)))


def stop(home: Path) -> None:
    """End the daemon of a home and its bus."""
    asyncio.run(launch.stop(settings_of(home)))


def server_of(calls: SocketCalls) -> Server[Any]:
    """A server object with everything but the tools."""
    server: Server[Any] = Server("ifmem", version="0")
    for part in (resources, prompts, completions, subscriptions):
        part.register(server, calls)
    return server


def caller(
    space: str = "default", *, root: str | None = None, scopes: frozenset[Scope] = EVERY_SCOPE
) -> Caller:
    return Caller(agent="tester", space=space, root=root, scopes=scopes, connection="tester")


@contextlib.asynccontextmanager
async def client_of(
    server: Server[Any], who: Caller, mode: str = "auto", **given: Any
) -> AsyncIterator[Client]:
    """A client in this process that calls as somebody."""
    token = caller_of_connection.set(who)
    try:
        async with asyncio.timeout(PATIENCE_S), Client(server, mode=mode, **given) as client:
            yield client
    finally:
        caller_of_connection.reset(token)
