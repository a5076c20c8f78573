"""The limits around the server's handlers, for callers of any transport."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from mcp.server.context import ServerRequestContext
from mcp.shared.exceptions import MCPError

from ifmem.errors import NotPermitted
from ifmem.mcp_server.limits import TOO_MUCH, limits
from ifmem.mcp_server.port import Caller, caller_of_connection
from ifmem.settings import McpSettings

SETTINGS = McpSettings(calls_per_minute=20, concurrent_calls=2)
PATIENCE_S = 30.0


class Server:
    """Handlers behind the limits; a call lasts until it is let go."""

    def __init__(self, settings: McpSettings = SETTINGS) -> None:
        self._limited = limits(settings)
        self.begun = asyncio.Semaphore(0)
        self.go_on = asyncio.Event()
        self.heard: list[str] = []

    async def asks(self, agent: str, method: str = "tools/call", request: int | None = 1) -> Any:
        """What one message of an agent comes to."""
        caller_of_connection.set(Caller(agent=agent, space="default", connection=agent))
        context: Any = ServerRequestContext(
            session=None,  # type: ignore[arg-type]
            lifespan_context={},
            protocol_version="2026-07-28",
            method=method,
            request_id=request,
        )
        return await self._limited(context, self._handle)

    async def _handle(self, context: Any) -> dict[str, Any]:
        self.heard.append(context.method)
        self.begun.release()
        await self.go_on.wait()
        return {}


def run(use: Callable[[Server], Coroutine[Any, Any, None]]) -> None:
    async def within() -> None:
        async with asyncio.timeout(PATIENCE_S):
            await use(Server())

    asyncio.run(within())


async def refused(asking: Coroutine[Any, Any, Any]) -> MCPError:
    with pytest.raises(MCPError) as told:
        await asking
    assert told.value.code == TOO_MUCH
    return told.value


def test_a_refusal_says_when_to_come_again() -> None:
    async def use(server: Server) -> None:
        server.go_on.set()
        for _ in range(10):
            await server.asks("ada")
        told = await refused(server.asks("ada"))
        assert 0 < told.data["retry_after_seconds"] <= 3
        assert "20 calls a minute" in told.message
        await server.asks("bob")

    run(use)


def test_a_call_that_was_cancelled_or_failed_makes_room_for_the_next() -> None:
    async def use(server: Server) -> None:
        async with asyncio.TaskGroup() as group:
            running = [group.create_task(server.asks("ada")) for _ in range(2)]
            for _ in running:
                await server.begun.acquire()
            await refused(server.asks("ada"))
            running[0].cancel()
            await asyncio.wait(running[:1])
            third = group.create_task(server.asks("ada"))
            await server.begun.acquire()
            server.go_on.set()
        assert third.result() == {}

    run(use)


def test_streams_are_counted_apart_and_end_with_their_listeners() -> None:
    async def use(server: Server) -> None:
        async with asyncio.TaskGroup() as group:
            listening = [
                group.create_task(server.asks(agent, "subscriptions/listen"))
                for agent in ("ada",) * 5 + ("bob",) * 2
            ]
            for _ in listening:
                await server.begun.acquire()
            calls = [group.create_task(server.asks("ada")) for _ in range(2)]
            for _ in calls:
                await server.begun.acquire()
            server.go_on.set()

    run(use)


def test_a_notification_is_no_call_and_always_gets_through() -> None:
    async def use(server: Server) -> None:
        server.go_on.set()
        for _ in range(10):
            await server.asks("ada")
        await server.asks("ada", "notifications/cancelled", request=None)
        assert server.heard[-1] == "notifications/cancelled"

    run(use)


def test_nobody_is_counted_who_is_not_known() -> None:
    async def use(server: Server) -> None:
        context: Any = ServerRequestContext(
            session=None,  # type: ignore[arg-type]
            lifespan_context={},
            protocol_version="2026-07-28",
            method="tools/call",
            request_id=1,
        )
        with pytest.raises(NotPermitted):
            await limits(SETTINGS)(context, server._handle)
        assert server.heard == []

    run(use)
