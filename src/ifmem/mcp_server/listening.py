"""The daemon's socket for agents: who connects says so in one line, and speaks MCP from then on."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec

from ifmem import clock
from ifmem.domain.finding import Trust
from ifmem.domain.space import require_space
from ifmem.errors import ConfigError, IfMemError, Invalid, Unavailable, to_wire
from ifmem.mcp_server.port import Caller, caller_of_connection
from ifmem.places import project_file
from ifmem.settings import Settings

log = logging.getLogger(__name__)

MCP_PROTOCOL = 1
"""Of the one line before the JSON-RPC; ``shim.binding`` says the same."""
SERVED = "served-agents"
"""This file in the home says that agents have used it: what speaks MCP is imported at the start."""
MAX_AGENT_CHARACTERS = 100
_PREAMBLE_S = 10.0
_MAX_PREAMBLE_BYTES = 65_536

Speak = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
"""Speaks MCP on one connection until it ends; who calls is ``current_caller()``."""


class Preamble(msgspec.Struct, frozen=True):
    """Who connects."""

    protocol: int
    version: str
    """Of the shim's ifmem."""
    space: str
    root: str
    """The agent's project: an absolute directory."""
    agent: str


class AgentListener:
    """Serves the agents of a home.

    A connection that ends takes its running calls with it; what they had begun to store is finished
    or undone as a whole.
    """

    def __init__(self, prepare: Callable[[], Speak], settings: Settings, *, version: str) -> None:
        """A listener.

        Args:
            prepare: imports and makes what speaks MCP: once, in a thread, when it is first needed.
            version: of the daemon; a shim of another one is refused.
        """
        self._prepare = prepare
        self._preparing = asyncio.Lock()
        self._speak: Speak | None = None
        self._settings = settings
        self._version = version
        self._connections: dict[asyncio.Task[Any], asyncio.StreamWriter] = {}
        self._last_used = clock.monotonic()

    @property
    def idle_seconds(self) -> float:
        """How long no agent has been connected."""
        return 0.0 if self._connections else clock.monotonic() - self._last_used

    @contextlib.asynccontextmanager
    async def listening(self, socket: Path) -> AsyncIterator[None]:
        """Serve at ``socket``, which only this user may open, while the context lasts."""
        with contextlib.suppress(FileNotFoundError):
            socket.unlink()  # noqa: ASYNC240 - once, at the start
        limit = max(self._settings.mcp.max_request_bytes, _MAX_PREAMBLE_BYTES)
        server = await asyncio.start_unix_server(self._connected, path=str(socket), limit=limit)
        socket.chmod(0o600)  # noqa: ASYNC240 - once, at the start
        try:
            async with asyncio.TaskGroup() as group:
                warming = group.create_task(self._warm())
                try:
                    yield
                finally:
                    warming.cancel()
        finally:
            server.close()
            socket.unlink(missing_ok=True)  # noqa: ASYNC240 - once, at the end
            await self._close()

    async def _warm(self) -> None:
        """Prepare before anybody asks, where agents are known to ask."""
        if self._marker.exists():
            with contextlib.suppress(IfMemError):
                await self._prepared()

    async def _close(self) -> None:
        for task, writer in list(self._connections.items()):
            # Hung up first: an agent is then told by its shim what became of each call, instead of
            # by handlers that are cancelled.
            writer.transport.abort()
            task.cancel()
        while self._connections:
            await asyncio.wait(self._connections)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        crowded = len(self._connections) >= self._settings.mcp.connections
        self._connections[task] = writer
        try:
            if crowded:
                raise self._crowded()
            caller = await self._caller(reader)
            speak = await self._prepared()
            self._mark()
            caller_of_connection.set(caller)
            writer.write(msgspec.json.encode(self._ready()) + b"\n")
            await speak(reader, writer)
        except IfMemError as error:
            writer.write(msgspec.json.encode(_refusal(error)) + b"\n")
        except (ConnectionError, asyncio.CancelledError):
            pass
        except Exception:
            log.exception("an agent's connection failed")
        finally:
            self._last_used = clock.monotonic()
            del self._connections[task]
            writer.close()

    def _ready(self) -> dict[str, object]:
        limit = self._settings.mcp.max_request_bytes
        return {"ready": True, "version": self._version, "max_request_bytes": limit}

    async def _caller(self, reader: asyncio.StreamReader) -> Caller:
        """Who connects, from its first line.

        Raises:
            Invalid: it is no such line.
            Unavailable: it is of another version than the daemon.
        """
        try:
            async with asyncio.timeout(_PREAMBLE_S):
                line = await reader.readline()
            said = msgspec.json.decode(line, type=Preamble)
        except (TimeoutError, ValueError) as error:
            raise Invalid(
                "the first line on this socket says who connects: use `ifmem mcp`"
            ) from error
        if (said.protocol, said.version) != (MCP_PROTOCOL, self._version):
            raise Unavailable(
                f"the daemon of this home is ifmem {self._version}, this is {said.version}: run "
                "`ifmem down`",
                daemon=self._version,
                client=said.version,
            )
        if not 0 < len(said.agent.strip()) <= MAX_AGENT_CHARACTERS:
            raise Invalid(f"an agent's name has 1 to {MAX_AGENT_CHARACTERS} characters: --agent")
        if not Path(said.root).is_absolute():
            raise Invalid(f"{said.root[:60]!r} is no absolute path: name the project with --root")
        return caller(said, self._settings.roots)

    async def _prepared(self) -> Speak:
        async with self._preparing:
            if self._speak is None:
                try:
                    self._speak = await asyncio.to_thread(self._prepare)
                except ImportError as error:
                    raise ConfigError(
                        f"agents need the extra `mcp` ({error}): pip install 'ifmem[mcp]'"
                    ) from error
            return self._speak

    @property
    def _marker(self) -> Path:
        return self._settings.home_path / SERVED

    def _mark(self) -> None:
        # Only the next start's speed hangs on it.
        with contextlib.suppress(OSError):
            self._marker.touch(mode=0o600)

    def _crowded(self) -> Unavailable:
        limit = self._settings.mcp.connections
        return Unavailable(
            f"{limit} agents are connected, as many as this daemon serves: end one, or raise "
            "mcp.connections and run `ifmem down`",
            limit=limit,
        )


def caller(said: Preamble, roots: tuple[str, ...]) -> Caller:
    """What an agent that runs as this very user is bound to.

    Args:
        roots: further directories whose files it may load and cite.

    Raises:
        Invalid: no space has that name.
    """
    project = project_file(Path(said.root))
    further = (os.path.realpath(Path(one).expanduser()) for one in roots)
    return Caller(
        agent=said.agent.strip(),
        space=require_space(said.space),
        root=None if project is None else os.path.realpath(project.parent),
        directory=said.root,
        roots=(os.path.realpath(said.root), *further),
        trust=Trust.AGENT,
        sees_captured=True,
        connection=clock.new_id(),
    )


def _refusal(error: IfMemError) -> dict[str, object]:
    """The error as JSON-RPC, for whoever speaks that already."""
    told = {"code": -32603, "message": error.message, "data": to_wire(error)}
    return {"jsonrpc": "2.0", "id": None, "error": told}
