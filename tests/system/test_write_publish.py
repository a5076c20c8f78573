"""Scenario 4: a daemon killed within a write leaves it in the store and on the bus, or nowhere."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import threading
from collections.abc import Callable
from contextlib import closing
from typing import Any

from ifmem import Memory
from ifmem.clock import new_id
from ifmem.errors import IfMemError
from ifmem.settings import Settings

PATIENCE_S = 60.0
KILLS = 4
WRITERS = 6


class Writer(threading.Thread):
    """Remembers until its daemon is gone."""

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        self.opened = threading.Event()
        self.attempted: list[str] = []
        self.acknowledged: list[str] = []
        self._settings = settings

    def run(self) -> None:
        try:
            with Memory.open_sync(settings=self._settings) as memory:
                self.opened.set()
                while True:
                    self.attempted.append(new_id())
                    memory.remember("A crate was weighed.", id=self.attempted[-1])
                    self.acknowledged.append(self.attempted[-1])
        except IfMemError as error:
            assert error.exit_code == 4, error


def stored(ifmem: Any) -> list[str]:
    path = ifmem.home / "spaces" / "default" / "store.sqlite"
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
        return [one for (one,) in connection.execute("SELECT body FROM finding ORDER BY sequence")]


def test_a_finding_is_in_the_store_and_on_the_bus_or_nowhere(
    ifmem: Any, eventually: Callable[..., Any]
) -> None:
    chance = random.Random(4)
    ifmem("up")
    settings = ifmem.settings
    attempted: set[str] = set()
    acknowledged: set[str] = set()
    for _ in range(KILLS):
        with Memory.open_sync(settings=settings) as memory:
            pid = memory.status().daemon_pid
        writers = [Writer(settings) for _ in range(WRITERS)]
        for one in writers:
            one.start()
        # One that opened its memory after the kill would start a daemon that nobody kills.
        assert all(one.opened.wait(PATIENCE_S) for one in writers)
        wanted = chance.randrange(2, 30)
        eventually(lambda w=writers, n=wanted: sum(len(one.acknowledged) for one in w) >= n)
        os.kill(pid, signal.SIGKILL)
        for one in writers:
            one.join()
            attempted.update(one.attempted)
            acknowledged.update(one.acknowledged)
        with Memory.open_sync(settings=settings) as memory:
            lines = list(memory.findings())
            listed = [line.finding["finding_id"] for line in lines]
            assert acknowledged <= set(listed) <= attempted
            assert len(listed) == len(set(listed)) == memory.status().findings
            # Found again by a search too: nothing is silent.
            assert memory.status().semantic.passages == len(listed)
        with ifmem.bus() as bus:
            index = bus.zrange("ifmem:1:findings", 0, -1)
            assert index == listed
            bodies = bus.mget([f"finding:{one}" for one in index])
            assert len(list(bus.scan_iter("finding:*", count=1_000))) == len(listed)
            assert bus.xlen("ifmem:1:log") == 0
        assert bodies == stored(ifmem)
