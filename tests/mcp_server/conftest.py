"""A real daemon for each module, and agents that speak MCP with a server over it."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from mcp import Client
from mcp_types import CallToolResult

from ifmem.client import launch
from ifmem.client.reconnecting import ReconnectingCalls
from ifmem.mcp_server.port import Caller, Calls, caller_of_connection
from ifmem.mcp_server.server import build_server
from ifmem.settings import RetrievalSettings, Settings

sys.path.insert(0, str(Path(__file__).parent))
import memory_calls as memory

VERSION = "1.2.3"
PATIENCE_S = 60.0


@dataclass(frozen=True)
class Desk:
    """A memory with a project that lies beside it."""

    settings: Settings
    project: Path

    def write(self, path: str, text: str) -> Path:
        """A file of the project."""
        target = self.project / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)
        return target

    def caller(self, agent: str = "ada", **bound: Any) -> Caller:
        """An agent of this project, with a space of the memory's."""
        project = os.path.realpath(self.project)
        whole = {"space": "default", "root": project, "directory": project, "roots": (project,)}
        return Caller(agent=agent, **{**whole, **bound})


class Agent:
    """A caller's MCP client."""

    def __init__(self, client: Client, caller: Caller) -> None:
        self.client = client
        self.caller = caller

    async def call(self, tool: str, /, **arguments: Any) -> CallToolResult:
        """The result of a tool, whatever it is."""
        mark = caller_of_connection.set(self.caller)
        try:
            async with asyncio.timeout(PATIENCE_S):
                return await self.client.call_tool(tool, arguments)
        finally:
            caller_of_connection.reset(mark)

    async def facts(self, tool: str, /, **arguments: Any) -> Any:
        """The structured content of a call that must succeed."""
        result = await self.call(tool, **arguments)
        assert not result.is_error, result.content
        return result.structured_content

    async def refusal(self, tool: str, /, **arguments: Any) -> Mapping[str, Any]:
        """What a call that must not succeed is told."""
        result = await self.call(tool, **arguments)
        assert result.is_error, result.structured_content
        assert set(result.structured_content) == {"error", "message", "facts"}
        return result.structured_content


Speak = Callable[..., Any]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Of a memory whose daemon runs."""
    home = tmp_path_factory.mktemp("home")
    memory.start(home)
    yield home
    memory.stop(home)


@pytest.fixture
def calls(home: Path) -> memory.SocketCalls:
    """The verbs of that memory."""
    return memory.SocketCalls(home)


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    """A running memory and an empty project."""
    place = tmp_path_factory.mktemp("desk")
    settings = Settings(home=str(place / "home"), retrieval=RetrievalSettings(semantic="off"))
    (place / "project").mkdir()
    asyncio.run(launch.reach(settings))
    yield Desk(settings, place / "project")
    asyncio.run(launch.stop(settings))


@pytest.fixture(params=["auto", "legacy"])
def era(request: pytest.FixtureRequest) -> str:
    """Both eras of the protocol."""
    return str(request.param)


@asynccontextmanager
async def speaking(
    calls: Calls, caller: Caller, *, mode: str = "auto", **client: Any
) -> AsyncIterator[Agent]:
    """An agent that is connected as this caller."""
    mark = caller_of_connection.set(caller)
    try:
        server = build_server(calls, version=VERSION)
        async with Client(server, mode=mode, **client) as connected:
            yield Agent(connected, caller)
    finally:
        caller_of_connection.reset(mark)


@pytest.fixture
def agents(desk: Desk) -> Callable[..., Any]:
    """Runs a coroutine function with as many agents as callers are given."""

    def run(talk: Callable[..., Any], *callers: Caller, mode: str = "auto") -> Any:
        async def whole() -> Any:
            async with ReconnectingCalls(desk.settings) as calls:
                return await _with_agents(talk, calls, list(callers or [desk.caller()]), mode)

        return asyncio.run(whole())

    return run


async def _with_agents(
    talk: Callable[..., Any], calls: Calls, callers: list[Caller], mode: str, *spoken: Agent
) -> Any:
    if not callers:
        return await talk(*spoken)
    async with speaking(calls, callers[0], mode=mode) as agent:
        return await _with_agents(talk, calls, callers[1:], mode, *spoken, agent)
