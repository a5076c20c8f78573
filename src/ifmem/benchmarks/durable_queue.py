"""Our tasks at ``durable``, many in flight: how fast they are posted and finished for good.

A process of its own, as the workers of the other queues: ``python -m
ifmem.benchmarks.durable_queue ORDER`` writes a ``DurableFigures``.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec

from ifmem import clock
from ifmem.client.worker import Worker
from ifmem.domain.task import Task
from ifmem.errors import Failed

_PATIENCE_SECONDS = 300.0
_PAGE_BYTES = 4096


class DurableOrder(msgspec.Struct, frozen=True):
    url: str
    run: str
    tasks: int
    in_flight: int


class DurableFigures(msgspec.Struct, frozen=True):
    """Raw times in milliseconds; of each task in the order they ended."""

    post_ms: list[float]
    """From the call until the store had committed the task."""
    posting_ms: float
    """All of them."""
    finish_ms: list[float]
    """From the end of the handler until the store had committed the completion."""
    finishing_ms: float
    """From the first claim until the last completion was committed."""
    together: int
    """The most tasks that had been begun and were not yet durably finished."""


async def measure_durable(order: DurableOrder) -> DurableFigures:
    """The figures, taken in a process of their own.

    Raises:
        Failed: it ended without figures, or took too long.
    """
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "ifmem.benchmarks.durable_queue"),
        msgspec.json.encode(order).decode(),
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(_PATIENCE_SECONDS):
            said, _ = await process.communicate()
    except TimeoutError as error:
        raise Failed(f"durable tasks took more than {_PATIENCE_SECONDS:.0f} s") from error
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if not said:
        raise Failed("the process that measures durable tasks ended without figures")
    return msgspec.json.decode(said, type=DurableFigures)


async def durable_figures(order: DurableOrder) -> DurableFigures:
    """Post the tasks, then have them worked on."""
    ended: dict[str, int] = {}
    finish_ms: list[float] = []
    together = 0
    done = asyncio.Event()

    async def noop(task: Task) -> None:
        nonlocal together
        ended[task.task_id] = clock.stopwatch_ns()
        together = max(together, len(ended))

    def on_event(event: Mapping[str, Any]) -> None:
        if event["event"] == "finished":
            finish_ms.append(clock.milliseconds_since(ended.pop(event["task_id"])))
            if len(finish_ms) == order.tasks:
                done.set()

    async with Worker.join(order.url, run=order.run, on_event=on_event) as worker:
        began = clock.stopwatch_ns()
        post_ms = await _post(worker, order)
        posting = clock.milliseconds_since(began)
        began = clock.stopwatch_ns()
        async with asyncio.TaskGroup() as group:
            group.create_task(worker.run(noop, concurrency=min(order.in_flight, 256)))
            await done.wait()
            finishing = clock.milliseconds_since(began)
            worker.stop()
    return DurableFigures(post_ms, posting, finish_ms, finishing, together)


async def _post(worker: Worker, order: DurableOrder) -> list[float]:
    taken: list[float] = []
    waiting = iter(range(order.tasks))

    async def post_on() -> None:
        for index in waiting:
            began = clock.stopwatch_ns()
            await worker.post("no-op", {"index": index})
            taken.append(clock.milliseconds_since(began))

    async with asyncio.TaskGroup() as group:
        for _ in range(order.in_flight):
            group.create_task(post_on())
    return taken


def sync_times(directory: Path, n: int) -> list[float]:
    """Milliseconds of ``n`` syncs of 4 KB to the disk of a directory: the floor of one commit."""
    sync = getattr(os, "fdatasync", os.fsync)
    path = directory / "sync-floor"
    taken = []
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with closing(os.fdopen(descriptor, "wb", buffering=0)) as file:
        for turn in range(n):
            began = clock.stopwatch_ns()
            file.write(bytes([turn % 256]) * _PAGE_BYTES)
            sync(file.fileno())
            taken.append(clock.milliseconds_since(began))
    path.unlink()
    return taken


if __name__ == "__main__":
    _order = msgspec.json.decode(sys.argv[1], type=DurableOrder)
    sys.stdout.buffer.write(msgspec.json.encode(asyncio.run(durable_figures(_order))))
