"""A worker process under fire: ``python -m ifmem.benchmarks.struck_worker ORDER``."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec

from ifmem import clock
from ifmem.benchmarks.task_effects import EffectLog, Note, Noted
from ifmem.client.worker import Worker
from ifmem.domain.task import Task
from ifmem.settings import Settings

STEP_TAG = "step"
"""Of findings that a handler publishes while it runs; those of completions have no tag."""
_LOOK_SECONDS = 0.05


class StruckOrder(msgspec.Struct, frozen=True):
    """What a worker process is told on its command line."""

    settings: Settings
    log: str
    """Its file of notes."""
    begin: str
    """It claims nothing before this file is there."""
    stop: str
    """Once this file is there, the process ends what it began and leaves."""
    lease_seconds: float
    concurrency: int


async def work(order: StruckOrder) -> None:
    """Work on tasks until told to stop, and note each step before the next can happen."""
    log = EffectLog(Path(order.log))

    def note(what: Noted, task_id: str = "", finding_id: str = "") -> None:
        log.note(Note(what, clock.stopwatch_ns(), task_id, finding_id))

    def on_event(event: Mapping[str, Any]) -> None:
        if event["event"] in ("finished", "lost"):
            note(Noted(event["event"]), event["task_id"], event.get("finding_id", ""))

    async with Worker.join(settings=order.settings, on_event=on_event) as worker:

        async def handle(task: Task) -> str:
            note(Noted.BEGAN, task.task_id)
            # Every attempt says it again, under one id.
            said = f"task {task.data['number']} was begun"
            step = str(task.data["step_id"])
            await worker.remember(
                said, id=step, task_id=task.task_id, tags=[STEP_TAG], durable=False
            )
            await asyncio.sleep(float(str(task.data["seconds"])))
            note(Noted.RAN, task.task_id)
            return f"task {task.data['number']} is done"

        note(Noted.JOINED)
        await _there(Path(order.begin))
        async with asyncio.TaskGroup() as group:
            group.create_task(_stop_when_told(Path(order.stop), worker))
            await worker.run(
                handle,
                concurrency=order.concurrency,
                lease=timedelta(seconds=order.lease_seconds),
            )
    log.close()


async def _stop_when_told(stop: Path, worker: Worker) -> None:
    await _there(stop)
    worker.stop()


async def _there(path: Path) -> None:
    """Wait until another process has made a file."""
    while not await asyncio.to_thread(path.exists):  # noqa: ASYNC110 - no event crosses processes
        await asyncio.sleep(_LOOK_SECONDS)


if __name__ == "__main__":
    # That tasks are lost to others is what this is about; it is noted.
    logging.getLogger("ifmem").setLevel(logging.ERROR)
    asyncio.run(work(msgspec.json.decode(sys.argv[1], type=StruckOrder)))
