"""A hundred thousand findings: what is asked often costs the same, and never walks over keys."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from ifmem import BlockingMemory, Memory
from ifmem.benchmarks.filled_store import PER_TASK, fill, finding_id, task_of
from ifmem.clock import stopwatch_ns

FINDINGS = 100_000
MANY = 20
SCANS = {"keys", "scan", "sscan", "hscan", "zscan"}
BOUND_MS = {
    **{"status": 60.0, "claim": 60.0, "findings since": 60.0, "findings of a task": 60.0},
    **{"recall": 250.0, "remember": 120.0},
}
"""Generous for two busy cores; a walk over a hundred thousand keys or rows takes longer."""


@pytest.fixture
def memory(ifmem: Any) -> Iterator[BlockingMemory]:
    """A memory that begins with findings put straight into the store, as after a long life."""
    ifmem.home.mkdir(mode=0o700)
    fill(ifmem.home, FINDINGS)
    with Memory.open_sync(settings=ifmem.settings) as opened:
        yield opened


def least_ms(work: Callable[[int], object]) -> float:
    """The quickest of many: a busy machine slows some of them, a walk slows all."""
    samples = []
    for number in range(MANY):
        started = stopwatch_ns()
        work(number)
        samples.append((stopwatch_ns() - started) / 1e6)
    return min(samples)


def test_with_a_hundred_thousand_findings_nothing_hot_scans(
    ifmem: Any, memory: BlockingMemory
) -> None:
    status = memory.status(show_secrets=True)
    assert status.findings == FINDINGS
    with ifmem.bus(status.redis.url) as bus:
        assert bus.exists(f"finding:{finding_id(0)}", f"finding:{finding_id(FINDINGS - 1)}") == 2
        assert bus.zcard("ifmem:1:findings") == FINDINGS
        for number in range(MANY + 1):
            memory.post(f"Weigh crate {number}")
        bus.config_resetstat()
        took = {
            "status": least_ms(lambda _: memory.status()),
            "claim": least_ms(lambda _: memory.claim("ada")),
            "findings since": least_ms(
                lambda n: list(memory.findings(str(n * 4_999), limit=PER_TASK))
            ),
            "findings of a task": least_ms(
                lambda n: list(memory.findings("0", task=task_of(n * 7, FINDINGS)))
            ),
            "recall": least_ms(lambda n: memory.recall(f"How heavy is crate c{n * 4_999}?")),
            "remember": least_ms(lambda n: memory.remember(f"Row {n} was swept.")),
        }
        used = {name.removeprefix("cmdstat_"): of for name, of in bus.info("commandstats").items()}
    assert memory.claim("ada") is not None, "each claim found a task"
    assert {name for name in used if name.split("|")[0] in SCANS} == set()
    assert took == {name: pytest.approx(0, abs=BOUND_MS[name]) for name in took}
    # Status asks a number of commands that findings do not change.
    whole = {"smembers", "zrange", "hgetall", "lrange"}
    longest = [of["usec_per_call"] for name, of in used.items() if name in whole]
    assert max(longest) < 2_000
    one_task = list(memory.findings("0", task=task_of(7, FINDINGS)))
    assert len(one_task) == PER_TASK
    assert memory.status().findings == FINDINGS + MANY


def test_the_window_on_the_bus_stays_and_older_findings_come_from_the_store(
    install: Any,
) -> None:
    ifmem = install(findings_window="10")
    ifmem("up")
    with Memory.open_sync(settings=ifmem.settings) as memory:
        ids = [memory.remember(f"Barrel {n} is full.").finding_id for n in range(25)]
        with ifmem.bus() as bus:
            on_bus = {name.removeprefix("finding:") for name in bus.keys("finding:*")}
        assert on_bus == set(ids[-10:])
        assert [line.finding["finding_id"] for line in memory.findings()] == ids
        assert memory.status().findings == 25
        (found,) = memory.recall("barrel 3", limit=1).findings
        assert found.finding_id == ids[3]
