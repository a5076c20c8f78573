"""An HTTP host on a thread of its own: our side of HTTP around a few tools of the tests."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import httpx2
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.server.lowlevel import Server
from mcp.server.subscriptions import InMemorySubscriptionBus, ListenHandler, ResourceUpdated
from mcp_types import CallToolRequestParams, CallToolResult, ListToolsResult, Tool

from ifmem.client.reconnecting import ReconnectingCalls
from ifmem.errors import IfMemError, NotPermitted, to_wire
from ifmem.mcp_server import http
from ifmem.mcp_server.port import Calls, current_caller
from ifmem.settings import Settings
from ifmem.wire.agent_calls import TokenCreateCall, TokenRevokeCall, TokenShape
from ifmem.wire.calls import TaskClaimCall

PATIENCE_S = 60.0
MODES = ("legacy", "2026-07-28")
URI = "memory://context/active"


class Tools:
    """Tools that show what a test wants to see of the host."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls
        self._bus = InMemorySubscriptionBus()
        self.begun = threading.Semaphore(0)
        """Released by each call of ``hold`` and ``claim`` as it begins."""
        self.let_go: asyncio.Event | None = None

    def server(self) -> Server[Any]:
        return Server(
            "tools of a test",
            on_list_tools=self.list_tools,
            on_call_tool=self.call_tool,
            on_subscriptions_listen=ListenHandler(self._bus),
            get_tool_input_schema=lambda name: {"type": "object"},
        )

    async def list_tools(self, ctx: Any, params: Any) -> ListToolsResult:
        names = ("who", "hold", "claim", "change", "refuse")
        listed = [Tool(name=one, input_schema={"type": "object"}) for one in names]
        return ListToolsResult(tools=listed)

    async def call_tool(self, ctx: Any, params: CallToolRequestParams) -> CallToolResult:
        caller = current_caller()
        try:
            said = await self._do(params.name)
        except IfMemError as error:
            return CallToolResult(content=[], structured_content=to_wire(error), is_error=True)
        said |= {
            "agent": caller.agent,
            "space": caller.space,
            "roots": list(caller.roots),
            "scopes": sorted(caller.scopes),
            "trust": str(caller.trust),
            "directory": caller.directory,
        }
        return CallToolResult(content=[], structured_content=said)

    async def _do(self, name: str) -> dict[str, Any]:
        match name:
            case "hold":
                self.let_go = self.let_go or asyncio.Event()
                self.begun.release()
                await self.let_go.wait()
            case "claim":
                self.begun.release()
                call = TaskClaimCall(worker=current_caller().agent, wait_seconds=50)
                claimed = await self._calls.call(
                    "task_claim", call, returns=dict, space=current_caller().space
                )
                return {"claimed": claimed}
            case "change":
                await self._bus.publish(ResourceUpdated(URI))
            case "refuse":
                raise NotPermitted("this needs the scope admin")
        return {}


class Host:
    """A host that answers at ``url``."""

    def __init__(self, settings: Settings, calls: Any = None) -> None:
        self.settings = settings
        self.calls = calls or ReconnectingCalls(settings)
        self.tools = Tools(self.calls)
        self.url = ""
        self.loop: asyncio.AbstractEventLoop | None = None
        self._stopping: asyncio.Event | None = None
        self._ready = threading.Event()

    async def run(self) -> None:
        self.loop, self._stopping = asyncio.get_running_loop(), asyncio.Event()
        with http.listening(0) as listener:
            self.url = http.url_of(listener)
            async with self.calls:
                await http.serve(
                    self.tools.server(),
                    self.calls,
                    self.settings,
                    listener,
                    ready=self._ready.set,
                    stopping=self._stopping,
                )

    def wait(self) -> None:
        assert self._ready.wait(PATIENCE_S)

    def stop(self) -> None:
        assert self.loop is not None and self._stopping is not None
        self.loop.call_soon_threadsafe(self._stopping.set)

    def do(self, work: Any) -> Any:
        """Run a coroutine where the host runs."""
        assert self.loop is not None
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(PATIENCE_S)

    def initialize(self, token: str) -> httpx2.Response:
        """Open a session of the eras before."""
        opening = {
            "jsonrpc": "2.0",
            "id": 1,
            "method": "initialize",
            "params": {
                "protocolVersion": "2025-11-25",
                "capabilities": {},
                "clientInfo": {"name": "test", "version": "1"},
            },
        }
        return post(self, token, json.dumps(opening).encode())

    def call(self, method: str, params: Any, returns: Any, space: str = "default") -> Any:
        return self.do(self.calls.call(method, params, returns=returns, space=space))

    def token(self, name: str, space: str = "default", **fields: Any) -> str:
        made = self.call("token_create", TokenCreateCall(name, **fields), TokenShape, space)
        return made.token

    def revoke(self, name: str) -> None:
        self.call("token_revoke", TokenRevokeCall(name), TokenShape)


@contextmanager
def hosted(settings: Settings, calls: Any = None) -> Iterator[Host]:
    """A host as long as the block runs."""
    host = Host(settings, calls)
    thread = threading.Thread(target=asyncio.run, args=(host.run(),))
    thread.start()
    try:
        host.wait()
        yield host
    finally:
        host.stop()
        thread.join(PATIENCE_S)
        assert not thread.is_alive()


@asynccontextmanager
async def client(host: Host, token: str, mode: str) -> AsyncIterator[Client]:
    """A client of the SDK with a token."""
    headers = {"Authorization": f"Bearer {token}"}
    async with (
        httpx2.AsyncClient(headers=headers, timeout=PATIENCE_S) as web,
        Client(streamable_http_client(host.url, http_client=web), mode=mode) as connected,
    ):
        yield connected


def who(host: Host, token: str, mode: str = "2026-07-28") -> dict[str, Any]:
    """What the host thinks who calls."""

    async def run() -> dict[str, Any]:
        async with client(host, token, mode) as connected:
            result = await connected.call_tool("who", {})
            assert isinstance(result.structured_content, dict)
            return result.structured_content

    return asyncio.run(run())


def body(method: str, **params: Any) -> dict[str, Any]:
    """A request of the present era as it stands on the wire."""
    meta = {
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {},
        "io.modelcontextprotocol/clientInfo": {"name": "test", "version": "1"},
    }
    return {"jsonrpc": "2.0", "id": 1, "method": method, "params": {**params, "_meta": meta}}


def post(
    host: Host, token: str | None, request: dict[str, Any] | bytes, **headers: str
) -> httpx2.Response:
    """Send one request as it is."""
    given = {
        "Accept": "application/json, text/event-stream",
        "Content-Type": "application/json",
        **({} if token is None else {"Authorization": f"Bearer {token}"}),
        **{name.replace("_", "-"): value for name, value in headers.items()},
    }
    if isinstance(request, dict):
        given.setdefault("MCP-Protocol-Version", "2026-07-28")
        given.setdefault("Mcp-Method", request["method"])
        if name := request.get("params", {}).get("name"):
            given.setdefault("Mcp-Name", name)
    content = request if isinstance(request, bytes) else json.dumps(request).encode()
    with httpx2.Client(timeout=PATIENCE_S, verify=False) as web:
        return web.post(host.url, content=content, headers=given)
