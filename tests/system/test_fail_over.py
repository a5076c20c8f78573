"""The product on several servers: a fail-over of Sentinels under load, and a Cluster."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from ifmem import Memory
from ifmem.bus.server_binary import choose_binary, packaged_binary
from ifmem.clock import new_id
from ifmem.errors import OutcomeUnknown, Unavailable

NAME = "main"


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


class Servers:
    """Servers on loopback, started when asked, all ended at the end."""

    def __init__(self, directory: Path, eventually: Callable[..., Any]) -> None:
        self._directory = directory
        self._eventually = eventually
        self._running: dict[int, subprocess.Popen[bytes]] = {}

    def start(self, *options: str, settings: str = "") -> int:
        """A server with these options, or with a file of settings; its port once it answers."""
        port = free_port()
        folder = self._directory / str(port)
        folder.mkdir()
        given = [*options, "--port", str(port), "--bind", "127.0.0.1", "--dir", str(folder)]
        if settings:
            file = folder / "settings.conf"
            file.write_text(f"port {port}\nbind 127.0.0.1\ndir {folder}\n{settings}")
            given = [str(file), *options]
        with (folder / "log").open("wb") as log:
            self._running[port] = subprocess.Popen(
                [choose_binary(packaged_binary()), *given], stdout=log, stderr=log
            )
        self._eventually(lambda: self.say(port, "PING"))
        return port

    def say(self, port: int, *words: object) -> Any:
        """What a server answers; None while it does not."""
        client = redis.Redis(port=port, decode_responses=True)
        with client, contextlib.suppress(redis.ConnectionError):
            return client.execute_command(*words)
        return None

    def kill(self, port: int) -> None:
        self._running[port].send_signal(signal.SIGKILL)
        self._running[port].wait()

    def end(self) -> None:
        for process in self._running.values():
            process.kill()
            process.wait()


@pytest.fixture
def servers(tmp_path: Path, eventually: Callable[..., Any]) -> Iterator[Servers]:
    running = Servers(tmp_path, eventually)
    try:
        yield running
    finally:
        running.end()


def test_nothing_acknowledged_is_lost_when_the_primary_dies_under_load(
    install: Callable[..., Any],
    servers: Servers,
    eventually: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    volatile = ("--save", "", "--appendonly", "no")
    primary = servers.start(*volatile)
    replica = servers.start(*volatile, "--replicaof", f"127.0.0.1 {primary}")
    watching = (
        f"sentinel monitor {NAME} 127.0.0.1 {primary} 2\n"
        f"sentinel down-after-milliseconds {NAME} 500\nsentinel failover-timeout {NAME} 3000\n"
    )
    sentinels = [servers.start("--sentinel", settings=watching) for _ in range(3)]
    for sentinel in sentinels:
        eventually(lambda s=sentinel: len(servers.say(s, "SENTINEL", "SENTINELS", NAME) or ()) == 2)
        eventually(lambda s=sentinel: servers.say(s, "SENTINEL", "REPLICAS", NAME))
    hosts = ",".join(f"127.0.0.1:{port}" for port in sentinels)
    ifmem = install(redis_url=f"redis+sentinel://{hosts}/{NAME}")
    ifmem("status")
    eventually(lambda: servers.say(replica, "EXISTS", "ifmem:1:owner"))
    for name, value in ifmem._variables(None).items():
        monkeypatch.setenv(name, value)
    acknowledged: list[str] = []

    async def write(memory: Memory, done: asyncio.Event, one_more: asyncio.Semaphore) -> None:
        while not done.is_set():
            finding_id = new_id()
            with contextlib.suppress(Unavailable, OutcomeUnknown):
                await memory.remember(f"claim {finding_id}", id=finding_id)
                acknowledged.append(finding_id)
                one_more.release()

    async def main() -> list[str]:
        done, one_more = asyncio.Event(), asyncio.Semaphore(0)
        async with asyncio.timeout(120), Memory.open() as memory:
            async with asyncio.TaskGroup() as group:
                for _ in range(4):
                    group.create_task(write(memory, done, one_more))
                for _ in range(100):
                    await one_more.acquire()
                servers.kill(primary)
                for _ in range(200):
                    await one_more.acquire()
                done.set()
            return [line.finding["finding_id"] async for line in memory.findings()]

    stored = asyncio.run(main())
    assert len(stored) == len(set(stored))
    assert set(acknowledged) <= set(stored)
    assert int(servers.say(replica, "HGET", "ifmem:1:counters", "findings")) == len(stored)
    assert os.environ["IFMEM_HOME"] == str(ifmem.home)


def test_a_space_lives_on_one_primary_of_a_cluster(
    install: Callable[..., Any], servers: Servers, eventually: Callable[..., Any]
) -> None:
    options = ("--cluster-enabled", "yes", "--save", "", "--appendonly", "no")
    ports = [servers.start(*options) for _ in range(3)]
    for number, port in enumerate(ports):
        first, last = number * 5461, 16383 if number == 2 else number * 5461 + 5460
        servers.say(port, "CLUSTER", "ADDSLOTSRANGE", first, last)
    for port in ports[1:]:
        servers.say(ports[0], "CLUSTER", "MEET", "127.0.0.1", port)
    for port in ports:
        eventually(lambda p=port: "cluster_state:ok" in str(servers.say(p, "CLUSTER", "INFO")))
        eventually(lambda p=port: str(servers.say(p, "CLUSTER", "NODES")).count("master") == 3)
    ifmem = install(redis_url=f"redis+cluster://127.0.0.1:{ports[0]}", space="acme")
    ifmem.write("notes.md", "The lantern hangs in the north tower.\n")
    assert "--space NAME" in ifmem("status", "--space", "default", code=2).told()
    ifmem("load", "notes.md")
    assert ifmem("ask", "Where does the lantern hang?", "--json").json["found"]
    ifmem("remember", "The lantern was lit.")
    ifmem("tasks", "post", "fill the lantern")
    task = ifmem("tasks", "claim", "--json").json
    ifmem("tasks", "finish", task["task_id"], "--fence", task["fence"], "--claim", "It is full.")
    assert len(ifmem("findings", "--json").lines) == 2
    assert all(one["ok"] for one in ifmem("doctor", "--json").json["checks"])
    holding = [port for port in ports if int(servers.say(port, "DBSIZE"))]
    assert len(holding) == 1, "one space is one slot"
    with redis.Redis(port=holding[0], decode_responses=True) as node:
        assert all(name.startswith("{acme}:") for name in node.scan_iter())
