"""Agents on standard streams: real shims, a real daemon, and what may go wrong between them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import queue
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from mcp.client.client import Client
from mcp.client.stdio import StdioServerParameters, stdio_client

from ifmem.sockets import DAEMON_SOCKET, MCP_SOCKET, socket_path

PATIENCE_S = 90.0
META = {
    "_meta": {
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {},
    }
}
MOST_RESIDENT_KB = 20_000


class Shim:
    """One shim process, and what it says."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.process = process
        self._told: queue.Queue[bytes] = queue.Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self._last = 0

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._told.put(line)

    def writes(self, line: bytes) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(line + b"\n")
        self.process.stdin.flush()

    def asks(self, method: str, **params: Any) -> int:
        self._last += 1
        message = {"jsonrpc": "2.0", "id": self._last, "method": method, "params": params | META}
        self.writes(json.dumps(message).encode())
        return self._last

    def begins(self, tool: str, **arguments: Any) -> int:
        return self.asks("tools/call", name=tool, arguments=arguments)

    def hears(self) -> Any:
        """The next answer; what is no JSON-RPC fails."""
        message = json.loads(self._told.get(timeout=PATIENCE_S))
        assert message["jsonrpc"] == "2.0"
        return message

    def calls(self, tool: str, **arguments: Any) -> Any:
        """What a tool returns, as structured content; other answers must not be waited for."""
        number = self.begins(tool, **arguments)
        answer = self.hears()
        assert answer["id"] == number, answer
        assert "error" not in answer, answer
        assert not answer["result"].get("isError"), answer
        return answer["result"]["structuredContent"]

    def ends(self) -> int:
        """Its exit code, after everything it had to say was read."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        code = self.process.wait(PATIENCE_S)
        self._reader.join(PATIENCE_S)
        assert self.process.stdout is not None
        self.process.stdout.close()
        return code


class Desk:
    """A home, a project, and shims that are started there."""

    def __init__(self, home: Path, project: Path) -> None:
        self.home = home
        self.project = project
        plain = {k: v for k, v in os.environ.items() if not k.startswith(("IFMEM_", "XDG_"))}
        plain.pop("CLAUDE_PROJECT_DIR", None)
        self.environment = plain | {
            "IFMEM_CONFIG": str(project / "config.toml"),
            "IFMEM_RETRIEVAL_SEMANTIC": "off",
        }
        (project / "config.toml").touch()
        self._shims: list[Shim] = []

    def command(self, *options: str) -> list[str]:
        return ["-m", "ifmem", "mcp", "--home", str(self.home), *options]

    def shim(self, *options: str) -> Shim:
        self._shims.append(
            Shim(
                subprocess.Popen(
                    [sys.executable, *self.command(*options)],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    cwd=self.project,
                    env=self.environment,
                )
            )
        )
        return self._shims[-1]

    def daemon(self) -> int:
        """The process that answers calls."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.connect(str(socket_path(self.home, DAEMON_SOCKET)))
            connection.sendall(b'{"id": 1, "method": "hello", "space": "default"}\n')
            with connection.makefile("rb") as lines:
                return int(json.loads(lines.readline())["result"]["pid"])

    def down(self) -> None:
        for shim in self._shims:
            if shim.process.poll() is None:
                shim.ends()
        down = [sys.executable, "-m", "ifmem", "down", "--home", str(self.home), "--quiet"]
        subprocess.run(down, env=self.environment, check=True, stdout=subprocess.DEVNULL)


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    """One home for all; a test that ends its daemon leaves the next to the next shim."""
    place = tmp_path_factory.mktemp("desk")
    (place / "project").mkdir()
    made = Desk(place / "home", place / "project")
    yield made
    made.down()


def test_an_agent_has_its_tools_before_there_is_a_daemon_and_its_call_is_done(desk: Desk) -> None:
    shim = desk.shim("--agent", "claude")
    shim.asks("server/discover")
    assert shim.hears()["result"]["supportedVersions"] == ["2026-07-28"]
    shim.asks("tools/list")
    tools = {tool["name"] for tool in shim.hears()["result"]["tools"]}
    assert {"recall", "remember", "task_claim"} <= tools
    stored = shim.calls("remember", claim="The ferry leaves at dawn.")
    shown = shim.calls("changes")
    assert [one["finding_id"] for one in shown["items"]] == [stored["finding_id"]]
    assert "claude" in shown["items"][0].values()
    shim.asks("tools/list")
    assert {tool["name"] for tool in shim.hears()["result"]["tools"]} == tools
    assert _resident_kb(shim.process.pid) <= MOST_RESIDENT_KB
    assert shim.ends() == 0


