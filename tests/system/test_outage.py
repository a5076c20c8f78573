"""Scenario 32: the server is away under load; nothing is doubled, and all goes on by itself."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ifmem import Memory
from ifmem.bus import embedded
from ifmem.clock import new_id
from ifmem.errors import Unavailable
from ifmem.settings import RedisSettings, Settings

WRITERS = 8


class Insistent(threading.Thread):
    """Remembers one thing after the other, each with its id until it is acknowledged."""

    def __init__(self, settings: Settings, name: str) -> None:
        super().__init__(name=name)
        self.acknowledged: list[str] = []
        self.told_to_repeat = 0
        self._settings = settings
        self._ending = threading.Event()

    def end(self) -> None:
        self._ending.set()
        self.join()

    def run(self) -> None:
        finding_id = new_id()
        with Memory.open_sync(settings=self._settings) as memory:
            while not self._ending.is_set():
                try:
                    memory.remember(f"{self.name} saw {finding_id}.", id=finding_id)
                except Unavailable:
                    self.told_to_repeat += 1
                    continue
                self.acknowledged.append(finding_id)
                finding_id = new_id()


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[Path]:
    """Of a server that the daemon does not start by itself."""
    directory = tmp_path / "elsewhere"
    embedded.attach(directory)
    yield directory
    embedded.stop(directory)


def test_writers_and_followers_go_on_after_the_server_was_away(
    install: Callable[..., Any],
    directory: Path,
    eventually: Callable[..., Any],
    watch_end: Callable[[int], Callable[[], bool]],
) -> None:
    endpoint = embedded.find(directory)
    assert endpoint is not None
    ifmem = install(redis_url=endpoint.url, bus_outage_seconds="1", bus_commit_seconds="2")
    ifmem("up")
    settings = Settings(home=str(ifmem.home), redis=RedisSettings(url=endpoint.url))
    threads = [Insistent(settings, f"writer {number}") for number in range(WRITERS)]
    follower = ifmem.start("findings", "--follow", "--json", "--since", "0")
    for thread in threads:
        thread.start()
    try:
        eventually(lambda: all(len(one.acknowledged) > 10 for one in threads))
        gone = watch_end(endpoint.pid)
        os.kill(endpoint.pid, signal.SIGKILL)
        assert gone()
        # Each is told that the bus is away, and goes on trying.
        eventually(lambda: all(one.told_to_repeat > 2 for one in threads))
        with Memory.open_sync(settings=settings) as memory:
            assert memory.status().health.startswith("degraded")
            before = [len(one.acknowledged) for one in threads]
            embedded.attach(directory)
            eventually(
                lambda: all(
                    len(one.acknowledged) > count + 10
                    for one, count in zip(threads, before, strict=True)
                )
            )
            assert memory.status().health == "healthy"
    finally:
        for thread in threads:
            thread.end()
    acknowledged = [one for thread in threads for one in thread.acknowledged]
    stored = [line["finding_id"] for line in ifmem("findings", "--json").lines]
    assert len(stored) == len(set(stored))
    assert set(acknowledged) <= set(stored)
    # At most the one that each writer was about to write.
    assert len(stored) <= len(acknowledged) + WRITERS
    seen = [json.loads(follower.stdout.readline())["finding_id"] for _ in stored]
    follower.kill()
    follower.communicate()
    assert seen == stored
