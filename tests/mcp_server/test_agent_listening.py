"""The daemon's socket for agents: who connects says who they are, and only so many are served."""

from __future__ import annotations

import asyncio
import json
import stat
import threading
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from ifmem.domain.grant import EVERY_SCOPE
from ifmem.errors import Invalid
from ifmem.mcp_server.listening import (
    MCP_PROTOCOL,
    SERVED,
    AgentListener,
    Preamble,
    Speak,
    caller,
)
from ifmem.mcp_server.port import current_caller
from ifmem.settings import McpSettings, Settings
from ifmem.shim.binding import PROTOCOL

VERSION = "7.8.9"
PATIENCE_S = 30.0


def _said(**other: object) -> Preamble:
    said = {"protocol": 1, "version": VERSION, "space": "acme", "root": "/", "agent": "claude"}
    return msgspec.convert(said | other, Preamble)


class Peer:
    """A shim's end."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    def says(self, line: object) -> None:
        self._writer.write(msgspec.json.encode(line) + b"\n")

    async def hears(self) -> Any:
        async with asyncio.timeout(PATIENCE_S):
            line = await self._reader.readline()
        return json.loads(line) if line else None

    async def greets(self, **other: object) -> Any:
        self.says(_said(**other))
        return await self.hears()

    async def leave(self) -> None:
        self._writer.close()
        await self._writer.wait_closed()


class Scene:
    """A listener that answers each line with who is calling."""

    def __init__(self, home: Path, **mcp: int) -> None:
        settings = Settings(home=str(home), mcp=McpSettings(**mcp), roots=("~/notes",))
        self.prepared = 0
        self.listener = AgentListener(self._prepare, settings, version=VERSION)
        self.socket = home / "mcp.sock"
        self.missing: ImportError | None = None
        self.is_prepared = threading.Event()

    def _prepare(self) -> Speak:
        if self.missing is not None:
            raise self.missing
        self.prepared += 1
        self.is_prepared.set()
        return self._speak

    async def _speak(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.readline():
            writer.write(msgspec.json.encode(current_caller().agent) + b"\n")

    @asynccontextmanager
    async def peer(self) -> AsyncIterator[Peer]:
        peer = Peer(*await asyncio.open_unix_connection(str(self.socket)))
        try:
            yield peer
        finally:
            await peer.leave()


@pytest.fixture
def play(tmp_path: Path) -> Callable[..., Scene]:
    """Plays a scene while a listener listens."""

    def run(act: Callable[[Scene], Coroutine[Any, Any, None]], **mcp: int) -> Scene:
        async def listen() -> Scene:
            scene = Scene(tmp_path, **mcp)
            async with asyncio.timeout(PATIENCE_S), scene.listener.listening(scene.socket):
                await act(scene)
            return scene

        return asyncio.run(listen())

    return run


def test_both_ends_speak_the_same_protocol() -> None:
    assert PROTOCOL == MCP_PROTOCOL


def test_each_connection_is_its_own_caller_of_one_server(play: Any, tmp_path: Path) -> None:
    async def act(scene: Scene) -> None:
        assert stat.S_IMODE(scene.socket.stat().st_mode) == 0o600
        assert scene.prepared == 0
        async with scene.peer() as first, scene.peer() as second:
            ready = {"ready": True, "version": VERSION, "max_request_bytes": 12_345}
            assert await first.greets(agent="claude") == ready
            assert await second.greets(agent=" codex ") == ready
            first.says(1)
            second.says(1)
            assert (await first.hears(), await second.hears()) == ("claude", "codex")
        assert scene.prepared == 1

    scene = play(act, max_request_bytes=12_345)
    assert not scene.socket.exists()
    assert (tmp_path / SERVED).exists()


@pytest.mark.parametrize(
    ("other", "kind", "advice"),
    [
        ({"version": "7.8.8"}, "Unavailable", "`ifmem down`"),
        ({"protocol": 2}, "Unavailable", "`ifmem down`"),
        ({"space": "No Space"}, "Invalid", "space"),
        ({"agent": "  "}, "Invalid", "--agent"),
        ({"agent": "x" * 101}, "Invalid", "--agent"),
        ({"root": "relative"}, "Invalid", "--root"),
    ],
)
def test_who_cannot_be_served_is_told_why_in_json_rpc(
    play: Any, other: dict[str, Any], kind: str, advice: str
) -> None:
    async def act(scene: Scene) -> None:
        async with scene.peer() as peer:
            told = await peer.greets(**other)
            assert (told["jsonrpc"], told["id"]) == ("2.0", None)
            assert told["error"]["data"]["error"] == kind
            assert advice in told["error"]["message"]
            assert await peer.hears() is None
        async with scene.peer() as peer:
            assert (await peer.greets())["ready"]

    play(act)


@pytest.mark.parametrize(
    "line", [{"id": 1, "method": "hello"}, [], {"protocol": "1"}, "x" * 90_000]
)
def test_what_is_no_first_line_is_refused(play: Any, line: object) -> None:
    async def act(scene: Scene) -> None:
        async with scene.peer() as peer:
            peer.says(line)
            assert "`ifmem mcp`" in (await peer.hears())["error"]["message"]

    play(act)


def test_without_the_extra_the_agent_is_told_what_to_install(play: Any) -> None:
    async def act(scene: Scene) -> None:
        scene.missing = ImportError("No module named 'mcp'")
        async with scene.peer() as peer:
            told = await peer.greets()
            assert "pip install 'ifmem[mcp]'" in told["error"]["message"]
        scene.missing = None
        async with scene.peer() as peer:
            assert (await peer.greets())["ready"]

    play(act)


def test_more_agents_than_allowed_are_refused_and_those_there_go_on(play: Any) -> None:
    async def act(scene: Scene) -> None:
        async with scene.peer() as first:
            await first.greets(agent="first")
            async with scene.peer() as second:
                await second.greets()
                for _ in range(20):
                    async with scene.peer() as refused:
                        told = await refused.hears()
                        assert told["error"]["data"]["facts"] == {"limit": 2}
                        assert await refused.hears() is None
            first.says(1)
            assert await first.hears() == "first"
            async with scene.peer() as third:
                told = await third.greets()
                while "error" in told:
                    async with scene.peer() as third_again:
                        told = await third_again.greets()

    play(act, connections=2)


def test_a_connected_agent_keeps_the_daemon_from_being_idle(play: Any) -> None:
    async def act(scene: Scene) -> None:
        before = scene.listener.idle_seconds
        async with scene.peer() as peer:
            await peer.greets()
            assert scene.listener.idle_seconds == 0.0
        assert before > 0.0
        while not scene.listener.idle_seconds:  # noqa: ASYNC110 - nothing tells
            await asyncio.sleep(0)

    play(act)


def test_an_end_hangs_up_on_every_agent(tmp_path: Path) -> None:
    async def act() -> None:
        scene = Scene(tmp_path)
        async with asyncio.timeout(PATIENCE_S):
            async with scene.listener.listening(scene.socket):
                peer = Peer(*await asyncio.open_unix_connection(str(scene.socket)))
                await peer.greets()
            assert await peer.hears() is None
            await peer.leave()

    asyncio.run(act())


def test_where_agents_have_been_served_what_speaks_is_ready_before_they_come(
    play: Any, tmp_path: Path
) -> None:
    (tmp_path / SERVED).touch()

    async def act(scene: Scene) -> None:
        assert await asyncio.to_thread(scene.is_prepared.wait, PATIENCE_S)

    assert play(act).prepared == 1


def test_a_caller_is_bound_to_its_project_and_the_person_s_own_roots(tmp_path: Path) -> None:
    project = tmp_path / "project"
    (project / "src").mkdir(parents=True)
    link = tmp_path / "link"
    link.symlink_to(project)
    bound = caller(_said(root=str(link / "src")), (str(tmp_path / "notes"),))
    assert bound.roots == (str(project / "src"), str(tmp_path / "notes"))
    assert bound.directory == str(link / "src")
    assert bound.root is None
    assert (bound.agent, bound.space, bound.scopes) == ("claude", "acme", EVERY_SCOPE)
    assert bound.sees_captured
    (project / ".ifmem.toml").touch()
    other = caller(_said(root=str(link / "src")), ())
    assert other.root == str(project)
    assert other.connection != bound.connection
    with pytest.raises(Invalid):
        caller(_said(space="finding"), ())
