"""A document is read from disk once, however often it is asked about."""

from __future__ import annotations

import ctypes
import os
import struct
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ifmem import Memory

QUESTIONS = 10
IN_CLOSE_NOWRITE = 0x10
IN_OPEN = 0x20
_EVENT = struct.Struct("iIII")

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="inotify counts the openings")


class Openings:
    """How often a file was opened, as the kernel counts it."""

    def __init__(self, path: Path) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        self._fd = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        assert self._fd >= 0
        # Closings too: equal events in a row would be counted as one.
        added = libc.inotify_add_watch(self._fd, bytes(path), IN_OPEN | IN_CLOSE_NOWRITE)
        assert added >= 0
        self._count = 0

    def count(self) -> int:
        while True:
            try:
                events = os.read(self._fd, 65_536)
            except BlockingIOError:
                return self._count
            while events:
                _, mask, _, length = _EVENT.unpack_from(events)
                self._count += bool(mask & IN_OPEN)
                events = events[_EVENT.size + length :]

    def close(self) -> None:
        os.close(self._fd)


@pytest.fixture
def document(ifmem: Any, writer: Any) -> Path:
    text = writer(18).prose(300) + "\nThe warden of the salt store is Philippa Grey.\n"
    return Path(ifmem.write("archive/page.md", text))


@pytest.fixture
def openings(document: Path) -> Iterator[Openings]:
    counter = Openings(document)
    yield counter
    counter.close()


def test_ten_questions_read_the_source_once(ifmem: Any, document: Path, openings: Openings) -> None:
    first = ifmem("load", "archive", "--json").json
    assert (first["read"], first["unchanged"]) == (1, 0)
    with Memory.open_sync(settings=ifmem.settings) as memory:
        for _ in range(QUESTIONS):
            answer = memory.ask("Who is the warden of the salt store?")
            assert answer.found
            assert not answer.citations[0].stale
            assert (answer.usage.uncached, answer.usage.output, answer.cost) == (0, 0, 0)
            memory.recall("warden of the salt store")
    assert openings.count() == 1
    again = ifmem("load", "archive", "--json").json
    assert (again["read"], again["unchanged"]) == (0, 1)
    assert openings.count() == 1
    # The counter counts: one more opening is seen.
    document.read_bytes()
    assert openings.count() == 2


def test_asking_over_a_path_again_and_again_reads_it_once(
    ifmem: Any, document: Path, openings: Openings
) -> None:
    for _ in range(3):
        run = ifmem("ask", "Who is the warden of the salt store?", "--over", "archive", "--json")
        assert "Philippa Grey" in run.json["answer"]
    assert openings.count() == 1


def test_answers_go_on_after_the_source_is_gone_and_say_so(ifmem: Any, document: Path) -> None:
    ifmem("load", "archive")
    document.unlink()
    answer = ifmem("ask", "Who is the warden of the salt store?", "--json").json
    assert "Philippa Grey" in answer["answer"]
    assert [one["stale"] for one in answer["citations"]] == [True]


def test_the_hot_context_is_fetched_from_the_bus_once(ifmem: Any, document: Path) -> None:
    ifmem("load", "archive")
    with (
        ifmem.bus() as bus,
        Memory.open_sync(settings=ifmem.settings) as memory,
    ):
        memory.ask("Who is the warden of the salt store?")
        sent = bus.info("stats")["total_net_output_bytes"]
        for _ in range(QUESTIONS):
            memory.ask("Who is the warden of the salt store?")
        sent = bus.info("stats")["total_net_output_bytes"] - sent
    assert sent / QUESTIONS < document.stat().st_size / 2
