"""Kill -9 at any point: a load ends in the same state, and nothing acknowledged is lost."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import redis

from ifmem import Memory
from ifmem.bus.embedded import find
from ifmem.clock import monotonic
from ifmem.errors import IfMemError

KILLS = 50
FILES = 1_300
"""More than two batches of files, so that a kill can land between any of them."""


def tree(ifmem: Any, writer: Any) -> Path:
    """Small files of every speciality, with texts that stand at several paths."""
    pens = writer(50)
    twin = pens.prose(5)
    for number in range(FILES):
        folder = ("src", "docs", "tests", "decisions")[number % 4]
        below = f"tree/part{number % 7}/{folder}"
        if number % 2 == 0:
            ifmem.write(f"{below}/module_{number:04}.py", pens.code(2))
        elif number % 41 == 0:
            ifmem.write(f"{below}/twin_{number:04}.md", twin)
        else:
            ifmem.write(f"{below}/page_{number:04}.md", pens.prose(6))
    return Path(ifmem.directory / "tree")


def state(ifmem: Any) -> tuple[set[Any], dict[int, Any], int]:
    """What a load must always lead to, whatever happened on the way."""
    with Memory.open_sync(settings=ifmem.settings) as memory:
        sources = {
            (one.source, one.sha256, one.passages, one.tokens, tuple(one.shards))
            for one in memory.sources(limit=10_000)
        }
        shards = {
            one.shard: (one.speciality, one.capacity, one.tokens, one.documents)
            for one in memory.shards()
        }
        return sources, shards, memory.status().context_active


def kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


@pytest.mark.timeout(480)
def test_fifty_kills_during_loads_end_in_the_state_of_an_undisturbed_one(
    install: Any, writer: Any, finish: Any, watch_end: Any
) -> None:
    chance = random.Random(50)
    undisturbed = install("undisturbed", shards_capacity="8000")
    root = tree(undisturbed, writer)
    undisturbed("up")
    started = monotonic()
    undisturbed("load", root)
    whole_s = monotonic() - started
    expected = state(undisturbed)
    assert len(expected[0]) == FILES
    assert len(expected[1]) > 6
    undisturbed.down()

    kills = during = rounds = 0
    while kills < KILLS:
        rounds += 1
        ifmem = install(f"home{rounds}", shards_capacity="8000")
        while True:
            daemon = ifmem.daemon_pid()
            load = ifmem.start("load", root, "--json")
            try:
                load.wait(timeout=chance.uniform(0.2, 0.2 + whole_s / 2) if kills < KILLS else None)
            except subprocess.TimeoutExpired:
                is_gone = watch_end(daemon)
                kill(daemon)
                assert is_gone()
                kills += 1
                run = finish(load)
                during += run.code == 4
                # Killed before the load was sent, after its answer, or between: 4 says unknown.
                assert run.code in (0, 4), run
                continue
            assert finish(load).code == 0
            break
        assert state(ifmem) == expected
        if kills == KILLS:
            checks = ifmem("doctor", "--json").json["checks"]
            assert all(check["ok"] for check in checks), checks
        ifmem.down()
    assert kills == KILLS
    assert during >= KILLS // 2


class Rememberer(threading.Thread):
    """Remembers again and again through whatever happens; keeps what was acknowledged."""

    def __init__(self, ifmem: Any, name: str) -> None:
        super().__init__(name=name)
        self.acknowledged: list[str] = []
        self.interrupted = 0
        self._settings = ifmem.settings
        self._ending = threading.Event()

    def end(self) -> None:
        self._ending.set()
        self.join()

    def run(self) -> None:
        number = 0
        while not self._ending.is_set():
            try:
                with Memory.open_sync(settings=self._settings) as memory:
                    while not self._ending.is_set():
                        stored = memory.remember(f"{self.name} saw gull {number}.")
                        self.acknowledged.append(stored.finding_id)
                        number += 1
            except IfMemError as error:
                assert error.exit_code == 4, error
                self.interrupted += 1


def on_bus(ifmem: Any) -> set[str]:
    with ifmem.bus() as bus:
        return {name.removeprefix("finding:") for name in bus.scan_iter("finding:*", count=1000)}


def test_what_was_acknowledged_outlives_kills_of_the_daemon_and_of_the_bus(
    install: Any, eventually: Callable[..., Any]
) -> None:
    chance = random.Random(7)
    ifmem = install()
    ifmem("up")
    threads = [Rememberer(ifmem, f"watcher{n}") for n in range(3)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(8):
            before = [len(thread.acknowledged) for thread in threads]
            more = chance.randrange(3, 30)
            eventually(
                lambda before=before, more=more: all(
                    len(thread.acknowledged) >= count + more
                    for thread, count in zip(threads, before, strict=True)
                )
            )
            endpoint = eventually(lambda: find(ifmem.home / "bus"))
            victims = chance.choice(
                ([endpoint.pid], [ifmem.daemon_pid()], [endpoint.pid, ifmem.daemon_pid()])
            )
            for victim in victims:
                kill(victim)
    finally:
        for thread in threads:
            thread.end()
    acknowledged = [one for thread in threads for one in thread.acknowledged]
    assert len(acknowledged) == len(set(acknowledged)) > 100
    log = [line["finding_id"] for line in ifmem("findings", "--json").lines]
    assert len(log) == len(set(log))
    assert set(acknowledged) <= set(log)
    # A write of unknown outcome may have been stored: at most one for each interruption.
    assert len(log) - len(acknowledged) <= sum(thread.interrupted for thread in threads)
    assert eventually(lambda: on_bus(ifmem) == set(log))
    assert ifmem.status()["findings"] == len(log)


def test_an_emptied_bus_is_rebuilt_from_the_store(
    install: Any, writer: Any, eventually: Callable[..., Any]
) -> None:
    ifmem = install(worker_heartbeat_seconds="0.2")
    ifmem.write("notes/page.md", writer(3).prose(100))
    ifmem("load", "notes")
    ids = {ifmem("remember", f"Gull {n} came.", "--json").json["finding_id"] for n in range(5)}
    with redis.Redis.from_url(ifmem.status()["redis"]["url"]) as bus:
        before = _names_and_values(bus)
        bus.flushall()
        assert eventually(lambda: _names_and_values(bus) == before)
        assert bus.keys("worker:status:*")
    assert on_bus(ifmem) == ids
    status = ifmem.status()
    assert status["health"] == "healthy"
    assert status["context_active"] == sum(one["tokens"] for one in status["shards"]) > 0
    assert ifmem("ask", "What does the lantern carry?", "--json").code == 0


COUNTED_ON = (
    *(b"worker:", b"ifmem:1:workers", b"ifmem:1:bridge"),
    *(b"ifmem:1:log", b"ifmem:1:counters"),
)
"""Times, epochs and numbers go on after a loss: they are never what they were."""


def _names_and_values(bus: Any) -> dict[bytes, Any]:
    found: dict[bytes, Any] = {}
    for name in bus.scan_iter("*", count=1000):
        if name.startswith(COUNTED_ON):
            continue
        kind = bus.type(name)
        found[name] = {
            b"string": bus.get,
            b"hash": bus.hgetall,
            b"set": bus.smembers,
            b"zset": lambda key: bus.zrange(key, 0, -1, withscores=True),
        }[kind](name)
    return found


def test_a_killed_bus_is_started_again_with_everything_it_showed(
    install: Any, writer: Any, eventually: Callable[..., Any], watch_end: Any
) -> None:
    ifmem = install()
    ifmem.write("notes/page.md", writer(3).prose(100) + "\nThe cook is called Odile Marchand.\n")
    ifmem("load", "notes")
    stored = ifmem("remember", "The cook left.", "--json").json["finding_id"]
    active = ifmem.status()["context_active"]
    endpoint = find(ifmem.home / "bus")
    assert endpoint is not None
    is_gone = watch_end(endpoint.pid)
    kill(endpoint.pid)
    assert is_gone()
    # A write while the bus is away is acknowledged by the store, and shown when it is back.
    second = ifmem("remember", "The cook came back.", "--json").json["finding_id"]
    answer = ifmem("ask", "How is the cook called?", "--json").json
    assert "Odile Marchand" in answer["answer"]
    assert answer["shards_missing"] == []
    status = eventually(lambda: (s := ifmem.status())["health"] == "healthy" and s)
    assert status["context_active"] == active
    assert eventually(lambda: on_bus(ifmem) == {stored, second})


def test_a_bus_whose_data_was_removed_with_the_processes_is_built_again(
    ifmem: Any, writer: Any
) -> None:
    ifmem.write("notes/page.md", writer(3).prose(50))
    ifmem("load", "notes")
    stored = ifmem("remember", "The cellar is dry.", "--json").json["finding_id"]
    before = ifmem.status()
    ifmem.down()
    shutil.rmtree(ifmem.home / "bus")
    after = ifmem.status()
    assert after["context_active"] == before["context_active"] > 0
    assert on_bus(ifmem) == {stored}
    assert ifmem("recall", "cellar", "--json").json["findings"][0]["finding_id"] == stored
