"""What a task queue must offer to be measured, and the process of its worker.

Ours and the peers are measured by the same code (see ``queue_figures``): each enqueues in the
measuring process and executes in one worker process, and both read the same monotonic clock.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Protocol

import msgspec

from ifmem import clock
from ifmem.errors import Failed

_READY_SECONDS = 60.0
_END_SECONDS = 30.0

Send = Callable[[int, int], Awaitable[None]]
"""Enqueue one no-op task that carries its index and the ``stopwatch_ns`` of its publishing."""

Execute = Callable[[int, int], None]
"""The body of the no-op task: notes that the task with these arguments was executed."""

Work = Callable[[asyncio.Event], Awaitable[None]]
"""Execute tasks until the event is set; then acknowledge what was executed, and return."""


class MeasuredQueue(Protocol):
    """A task queue with its settings, which are the fields of a dataclass.

    The worker process builds the same queue again from the name of its class and these fields.
    """

    @property
    def name(self) -> str: ...

    @property
    def version(self) -> str | None:
        """None when it is not installed."""
        ...

    @property
    def delivery(self) -> str:
        """``at least once``: acknowledged after execution; ``at most once``: not at all."""
        ...

    @property
    def settings(self) -> str:
        """What differs from the queue's own defaults, for the report."""
        ...

    def sending(self, url: str, queue: str) -> AbstractAsyncContextManager[Send]:
        """A client that enqueues to the queue of this name, which is made if need be."""
        ...

    def working(self, url: str, queue: str, execute: Execute) -> AbstractAsyncContextManager[Work]:
        """A worker that is connected, but takes no task until it is told to work."""
        ...


class WorkerOrder(msgspec.Struct, frozen=True):
    """What a worker process is told on its command line."""

    kind: str
    """``module:class`` of the measured queue."""
    fields: dict[str, Any]
    url: str
    queue: str
    expected: int


class Executed(msgspec.Struct, frozen=True, array_like=True):
    """The first execution of one task."""

    index: int
    published_ns: int
    executed_ns: int


class WorkerResult(msgspec.Struct, frozen=True):
    executed: list[Executed]
    repeated: int
    """Executions of tasks that had been executed before."""


class RunningWorker:
    """A worker process that is connected and waits for the signal to work."""

    def __init__(self, process: asyncio.subprocess.Process, what: str) -> None:
        self._process = process
        self._what = what

    def start(self) -> int:
        """Give the signal; returns the ``stopwatch_ns`` at which it was given."""
        assert self._process.stdin is not None
        given = clock.stopwatch_ns()
        self._process.stdin.write(b"go\n")
        return given

    async def result(self, *, within_seconds: float) -> WorkerResult:
        """What was executed, once all that was expected has been.

        Raises:
            Failed: that took too long, or the process ended.
        """
        assert self._process.stdout is not None
        try:
            async with asyncio.timeout(within_seconds):
                said = await self._process.stdout.read()
        except TimeoutError as error:
            raise Failed(
                f"the worker of {self._what} did not execute its tasks in {within_seconds:.0f} s"
            ) from error
        if not said:
            raise Failed(f"the worker of {self._what} ended before its tasks were executed")
        return msgspec.json.decode(said, type=WorkerResult)


@asynccontextmanager
async def worker_process(
    measured: MeasuredQueue, url: str, queue: str, *, expected: int
) -> AsyncIterator[RunningWorker]:
    """One worker process, connected; it is gone on the way out.

    Raises:
        Failed: it does not get ready.
    """
    order = WorkerOrder(
        kind=f"{type(measured).__module__}:{type(measured).__qualname__}",
        fields=msgspec.to_builtins(measured),
        url=url,
        queue=queue,
        expected=expected,
    )
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "ifmem.benchmarks.queue_worker"),
        msgspec.json.encode(order).decode(),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        await _until_ready(process, measured.name)
        yield RunningWorker(process, measured.name)
    finally:
        await _ended(process)


async def _until_ready(process: asyncio.subprocess.Process, what: str) -> None:
    assert process.stdout is not None
    try:
        async with asyncio.timeout(_READY_SECONDS):
            said = await process.stdout.readline()
    except TimeoutError as error:
        raise Failed(f"the worker of {what} is not ready after {_READY_SECONDS:.0f} s") from error
    if said != b"ready\n":
        raise Failed(f"the worker of {what} does not start; what it said is above")


async def _ended(process: asyncio.subprocess.Process) -> None:
    """Its input ends, upon which it leaves by itself, or is killed."""
    assert process.stdin is not None
    process.stdin.close()
    try:
        async with asyncio.timeout(_END_SECONDS):
            await process.wait()
    except (TimeoutError, asyncio.CancelledError):
        process.kill()
        await process.wait()
        raise
