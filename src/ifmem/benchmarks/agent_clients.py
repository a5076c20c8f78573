"""Agents as the benchmark plays them: JSON-RPC over a shim's streams, or over HTTP, and no more.

A client of a protocol's SDK takes as long as a call; what is measured here is our side.
"""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import itertools
import json
import os
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ifmem.benchmarks.throwaway import Throwaway
from ifmem.errors import Failed

_ERA = "2025-06-18"
"""What Codex and Gemini CLI offer; with a handshake it is the slower one to begin with."""
_CLIENT = {"name": "bench", "version": "1"}
_LIMIT = 64 * 1024 * 1024


class StdioAgent:
    """An agent that has started ``ifmem mcp``; opened by ``stdio_agent``."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.notified: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._ids = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[dict[str, Any]]] = {}

    async def shake_hands(self) -> None:
        """The handshake of the older era."""
        await self.request(
            "initialize",
            {"protocolVersion": _ERA, "capabilities": {}, "clientInfo": _CLIENT},
        )
        self.notify("notifications/initialized")

    async def call(self, tool: str, **arguments: object) -> dict[str, Any]:
        """The structured content of a tool's result.

        Raises:
            Failed: it is an error.
        """
        return _structured(
            await self.request("tools/call", {"name": tool, "arguments": arguments}), tool
        )

    async def request(self, method: str, params: Mapping[str, Any] | None = None) -> Any:
        """The result of one request.

        Raises:
            Failed: it was answered with an error, or the shim ended.
        """
        number = next(self._ids)
        future = asyncio.get_running_loop().create_future()
        self._waiting[number] = future
        self._send({"jsonrpc": "2.0", "id": number, "method": method, "params": params or {}})
        return _result(await future, method)

    def notify(self, method: str) -> None:
        """Send what is not answered."""
        self._send({"jsonrpc": "2.0", "method": method})

    def memory_mb(self) -> float | None:
        """Resident memory of the shim; None where the system does not tell."""
        try:
            status = Path(f"/proc/{self.process.pid}/status").read_text(encoding="ascii")
        except OSError:
            return None
        kilobytes = next(
            (line.split()[1] for line in status.splitlines() if line.startswith("VmRSS:")), None
        )
        return None if kilobytes is None else round(int(kilobytes) * 1024 / 1e6, 1)

    async def listen(self) -> None:
        """Give what arrives to whoever waits for it, until the shim ends."""
        assert self.process.stdout is not None
        while line := await self.process.stdout.readline():
            message = json.loads(line)
            waiting = self._waiting.pop(message.get("id", 0), None)
            if waiting is None:
                self.notified.put_nowait(message)
            elif not waiting.done():
                waiting.set_result(message)
        for one in self._waiting.values():
            if not one.done():
                one.set_exception(Failed("the shim ended"))

    def _send(self, message: Mapping[str, Any]) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(message).encode() + b"\n")


@contextlib.asynccontextmanager
async def stdio_agent(
    home: Path, directory: Path, *, name: str = "bench"
) -> AsyncIterator[StdioAgent]:
    """An agent that works in ``directory``; its shim ends with it."""
    process = await asyncio.create_subprocess_exec(
        *command(home, directory, name),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        cwd=directory,
        limit=_LIMIT,
        env={**os.environ, "IFMEM_CONFIG": os.devnull},
    )
    agent = StdioAgent(process)
    async with asyncio.TaskGroup() as group:
        listening = group.create_task(agent.listen())
        try:
            yield agent
        finally:
            assert process.stdin is not None
            process.stdin.close()
            if process.returncode is None:
                process.kill()
            await process.wait()
            await listening


def agent_at(
    place: Throwaway, name: str = "bench"
) -> contextlib.AbstractAsyncContextManager[StdioAgent]:
    """An agent that works on the text of a memory of a measurement."""
    return stdio_agent(place.memory.settings.home_path, place.directory / "corpus", name=name)


def command(home: Path, directory: Path, name: str) -> Sequence[str]:
    """What an agent's configuration starts."""
    script = Path(sys.executable).with_name("ifmem")
    return (str(script), "mcp", "--home", str(home), "--root", str(directory), "--agent", name)


class HttpAgent:
    """An agent with one connection to ``ifmem serve``, of the newer era; it blocks."""

    def __init__(self, port: int, token: str) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        self._token = token
        self._ids = itertools.count(1)

    def call(self, tool: str, **arguments: object) -> dict[str, Any]:
        """The structured content of a tool's result.

        Raises:
            Failed: it is an error.
        """
        version = "2026-07-28"
        meta = {
            "io.modelcontextprotocol/protocolVersion": version,
            "io.modelcontextprotocol/clientInfo": _CLIENT,
            "io.modelcontextprotocol/clientCapabilities": {},
        }
        body = {
            "jsonrpc": "2.0",
            "id": next(self._ids),
            "method": "tools/call",
            "params": {"name": tool, "arguments": arguments, "_meta": meta},
        }
        headers = {
            "Authorization": f"Bearer {self._token}",
            "Content-Type": "application/json",
            "Accept": "application/json, text/event-stream",
            "MCP-Protocol-Version": version,
            "Mcp-Method": "tools/call",
            "Mcp-Name": tool,
        }
        self._connection.request("POST", "/mcp", json.dumps(body), headers)
        answer = self._connection.getresponse()
        said = answer.read()
        if answer.status != 200:
            raise Failed(f"the server answered {answer.status}: {said[:200]!r}")
        if "event-stream" in (answer.getheader("Content-Type") or ""):
            said = next(line[6:] for line in said.splitlines() if line.startswith(b"data: "))
        return _structured(_result(json.loads(said), tool), tool)

    def close(self) -> None:
        """End the connection."""
        self._connection.close()


def _result(message: Mapping[str, Any], what: str) -> Any:
    if "error" in message:
        raise Failed(f"{what}: {message['error'].get('message')}")
    return message["result"]


def _structured(result: Mapping[str, Any], tool: str) -> dict[str, Any]:
    if result.get("isError"):
        raise Failed(f"{tool}: {result['content'][0].get('text')}")
    structured = result["structuredContent"]
    assert isinstance(structured, dict)
    return structured