@pytest.mark.parametrize("mode", ["auto", "legacy", "2026-07-28"])
def test_the_sdk_s_client_speaks_either_era_through_the_shim(desk: Desk, mode: str) -> None:
    async def speak() -> None:
        server = StdioServerParameters(
            command=sys.executable, args=desk.command("--agent", mode), env=desk.environment
        )
        async with asyncio.timeout(PATIENCE_S), Client(stdio_client(server), mode=mode) as client:
            assert "recall" in {tool.name for tool in (await client.list_tools()).tools}
            assert {one.name for one in (await client.list_prompts()).prompts} >= {"brief"}
            claim = f"The {mode} lantern is lit."
            stored = await client.call_tool("remember", {"claim": claim})
            assert not stored.is_error
            found = await client.call_tool("recall", {"query": f"{mode} lantern"})
            assert claim in str(found.structured_content)
            with pytest.raises(Exception, match="nothing-like-it"):
                await client.call_tool("nothing-like-it", {})

    asyncio.run(speak())


def test_everything_said_before_the_end_is_answered(desk: Desk) -> None:
    lines = [
        {"jsonrpc": "2.0", "id": number, "method": "tools/call", "params": call | META}
        for number in range(20)
        for call in [{"name": "recall", "arguments": {"query": f"ferry {number}"}}]
    ]
    done = subprocess.run(
        [sys.executable, *desk.command()],
        input="\n".join(map(json.dumps, lines)).encode(),
        capture_output=True,
        cwd=desk.project,
        env=desk.environment,
        timeout=PATIENCE_S,
        check=True,
    )
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert sorted(one["id"] for one in answers) == list(range(20))
    assert all("result" in one for one in answers)
    assert done.stderr == b""


def test_a_daemon_killed_during_calls_costs_answers_and_nothing_that_was_acknowledged(
    desk: Desk,
) -> None:
    shim = desk.shim()
    kept = shim.calls("remember", claim="The quarry is flooded since spring.")
    daemon = desk.daemon()
    os.kill(daemon, signal.SIGSTOP)
    read = shim.begins("recall", query="quarry")
    written = shim.begins(
        "remember", claim="Never seen.", id="2a7d3c1e-0000-4000-8000-000000000001"
    )
    # Its answer shows that what came before has been passed on.
    shim.writes(b"no json")
    assert shim.hears()["error"]["code"] == -32700
    os.kill(daemon, signal.SIGKILL)
    told = {answer["id"]: answer["error"] for answer in (shim.hears(), shim.hears())}
    assert told[read]["data"]["error"] == "Unavailable"
    assert told[written]["data"]["error"] == "OutcomeUnknown"
    assert "same id" in told[written]["message"]
    found = shim.calls("recall", query="quarry flooded")
    assert kept["finding_id"] in str(found)
    again = shim.calls("remember", claim="Never seen.", id="2a7d3c1e-0000-4000-8000-000000000001")
    assert again["finding_id"] == "2a7d3c1e-0000-4000-8000-000000000001"
    assert desk.daemon() != daemon
    assert shim.ends() == 0


def test_a_huge_line_and_a_broken_one_are_refused_and_the_next_call_is_done(desk: Desk) -> None:
    shim = desk.shim()
    shim.calls("status")
    number = shim.begins("remember", claim="x" * 10_000_000)
    refused = shim.hears()
    assert (refused["id"], refused["error"]["code"]) == (number, -32600)
    shim.writes(b'{"jsonrpc": "2.0", "id": 5, "method"')
    assert shim.hears()["error"]["code"] == -32700
    shim.writes(b'{"jsonrpc": "2.0", "id": {}, "method": "ping"}')
    assert shim.hears()["error"]["code"] == -32600
    shim.calls("status")
    assert shim.ends() == 0


def test_a_shim_killed_amid_its_calls_leaves_the_others_served(desk: Desk) -> None:
    other, shim = desk.shim(), desk.shim()
    other.calls("status")
    shim.calls("status")
    for number in range(20):
        shim.begins("load", text=f"Ledger {number}. " * 2_000, source=f"chat:{number}")
    shim.process.kill()
    shim.ends()
    other.calls("recall", query="ferry")
    assert other.ends() == 0


