"""What a subscriber has seen: kept when it is killed, and counted by subscriber."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

from ifmem.benchmarks.seen_findings import Delivery, Seen, SeenLog, delivery, read_seen


def seen(*numbers: int) -> list[Seen]:
    return [Seen(number, published_ns=0, seen_ns=1) for number in numbers]


def test_a_finding_that_one_subscriber_never_saw_is_lost_to_that_one_only() -> None:
    assert delivery(3, [seen(0, 1, 2), seen(0, 2), []]).lost == [0, 1, 3]


def test_a_finding_seen_twice_is_repeated_and_not_lost() -> None:
    assert delivery(2, [seen(0, 1, 0)]) == Delivery(
        published=2, subscribers=1, lost=[0], repeated=[1], out_of_order=[0]
    )


def test_a_finding_first_seen_after_a_later_one_is_out_of_order() -> None:
    assert delivery(4, [seen(0, 2, 1, 3), seen(0, 1, 2, 3)]).out_of_order == [1, 0]


def test_a_finding_that_was_never_published_makes_up_for_none() -> None:
    assert delivery(2, [seen(0, 7)]).lost == [1]


def test_what_was_appended_is_read_again_in_order_with_its_times(tmp_path: Path) -> None:
    entries = [Seen(5, 10, 2_000_010), Seen(4, 2**62, 2**62 + 500_000)]
    for entry in entries:
        with SeenLog(tmp_path / "log") as log:
            log.append(entry)
    assert read_seen(tmp_path / "log") == entries
    assert [entry.waited_ms for entry in entries] == [2.0, 0.5]


def test_a_subscriber_that_was_killed_has_lost_nothing_of_what_it_saw(tmp_path: Path) -> None:
    program = """
import os, signal, sys
from pathlib import Path
from ifmem.benchmarks.seen_findings import Seen, SeenLog
log = SeenLog(Path(sys.argv[1]))
for number in range(50):
    log.append(Seen(number, 0, 1))
os.kill(os.getpid(), signal.SIGKILL)
"""
    ended = subprocess.run([sys.executable, "-c", program, str(tmp_path / "log")], check=False)
    assert ended.returncode == -signal.SIGKILL
    assert read_seen(tmp_path / "log") == seen(*range(50))


def test_a_subscriber_that_never_wrote_has_seen_nothing(tmp_path: Path) -> None:
    assert read_seen(tmp_path / "none") == []
