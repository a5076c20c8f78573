"""A hundred thousand findings: what is asked often costs the same, and never walks over keys."""

from __future__ import annotations

import sqlite3
import statistics
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ifmem import BlockingMemory, Memory
from ifmem.clock import stopwatch_ns
from ifmem.domain.finding import Finding
from ifmem.settings import Settings
from ifmem.store import findings
from ifmem.store.database import Database
from ifmem.wire import finding_json

FINDINGS = 100_000
TASKS = 1_000
MANY = 20
SCANS = {"keys", "scan", "sscan", "hscan", "zscan"}
BOUND_MS = {"status": 60.0, "findings of a task": 60.0, "recall": 250.0, "remember": 120.0}
"""Generous for two busy cores; a walk over a hundred thousand keys or rows takes longer."""


def store_findings(path: Path) -> None:
    """Findings put straight into the store, as the log of a long life would hold them."""
    database = Database(path)

    def work(connection: sqlite3.Connection) -> None:
        for number in range(FINDINGS):
            finding = Finding(
                finding_id=str(uuid.UUID(int=number)),
                worker_id=f"worker-{number % 50}",
                timestamp="2026-01-02T03:04:05.678Z",
                claim=f"Crate c{number} of the {number % 97}th row weighs {number % 53} pounds.",
                task_id=f"task-{number % TASKS}",
                tokens=16,
            )
            findings.append(
                connection,
                finding_id=finding.finding_id,
                author=finding.worker_id,
                task_id=finding.task_id,
                topic=None,
                said_at=finding.timestamp,
                tokens=finding.tokens,
                body=finding_json.to_json(finding),
            )

    database.write(work).result()
    database.close()


@pytest.fixture
def memory(ifmem: Any) -> Iterator[BlockingMemory]:
    ifmem("up")
    ifmem.down()
    store_findings(ifmem.home / "spaces" / "default" / "store.sqlite")
    with Memory.open_sync(settings=Settings(home=str(ifmem.home))) as opened:
        yield opened


def median_ms(work: Callable[[int], object]) -> float:
    samples = []
    for number in range(MANY):
        started = stopwatch_ns()
        work(number)
        samples.append((stopwatch_ns() - started) / 1e6)
    return statistics.median(samples)


def test_with_a_hundred_thousand_findings_nothing_hot_scans(
    ifmem: Any, memory: BlockingMemory
) -> None:
    status = memory.status(show_secrets=True)
    assert status.findings == FINDINGS
    with ifmem.bus(status.redis.url) as bus:
        assert bus.exists(f"finding:{uuid.UUID(int=0)}", f"finding:{uuid.UUID(int=99_999)}") == 2
        assert bus.zcard("ifmem:1:findings") == FINDINGS
        bus.config_resetstat()
        took = {
            "status": median_ms(lambda _: memory.status()),
            "findings of a task": median_ms(
                lambda n: list(memory.findings("0", task=f"task-{n * 7}"))
            ),
            "recall": median_ms(lambda n: memory.recall(f"How heavy is crate c{n * 4_999}?")),
            "remember": median_ms(lambda n: memory.remember(f"Row {n} was swept.")),
        }
        used = {name.removeprefix("cmdstat_"): of for name, of in bus.info("commandstats").items()}
    assert {name for name in used if name.split("|")[0] in SCANS} == set()
    assert took == {name: pytest.approx(0, abs=BOUND_MS[name]) for name in took}
    # Status asks a number of commands that findings do not change.
    whole = {"smembers", "zrange", "hgetall", "lrange"}
    longest = [of["usec_per_call"] for name, of in used.items() if name in whole]
    assert max(longest) < 2_000
    one_task = list(memory.findings("0", task="task-7"))
    assert len(one_task) == FINDINGS // TASKS
    assert memory.status().findings == FINDINGS + MANY


def test_the_window_on_the_bus_stays_and_older_findings_come_from_the_store(
    install: Any,
) -> None:
    ifmem = install(findings_window="10")
    ifmem("up")
    with Memory.open_sync(settings=Settings(home=str(ifmem.home))) as memory:
        ids = [memory.remember(f"Barrel {n} is full.").finding_id for n in range(25)]
        with ifmem.bus() as bus:
            on_bus = {name.removeprefix("finding:") for name in bus.keys("finding:*")}
        assert on_bus == set(ids[-10:])
        assert [line.finding["finding_id"] for line in memory.findings()] == ids
        assert memory.status().findings == 25
        (found,) = memory.recall("barrel 3", limit=1).findings
        assert found.finding_id == ids[3]
