"""Our own task board as a measured queue, beside the peers: one client, one worker process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib import metadata

from ifmem.benchmarks.measured_queue import Execute, Send, Work
from ifmem.client.worker import Worker
from ifmem.domain.task import Task


@dataclass(frozen=True, slots=True)
class Ours:
    """Tasks of a run of the default space, at ``accepted``: the bus has taken each step.

    A bridge must have opened the space; it drains into the store meanwhile, as in real use.
    """

    in_flight: int = 128

    name = "ifmem"
    delivery = "at least once, completed once"

    @property
    def version(self) -> str | None:
        return metadata.version("ifmem")

    @property
    def settings(self) -> str:
        return f"accepted, {self.in_flight} in flight; every step goes to the store beside"

    @asynccontextmanager
    async def sending(self, url: str, queue: str) -> AsyncIterator[Send]:
        async with Worker.join(url, run=queue) as worker:

            async def send(index: int, published_ns: int) -> None:
                given = {"index": index, "published_ns": published_ns}
                await worker.post("no-op", given, durable=False)

            yield send

    @asynccontextmanager
    async def working(self, url: str, queue: str, execute: Execute) -> AsyncIterator[Work]:
        async def noop(task: Task) -> None:
            index, published_ns = task.data["index"], task.data["published_ns"]
            assert isinstance(index, int) and isinstance(published_ns, int)
            execute(index, published_ns)

        async with Worker.join(url, run=queue) as worker:

            async def work(done: asyncio.Event) -> None:
                async with asyncio.TaskGroup() as group:
                    group.create_task(worker.run(noop, concurrency=self.in_flight, durable=False))
                    await done.wait()
                    worker.stop()

            yield work
