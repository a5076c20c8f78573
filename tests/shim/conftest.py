"""A pump between an agent and daemons that the test plays, over real sockets."""

from __future__ import annotations

import json
import queue
import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from ifmem.errors import IfMemError, Unavailable
from ifmem.shim.binding import Link
from ifmem.shim.manifest import Manifest
from ifmem.shim.pump import DEFAULT_LIMIT, Pump

PATIENCE_S = 30.0
MODERN = "2026-07-28"
META = {
    "io.modelcontextprotocol/protocolVersion": MODERN,
    "io.modelcontextprotocol/clientCapabilities": {},
}
HELLO = {
    "protocolVersion": "2025-06-18",
    "capabilities": {},
    "clientInfo": {"name": "test", "version": "1"},
}


class Daemon:
    """The daemon's end of a connection."""

    def __init__(self, connection: socket.socket) -> None:
        connection.settimeout(PATIENCE_S)
        self.connection = connection
        self._lines = connection.makefile("rb")

    def hears(self) -> Any:
        """The next message; None when the shim has hung up."""
        line = self._lines.readline()
        return json.loads(line) if line else None

    def says(self, message: object) -> None:
        self.connection.sendall(json.dumps(message).encode() + b"\n")

    def answers(self, number: object, result: object) -> None:
        self.says({"jsonrpc": "2.0", "id": number, "result": result})

    def ends(self) -> None:
        self._lines.close()
        self.connection.close()


class Home:
    """Where daemons are found, one after the other, as soon as the test brings them."""

    def __init__(self) -> None:
        self._coming: queue.Queue[Link | IfMemError] = queue.Queue()
        self._made: list[Daemon] = []
        self.looked_for = 0

    def connect(self) -> Link:
        self.looked_for += 1
        found = self._coming.get(timeout=PATIENCE_S)
        if isinstance(found, IfMemError):
            raise found
        return found

    def brings(self, limit: int = DEFAULT_LIMIT) -> Daemon:
        near, far = socket.socketpair()
        self._coming.put(Link(near, limit, b""))
        self._made.append(Daemon(far))
        return self._made[-1]

    def refuses(self, error: IfMemError) -> None:
        self._coming.put(error)

    def close(self) -> None:
        for daemon in self._made:
            daemon.ends()
        while not self._coming.empty():
            if isinstance(left := self._coming.get(), Link):
                left.socket.close()
        # For a shim that still looks for one.
        self._coming.put(Unavailable("the test has ended"))


class Agent:
    """The agent's end of the shim."""

    def __init__(self, pump: Pump, told: queue.Queue[bytes]) -> None:
        self.pump = pump
        self._told = told

    def says(self, message: object) -> None:
        self.pump.take(json.dumps(message).encode() + b"\n")

    def asks(self, number: object, method: str, params: object = None) -> None:
        given = {} if params is None else {"params": params}
        self.says({"jsonrpc": "2.0", "id": number, "method": method, **given})

    def calls(self, number: object, tool: str, **arguments: object) -> None:
        self.asks(number, "tools/call", {"name": tool, "arguments": arguments})

    def notes(self, method: str, params: object = None) -> None:
        given = {} if params is None else {"params": params}
        self.says({"jsonrpc": "2.0", "method": method, **given})

    def hears(self) -> Any:
        return json.loads(self._told.get(timeout=PATIENCE_S))

    def has_heard_all(self) -> bool:
        return self._told.empty()


@pytest.fixture
def manifest() -> Manifest:
    """A small one."""
    told = {
        "version": "9",
        "offered": "2025-11-25",
        "reading": ["recall"],
        "handshake": {
            "2025-06-18": {"initialize": 0, "tools/list": 2},
            "2025-11-25": {"initialize": 1, "tools/list": 3},
        },
        "modern": {MODERN: {"server/discover": 4, "tools/list": 5}},
        "bodies": ["old hello", "new hello", "old tools", "new tools", "discovered", "tools"],
    }
    return Manifest(told)


@pytest.fixture
def home() -> Iterator[Home]:
    """No daemon, until the test brings one."""
    made = Home()
    yield made
    made.close()


@pytest.fixture
def agent(home: Home, manifest: Manifest) -> Iterator[Agent]:
    """An agent whose shim has begun."""
    told: queue.Queue[bytes] = queue.Queue()
    pump = Pump(home, manifest, told.put)
    pump.begin()
    yield Agent(pump, told)
    pump.close()


@pytest.fixture
def shake(agent: Agent) -> Callable[[], None]:
    """Makes the agent's handshake while no daemon is there."""

    def begin() -> None:
        agent.asks("hello", "initialize", HELLO)
        assert agent.hears()["result"] == "old hello"
        agent.notes("notifications/initialized")

    return begin
