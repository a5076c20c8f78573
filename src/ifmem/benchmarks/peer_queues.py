"""The live Python task queues on Redis that ours is measured beside.

They are an extra group and may be missing, so they are imported where they are used. Each is set
up as its manual says for throughput, without a store of results, and acknowledges a task after its
execution where it can. The settings are those that were fastest of what was tried (see the claims
report); a queue that was left out is named with its reason in ``LEFT_OUT``.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib import metadata
from typing import Any

from ifmem.benchmarks.measured_queue import Execute, MeasuredQueue, Send, Work

_TASK = "noop"

LEFT_OUT = (
    "arq 0.28 needs redis < 6, and we need 8",
    "saq 0.26 needs redis < 8",
    "streaq 7.2 was tried and drained 1,300 tasks a second",
)
"""Live queues that are not among the peers, with the reason."""


@dataclass(frozen=True, slots=True)
class Taskiq:
    """taskiq with the stream broker of taskiq-redis: its list broker acknowledges nothing."""

    in_flight: int = 100
    batch: int = 1000
    check_arguments: bool = False

    name = "taskiq"
    delivery = "at least once"

    @property
    def version(self) -> str | None:
        ours, broker = _installed("taskiq"), _installed("taskiq-redis")
        return f"{ours} (taskiq-redis {broker})" if ours and broker else None

    @property
    def settings(self) -> str:
        return f"RedisStreamBroker, {self.in_flight} in flight, batches of {self.batch}"

    @asynccontextmanager
    async def sending(self, url: str, queue: str) -> AsyncIterator[Send]:
        async def noop(index: int, published_ns: int) -> None: ...

        broker = self._broker(url, queue)
        task = broker.register_task(noop, task_name=_TASK)
        # Makes the consumer group; what was enqueued before it would not be seen.
        await broker.startup()

        async def send(index: int, published_ns: int) -> None:
            await task.kiq(index, published_ns)

        try:
            yield send
        finally:
            await broker.shutdown()

    @asynccontextmanager
    async def working(self, url: str, queue: str, execute: Execute) -> AsyncIterator[Work]:
        from taskiq.acks import AcknowledgeType
        from taskiq.receiver import Receiver

        async def noop(index: int, published_ns: int) -> None:
            execute(index, published_ns)

        broker = self._broker(url, queue)
        broker.is_worker_process = True
        broker.register_task(noop, task_name=_TASK)
        await broker.startup()
        receiver = Receiver(
            broker,
            max_async_tasks=self.in_flight,
            validate_params=self.check_arguments,
            ack_type=AcknowledgeType.WHEN_EXECUTED,
            run_startup=False,
        )
        try:
            yield receiver.listen
        finally:
            await broker.shutdown()

    def _broker(self, url: str, queue: str) -> Any:
        from taskiq_redis import RedisStreamBroker

        return RedisStreamBroker(
            url, queue_name=queue, consumer_group_name=queue, xread_count=self.batch
        )


@dataclass(frozen=True, slots=True)
class BullMQ:
    """bullmq; a task that is done leaves nothing behind."""

    in_flight: int = 50

    name = "bullmq"
    delivery = "at least once"

    @property
    def version(self) -> str | None:
        return _installed("bullmq")

    @property
    def settings(self) -> str:
        return f"{self.in_flight} in flight, removeOnComplete"

    @asynccontextmanager
    async def sending(self, url: str, queue: str) -> AsyncIterator[Send]:
        from bullmq import Queue

        jobs = Queue(queue, {"connection": url})

        async def send(index: int, published_ns: int) -> None:
            given = {"index": index, "published_ns": published_ns}
            await jobs.add(_TASK, given, {"removeOnComplete": True})

        try:
            yield send
        finally:
            await jobs.close()

    @asynccontextmanager
    async def working(self, url: str, queue: str, execute: Execute) -> AsyncIterator[Work]:
        from bullmq import Worker

        async def noop(job: Any, token: str) -> None:
            execute(job.data["index"], job.data["published_ns"])

        options = {"connection": url, "concurrency": self.in_flight, "autorun": False}
        worker = Worker(queue, noop, options)

        async def work(done: asyncio.Event) -> None:
            async with asyncio.TaskGroup() as group:
                group.create_task(worker.run())
                await done.wait()
                await worker.close()

        yield work


@dataclass(frozen=True, slots=True)
class Dramatiq:
    """dramatiq with its Redis broker; its clients and workers are threads."""

    threads: int = 8
    fetched: int = 256

    name = "dramatiq"
    delivery = "at least once"

    @property
    def version(self) -> str | None:
        return _installed("dramatiq")

    @property
    def settings(self) -> str:
        return f"{self.threads} threads, {self.fetched} fetched ahead, no middleware but retries"

    @asynccontextmanager
    async def sending(self, url: str, queue: str) -> AsyncIterator[Send]:
        import dramatiq

        def noop(index: int, published_ns: int) -> None: ...

        broker = self._broker(url, queue)
        actor = dramatiq.actor(noop, actor_name=_TASK, broker=broker)

        async def send(index: int, published_ns: int) -> None:
            # It blocks, and nothing else is to run: a thread for each call would only cost time.
            actor.send(index, published_ns)

        try:
            yield send
        finally:
            _close(broker)

    @asynccontextmanager
    async def working(self, url: str, queue: str, execute: Execute) -> AsyncIterator[Work]:
        import dramatiq

        broker = self._broker(url, queue)
        dramatiq.actor(execute, actor_name=_TASK, broker=broker)
        worker = dramatiq.Worker(broker, worker_threads=self.threads)
        # As its environment variable `dramatiq_queue_prefetch` does. By default twice the threads,
        # and then the drain is bound by its polling: 2,000 tasks a second instead of 7,000.
        worker.queue_prefetch = self.fetched

        async def work(done: asyncio.Event) -> None:
            worker.start()
            try:
                await done.wait()
            finally:
                await asyncio.to_thread(worker.stop)

        try:
            yield work
        finally:
            _close(broker)

    def _broker(self, url: str, queue: str) -> Any:
        from dramatiq.brokers.redis import RedisBroker
        from dramatiq.middleware import Retries

        return RedisBroker(url=url, namespace=queue, middleware=[Retries()])


def _close(broker: Any) -> None:
    broker.close()
    broker.client.close()
    # `close` of a client whose pool was given leaves the pool open.
    broker.client.connection_pool.disconnect()


@dataclass(frozen=True, slots=True)
class Huey:
    """huey; its Redis queue pops a task before executing it, and has no acknowledgement."""

    threads: int = 2

    name = "huey"
    delivery = "at most once"

    @property
    def version(self) -> str | None:
        return _installed("huey")

    @property
    def settings(self) -> str:
        return f"{self.threads} thread(s), no results"

    @asynccontextmanager
    async def sending(self, url: str, queue: str) -> AsyncIterator[Send]:
        def noop(index: int, published_ns: int) -> None: ...

        huey = self._huey(url, queue)
        task = huey.task(name=_TASK)(noop)

        async def send(index: int, published_ns: int) -> None:
            # As with dramatiq.
            task(index, published_ns)

        try:
            yield send
        finally:
            huey.storage.pool.disconnect()

    @asynccontextmanager
    async def working(self, url: str, queue: str, execute: Execute) -> AsyncIterator[Work]:
        def noop(index: int, published_ns: int) -> None:
            execute(index, published_ns)

        huey = self._huey(url, queue)
        huey.task(name=_TASK)(noop)
        consumer = huey.create_consumer(
            workers=self.threads, periodic=False, check_worker_health=False
        )

        async def work(done: asyncio.Event) -> None:
            consumer.start()
            try:
                await done.wait()
            finally:
                await asyncio.to_thread(consumer.stop, graceful=True)

        try:
            yield work
        finally:
            huey.storage.pool.disconnect()

    def _huey(self, url: str, queue: str) -> Any:
        from huey import RedisHuey

        return RedisHuey(queue, url=url, results=False, store_none=False)


def peers() -> list[MeasuredQueue]:
    """Each peer that was tried and is not in ``LEFT_OUT``, installed or not."""
    return [Taskiq(), BullMQ(), Dramatiq(), Huey()]


def installed(queues: Sequence[MeasuredQueue]) -> tuple[list[MeasuredQueue], list[str]]:
    """Those that can be measured here, and for a person what is said of the others."""
    there = [one for one in queues if one.version is not None]
    missing = [
        f"{one.name} is not installed: pip install --group peers"
        for one in queues
        if one.version is None
    ]
    return there, missing


def _installed(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