def test_agents_beyond_the_limit_are_refused_and_the_one_there_is_not_disturbed(desk: Desk) -> None:
    shim = desk.shim()
    shim.calls("status")
    said = {
        "protocol": 1,
        "version": metadata.version("ifmem"),
        "space": "default",
        "root": str(desk.project),
        "agent": "crowd",
    }
    crowd: list[socket.socket] = []
    answers = []
    for _ in range(300):
        one = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        one.settimeout(PATIENCE_S)
        one.connect(str(socket_path(desk.home, MCP_SOCKET)))
        crowd.append(one)
        # One that is refused before it has said anything hears why all the same.
        with contextlib.suppress(ConnectionError):
            one.sendall(json.dumps(said).encode() + b"\n")
        with one.makefile("rb") as lines:
            answers.append(json.loads(lines.readline()))
    refused = [one for one in answers if "error" in one]
    assert len(refused) == 300 - 255
    assert all("mcp.connections" in one["error"]["message"] for one in refused)
    shim.calls("recall", query="ferry")
    for one in crowd:
        one.close()
    assert shim.ends() == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_shim_and_leaves_the_daemon(desk: Desk, number: int) -> None:
    shim = desk.shim()
    shim.calls("status")
    daemon = desk.daemon()
    shim.process.send_signal(number)
    assert shim.process.wait(PATIENCE_S) == (130 if number == signal.SIGINT else 0)
    shim.ends()
    assert desk.daemon() == daemon


def test_streams_that_the_agent_left_non_blocking_are_read_and_written(desk: Desk) -> None:
    read, write = os.pipe()
    for end in (read, write):
        os.set_blocking(end, False)
    process = subprocess.Popen(
        [sys.executable, *desk.command()], stdin=read, stdout=subprocess.PIPE, env=desk.environment
    )
    os.close(read)
    assert process.stdout is not None
    with process.stdout as told:
        os.write(write, b"no json\n")
        assert json.loads(told.readline())["error"]["code"] == -32700
        os.close(write)
        assert told.read() == b""
    assert process.wait(PATIENCE_S) == 0


def test_an_agent_that_no_longer_reads_ends_its_shim(desk: Desk) -> None:
    read, write = os.pipe()
    process = subprocess.Popen(
        [sys.executable, *desk.command()], stdin=subprocess.PIPE, stdout=write, env=desk.environment
    )
    os.close(write)
    os.close(read)
    assert process.stdin is not None
    process.stdin.write(b"no json\n")
    process.stdin.flush()
    assert process.wait(PATIENCE_S) == 0
    process.stdin.close()


def test_a_daemon_of_another_version_leaves_the_tools_and_says_what_to_do(
    tmp_path: Path, desk: Desk
) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as server:
        server.bind(str(tmp_path / MCP_SOCKET))
        server.listen()
        thread = threading.Thread(target=_answer_as_another_version, args=(server,))
        thread.start()
        shim = desk.shim("--home", str(tmp_path))
        shim.asks("tools/list")
        assert shim.hears()["result"]["tools"]
        number = shim.begins("recall", query="q")
        answer = shim.hears()
        assert answer["id"] == number
        assert "`ifmem down`" in answer["error"]["message"]
        assert shim.ends() == 0
        server.shutdown(socket.SHUT_RDWR)
        thread.join(PATIENCE_S)


def _answer_as_another_version(server: socket.socket) -> None:
    while True:
        try:
            connection, _ = server.accept()
        except OSError:
            return
        with connection, connection.makefile("rb") as lines:
            lines.readline()
            connection.sendall(b'{"ready": true, "version": "0.0.1"}\n')


def test_a_home_that_cannot_be_used_is_told_with_each_call(tmp_path: Path, desk: Desk) -> None:
    home = tmp_path / "file"
    home.touch()
    shim = desk.shim("--home", str(home))
    shim.begins("recall", query="q")
    error = shim.hears()["error"]
    assert (error["code"], error["data"]["error"]) == (-32603, "NotPermitted")
    assert "--home" in error["message"]
    assert shim.ends() == 0


def _resident_kb(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    (line,) = (line for line in status.splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1])
