"""Writers, posters and workers that go on through whatever happens and note what they were told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from functools import partial
from typing import TypeVar

from ifmem import clock
from ifmem.benchmarks.durability_check import Told
from ifmem.client.memory import Memory
from ifmem.errors import Failed, IfMemError, NotFound, OutcomeUnknown, Refused, Unavailable
from ifmem.settings import Settings
from ifmem.wire.shapes import TaskShape

WRITERS, POSTERS, WORKERS = 8, 2, 3
LEASE = timedelta(seconds=5)
_PATIENCE_SECONDS = 120.0
_PAUSE_SECONDS = 0.05
_MAX_ATTEMPTS = 50

Answer = TypeVar("Answer")


class DurabilityLoad:
    """Everybody who writes in one run, each over a connection of its own.

    Half of the writers repeat a write of unknown outcome with its id until it is settled; the
    others leave it, so that what an unknown outcome may mean is seen as well.
    """

    def __init__(self, settings: Settings) -> None:
        self.told = Told()
        self._settings = settings
        self._ending = asyncio.Event()
        self._answered = asyncio.Condition()
        self._count = 0

    async def run(self) -> None:
        """Write until ``end``."""
        async with asyncio.TaskGroup() as group:
            for number in range(WRITERS):
                write = partial(self._write, writer=number, repeats=number % 2 == 0)
                group.create_task(self._connected(write))
            for _ in range(POSTERS):
                group.create_task(self._connected(self._post))
            for number in range(WORKERS):
                group.create_task(self._connected(partial(self._work, worker=f"worker-{number}")))

    def end(self) -> None:
        """Let everybody finish what they have begun."""
        self._ending.set()

    async def more(self, count: int) -> None:
        """Wait until so many further writes were acknowledged.

        Raises:
            Failed: they are not, for minutes.
        """
        wanted = self._count + count
        try:
            async with asyncio.timeout(_PATIENCE_SECONDS), self._answered:
                await self._answered.wait_for(lambda: self._count >= wanted)
        except TimeoutError as error:
            raise Failed(
                f"nothing is acknowledged any more: {self._count:,} writes, {count} more wanted"
            ) from error

    async def probe(self) -> float:
        """Milliseconds from now to the acknowledgement of a write that begins now."""
        started, probe = clock.stopwatch_ns(), clock.new_id()
        deadline = clock.monotonic() + _PATIENCE_SECONDS
        while True:
            try:
                async with Memory.open(settings=self._settings) as memory:
                    await memory.remember(f"Probe {probe} came through.", id=probe)
            except Unavailable as error:
                if clock.monotonic() > deadline:
                    raise Failed(f"a write does not come through: {error.message}") from error
                await asyncio.sleep(_PAUSE_SECONDS / 5)
                continue
            self.told.acknowledged.add(probe)
            return clock.milliseconds_since(started)

    async def _connected(self, act: Callable[[Memory], Awaitable[None]]) -> None:
        """Do something again and again, over a new connection whenever one is lost."""
        while not self._ending.is_set():
            try:
                async with Memory.open(settings=self._settings) as memory:
                    while not self._ending.is_set():
                        await act(memory)
            except Unavailable:
                await asyncio.sleep(_PAUSE_SECONDS)
            except IfMemError as error:
                self.told.strange.append(f"{type(error).__name__}: {error.message}")
                await asyncio.sleep(_PAUSE_SECONDS)

    async def _write(self, memory: Memory, *, writer: int, repeats: bool) -> None:
        finding_id = clock.new_id()
        claim = f"Writer {writer} saw {finding_id}."

        async def remember(through: Memory) -> None:
            await through.remember(claim, id=finding_id)

        try:
            await self._settled(memory, remember, repeats)
        except OutcomeUnknown:
            self.told.unknown.add(finding_id)
            raise
        except Unavailable:
            self.told.refused.add(finding_id)
            raise
        self.told.acknowledged.add(finding_id)
        await self._note()

    async def _post(self, memory: Memory) -> None:
        task_id = clock.new_id()

        async def post(through: Memory) -> None:
            await through.post("Weigh a crate", id=task_id, max_attempts=_MAX_ATTEMPTS)

        await self._settled(memory, post, repeats=True)
        self.told.posted.add(task_id)
        await self._note()

    async def _work(self, memory: Memory, *, worker: str) -> None:
        task = await memory.claim(worker, lease=LEASE, wait=0.5)
        if task is None:
            return
        held = task

        async def finish(through: Memory) -> TaskShape:
            return await through.finish(held, claim=f"The crate of {held.task_id} was weighed.")

        try:
            await self._settled(memory, finish, repeats=True)
        except (Refused, NotFound):
            # The lease ended, or the bus was rebuilt: somebody else does it.
            return
        self.told.completions.add((held.task_id, held.fence or ""))
        await self._note()

    async def _settled(
        self, memory: Memory, act: Callable[[Memory], Awaitable[Answer]], repeats: bool
    ) -> Answer:
        """The answer of a write; repeated through new connections while its outcome is unknown.

        Raises:
            OutcomeUnknown: it was left unknown.
            Unavailable: nothing of it was stored.
        """
        deadline = clock.monotonic() + _PATIENCE_SECONDS
        through: Memory | None = memory
        was_unknown = False
        while True:
            try:
                if through is not None:
                    return await act(through)
                async with Memory.open(settings=self._settings) as other:
                    return await act(other)
            except Unavailable as error:
                is_refusal = error.facts.get("outcome") in ("busy", "refusing")
                self.told.refused_answers += is_refusal
                self.told.unknown_answers += not is_refusal
                if is_refusal and not was_unknown and not repeats:
                    raise Unavailable(error.message) from error
                was_unknown |= not is_refusal
                if not repeats or clock.monotonic() > deadline:
                    raise OutcomeUnknown(error.message) from error
            through = None
            await asyncio.sleep(_PAUSE_SECONDS)

    async def _note(self) -> None:
        async with self._answered:
            self._count += 1
            self._answered.notify_all()


@asynccontextmanager
async def durability_load(settings: Settings) -> AsyncIterator[DurabilityLoad]:
    """A load that runs while the block does, and has ended after it."""
    load = DurabilityLoad(settings)
    async with asyncio.TaskGroup() as group:
        group.create_task(load.run())
        try:
            yield load
        finally:
            load.end()
