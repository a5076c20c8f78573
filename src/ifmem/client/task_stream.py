"""Leased tasks one after the other, for whoever works on them in a loop of their own."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator
from datetime import timedelta

from ifmem.client.leased_task import LeasedTask
from ifmem.errors import IfMemError
from ifmem.runtime.beside import Beside
from ifmem.runtime.working import TaskWork
from ifmem.runtime.working_leases import Held


async def stream_of(
    work: TaskWork, beside: Beside, *, run: str, concurrency: int, lease: timedelta
) -> AsyncGenerator[LeasedTask, None]:
    """Tasks as they can be claimed, at most ``concurrency`` held at once.

    When it is closed, what is still held is released.

    Args:
        beside: where the claiming goes on while the consumer is busy.
    """
    waiting: deque[LeasedTask] = deque()
    mine: set[LeasedTask] = set()
    arrived = asyncio.Event()
    ends: list[IfMemError | None] = []

    def begin(held: Held) -> None:
        task = LeasedTask(work, held, run=run, freed=free)
        mine.add(task)
        waiting.append(task)
        arrived.set()

    def free(task: LeasedTask) -> None:
        mine.discard(task)
        claims.free()

    claims = work.claims(run=run, places=concurrency, lease=lease, begin=begin)

    async def claim() -> None:
        try:
            await claims.claim()
            ends.append(None)
        except IfMemError as error:
            ends.append(error)
        arrived.set()

    with work.entered(claims):
        claiming = beside.start(claim())
        try:
            while waiting or not ends:
                if not waiting:
                    arrived.clear()
                    await arrived.wait()
                elif (task := waiting.popleft()).lost is None:
                    yield task
            if ends[0] is not None:
                raise ends[0]
        finally:
            claims.stop()
            # A claim that is under way may bring more.
            await asyncio.wait({claiming})
            await work.release([task.held for task in mine if not task.is_closed])
