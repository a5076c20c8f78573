"""Following the findings as a person does: over kills, restarts and broken pipes."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from ifmem.client.memory import Memory

Eventually = Callable[[Callable[[], Any]], Any]


def tell(ifmem: Any, first: int, last: int, *options: str) -> None:
    """Remember findings with these numbers as claims."""
    for number in range(first, last + 1):
        ifmem("remember", f"Finding number {number}.", *options)


@contextmanager
def following(ifmem: Any, *options: object) -> Iterator[Any]:
    """``findings --follow --json`` as a process that is gone afterwards."""
    process = ifmem.start("findings", "--follow", "--json", *options)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def read(process: Any, count: int) -> list[int]:
    """The numbers of so many findings as they are printed."""
    numbers: list[int] = []
    for _ in range(count):
        line = process.stdout.readline()
        assert line, f"it ended after {numbers}: {process.stderr.read()}"
        numbers.append(int(json.loads(line)["claim"].split()[-1].rstrip(".")))
    return numbers


def cursor_in_store(home: Path, consumer: str) -> int | None:
    store = home / "spaces" / "default" / "store.sqlite"
    with closing(sqlite3.connect(f"file:{store}?mode=ro", uri=True)) as connection:
        row = connection.execute(
            "SELECT cursor FROM consumer WHERE name = ?", (consumer,)
        ).fetchone()
    return None if row is None else int(row[0])


def test_what_is_remembered_elsewhere_is_printed_at_once(ifmem: Any) -> None:
    tell(ifmem, 1, 2)
    with following(ifmem, "--since", "0") as everything:
        assert read(everything, 2) == [1, 2]
        tell(ifmem, 3, 3)
        assert read(everything, 1) == [3]


def test_a_filter_and_a_limit_end_with_what_was_wanted(ifmem: Any, finish: Any) -> None:
    tell(ifmem, 1, 1, "--topic", "ports")
    tell(ifmem, 2, 2, "--topic", "retries")
    tell(ifmem, 3, 3, "--topic", "ports")
    options = ("--since", "0", "--topic", "ports", "--limit", 2)
    run = finish(ifmem.start("findings", "--follow", "--json", *options))
    assert run.code == 0, run.err
    assert [line["claim"] for line in run.lines] == ["Finding number 1.", "Finding number 3."]
    assert ifmem("findings", "--json", "--topic", "retries").lines[0]["topic"] == "retries"


def test_a_named_consumer_killed_at_any_line_goes_on_with_the_next(
    ifmem: Any, eventually: Eventually
) -> None:
    tell(ifmem, 1, 6)
    options = ("--as", "ada", "--since", "0")
    with following(ifmem, *options) as first:
        assert read(first, 6) == [1, 2, 3, 4, 5, 6]
        last = int(ifmem("findings", "--json").lines[-1]["cursor"])
        eventually(lambda: cursor_in_store(ifmem.home, "ada") == last)
        os.kill(first.pid, signal.SIGKILL)
        first.wait()
    tell(ifmem, 7, 9)
    with following(ifmem, *options) as second:
        assert read(second, 3) == [7, 8, 9]


def test_a_limit_acknowledges_the_last_line_as_well(ifmem: Any) -> None:
    tell(ifmem, 1, 5)
    seen = []
    for _ in range(2):
        with following(ifmem, "--as", "bob", "--since", "0", "--limit", 2) as process:
            seen += read(process, 2)
            assert process.wait() == 0
    assert seen == [1, 2, 3, 4]


def test_a_daemon_that_is_killed_is_started_again_and_nothing_is_lost_or_doubled(
    ifmem: Any,
) -> None:
    tell(ifmem, 1, 3)
    with following(ifmem, "--since", "0") as process:
        assert read(process, 3) == [1, 2, 3]
        os.kill(ifmem.daemon_pid(), signal.SIGKILL)
        tell(ifmem, 4, 8)
        assert read(process, 5) == [4, 5, 6, 7, 8]


def test_a_server_that_is_killed_comes_back_and_nothing_is_lost_or_doubled(ifmem: Any) -> None:
    tell(ifmem, 1, 3)
    with following(ifmem, "--since", "0") as process:
        assert read(process, 3) == [1, 2, 3]
        with ifmem.bus() as bus:
            pid = int(bus.info("server")["process_id"])
        os.kill(pid, signal.SIGKILL)
        tell(ifmem, 4, 6)
        assert read(process, 3) == [4, 5, 6]


def test_a_daemon_told_to_end_stays_down_and_its_successor_is_followed(ifmem: Any) -> None:
    tell(ifmem, 1, 2)
    with following(ifmem, "--since", "0") as process:
        assert read(process, 2) == [1, 2]
        ifmem("down")
        # The follower looks for a daemon many times while this command starts and ends.
        assert ifmem("down").out == "nothing was running\n"
        assert process.poll() is None
        tell(ifmem, 3, 4)
        assert read(process, 2) == [3, 4]


def test_an_interrupt_ends_with_130_and_a_closed_pipe_with_0(ifmem: Any, finish: Any) -> None:
    tell(ifmem, 1, 1)
    interrupted = ifmem.start("findings", "--follow", "--json", "--since", "0")
    assert read(interrupted, 1) == [1]
    interrupted.send_signal(signal.SIGINT)
    assert finish(interrupted).code == 130
    piped = ifmem.start("findings", "--follow", "--json", "--since", "0")
    assert read(piped, 1) == [1]
    piped.stdout.close()
    tell(ifmem, 2, 2)
    assert piped.wait(60) == 0
    assert piped.stderr.read() == ""
    piped.stderr.close()


def test_a_finding_written_directly_is_adopted_with_no_more_trust_than_an_agent(
    ifmem: Any, eventually: Eventually
) -> None:
    tell(ifmem, 1, 1)
    good, bad = "00000000-0000-4000-8000-00000000000a", "00000000-0000-4000-8000-00000000000b"
    written = {"claim": "Finding number 2.", "worker_id": "foreign", "trust": "user"}
    with following(ifmem, "--since", "0") as process, ifmem.bus() as bus:
        assert read(process, 1) == [1]
        bus.set(f"finding:{bad}", "no JSON")
        bus.publish("channel:findings", bad)
        bus.set(f"finding:{good}", json.dumps(written))
        bus.publish("channel:findings", good)
        assert read(process, 1) == [2]
        ((_, letter),) = eventually(lambda: bus.xrange("ifmem:1:dead-letters"))
        assert letter["message"] == bad
        assert "no JSON object" in letter["reason"]
    stored = eventually(lambda: ifmem("findings", "--json", "--worker", "foreign").lines)
    assert (stored[0]["finding_id"], stored[0]["trust"]) == (good, "agent")


@pytest.mark.parametrize(
    "options",
    [
        ("--follow", "--since", "nonsense"),
        ("--follow", "--as", " "),
        ("--follow", "--until", "2026-01-01"),
        ("--as", "ada"),
    ],
)
def test_options_that_mean_nothing_are_told(ifmem: Any, options: tuple[str, ...]) -> None:
    assert ifmem("findings", *options, code=2).told()


def test_the_library_acknowledges_what_the_next_step_leaves_behind(
    ifmem: Any, monkeypatch: pytest.MonkeyPatch, eventually: Eventually
) -> None:
    tell(ifmem, 1, 4)
    for name, value in ifmem._variables(None).items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(ifmem.directory)

    def claims(count: int) -> list[str]:
        with Memory.open_sync() as memory, closing(memory.follow("0", consumer="eve")) as lines:
            return [line.finding["claim"] for line in islice(lines, count)]

    assert claims(3) == [f"Finding number {number}." for number in (1, 2, 3)]
    cursors = [int(line["cursor"]) for line in ifmem("findings", "--json").lines]
    assert cursor_in_store(ifmem.home, "eve") == cursors[1]
    assert claims(2) == [f"Finding number {number}." for number in (3, 4)]
