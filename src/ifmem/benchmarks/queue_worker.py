"""The worker process of a measured queue: it is told when to begin, and reports each execution.

Run as ``python -m ifmem.benchmarks.queue_worker ORDER``: writes ``ready``, reads a line, works
until the expected tasks were executed or its input ends, writes a ``WorkerResult``.
"""

from __future__ import annotations

import asyncio
import pkgutil
import sys
from collections.abc import Callable

import msgspec

from ifmem import clock
from ifmem.benchmarks.measured_queue import Executed, MeasuredQueue, WorkerOrder, WorkerResult


class Tally:
    """Notes executions, from any thread, and tells when the expected number of tasks is reached.

    Args:
        reached: called once, in the thread that executed the last task.
    """

    def __init__(self, expected: int, reached: Callable[[], None]) -> None:
        self._expected = expected
        self._reached = reached
        self._executed: dict[int, Executed] = {}
        self._repeated = 0

    def execute(self, index: int, published_ns: int) -> None:
        """One execution, now."""
        now = clock.stopwatch_ns()
        one = Executed(index, published_ns, now)
        if self._executed.setdefault(index, one) is not one:
            self._repeated += 1
        elif len(self._executed) == self._expected:
            self._reached()

    def result(self) -> WorkerResult:
        """The first execution of each task, in the order they happened."""
        return WorkerResult(list(self._executed.values()), self._repeated)


async def work(order: WorkerOrder) -> WorkerResult:
    """The life of the worker process."""
    loop = asyncio.get_running_loop()
    done = asyncio.Event()

    def reached() -> None:
        loop.call_soon_threadsafe(done.set)

    tally = Tally(order.expected, reached)
    signals = await _standard_input()
    async with _queue(order).working(order.url, order.queue, tally.execute) as until:
        _say(b"ready\n")
        if not await signals.readline():
            return tally.result()
        async with asyncio.TaskGroup() as group:
            # Whoever measured is gone when the input ends: nobody waits for the rest.
            orphaned = group.create_task(_set_at_end(signals, done))
            await until(done)
            orphaned.cancel()
    return tally.result()


def _queue(order: WorkerOrder) -> MeasuredQueue:
    measured: MeasuredQueue = pkgutil.resolve_name(order.kind)(**order.fields)
    return measured


async def _standard_input() -> asyncio.StreamReader:
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), sys.stdin
    )
    return reader


async def _set_at_end(signals: asyncio.StreamReader, done: asyncio.Event) -> None:
    await signals.read()
    done.set()


def _say(words: bytes) -> None:
    sys.stdout.buffer.write(words)
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    _order = msgspec.json.decode(sys.argv[1], type=WorkerOrder)
    _say(msgspec.json.encode(asyncio.run(work(_order))))
