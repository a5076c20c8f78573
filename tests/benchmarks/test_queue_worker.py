"""The worker's tally: each task counts once, and its end is told once."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading

import msgspec
import pytest

from ifmem.benchmarks.measured_queue import WorkerOrder, worker_process
from ifmem.benchmarks.peer_queues import Taskiq
from ifmem.benchmarks.queue_worker import Tally
from ifmem.errors import Failed


def test_the_end_is_told_once_when_every_expected_task_was_executed() -> None:
    told: list[str] = []
    tally = Tally(2, lambda: told.append("reached"))
    tally.execute(0, 5)
    tally.execute(0, 5)
    assert told == []
    tally.execute(1, 6)
    tally.execute(1, 6)
    assert told == ["reached"]


def test_a_task_executed_again_is_repeated_and_keeps_its_first_time() -> None:
    tally = Tally(5, lambda: None)
    tally.execute(3, 5)
    (first,) = tally.result().executed
    tally.execute(3, 5)
    assert tally.result().executed == [first]
    assert tally.result().repeated == 1
    assert (first.index, first.published_ns) == (3, 5)


def test_executions_in_many_threads_are_all_counted() -> None:
    told: list[str] = []
    tally = Tally(4_000, lambda: told.append("reached"))

    def execute_some(start: int) -> None:
        for index in range(start, start + 1_000):
            tally.execute(index, 0)

    threads = [threading.Thread(target=execute_some, args=(n * 1_000,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(one.index for one in tally.result().executed) == list(range(4_000))
    assert told == ["reached"]


def test_a_worker_that_cannot_start_is_reported_and_not_waited_for() -> None:
    async def start() -> None:
        # Its class is known to the worker process only by a name, which this one has not.
        class Nowhere(Taskiq):
            pass

        async with worker_process(Nowhere(), "unix:///nowhere", "q", expected=1):
            pass

    with pytest.raises(Failed, match="the worker of taskiq does not start"):
        asyncio.run(start())


def test_a_worker_whose_starter_is_gone_leaves_without_being_told_to_work() -> None:
    order = WorkerOrder(
        kind="ifmem.benchmarks.idle_queue_of_test:Idle", fields={}, url="", queue="", expected=1
    )
    program = """
import sys, types
from contextlib import asynccontextmanager

class Idle:
    @asynccontextmanager
    async def working(self, url, queue, execute):
        async def work(done):
            await done.wait()
        yield work

module = types.ModuleType("ifmem.benchmarks.idle_queue_of_test")
module.Idle = Idle
sys.modules[module.__name__] = module
import asyncio, msgspec
from ifmem.benchmarks.queue_worker import work
from ifmem.benchmarks.measured_queue import WorkerOrder
print(len(asyncio.run(work(msgspec.json.decode(sys.argv[1], type=WorkerOrder))).executed))
"""
    arguments = [sys.executable, "-c", program, msgspec.json.encode(order).decode()]
    for told in (b"", b"go\n"):
        ended = subprocess.run(arguments, input=told, capture_output=True, timeout=60, check=True)
        assert ended.stdout == b"ready\n0\n"
