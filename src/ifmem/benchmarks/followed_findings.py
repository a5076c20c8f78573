"""Findings published at a pace, followed by processes that may be killed and paused."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec

from ifmem import clock
from ifmem.benchmarks.chaos import ChaosEvent
from ifmem.benchmarks.following_process import END, FollowOrder, Way, id_of
from ifmem.benchmarks.seen_findings import Delivery, delivery, read_seen
from ifmem.benchmarks.struck_processes import struck_processes
from ifmem.client.worker import Worker
from ifmem.errors import Failed
from ifmem.settings import RedisSettings, Settings

_READY_SECONDS, _END_SECONDS = 60.0, 300.0
_LOOK_SECONDS = 0.02
TEXT_BYTES = 600


class Following(msgspec.Struct, frozen=True):
    """Who follows, and what is published."""

    way: Way
    findings: int
    per_second: float
    processes: int
    in_each: int = 1
    """Followers in a process, each with a connection of its own."""
    warm_up: int = 0
    """So many findings come first and are not counted; each follower has seen one by then."""


async def followed(
    settings: Settings,
    url: str,
    directory: Path,
    following: Following,
    *,
    events: Sequence[ChaosEvent] = (),
) -> tuple[Delivery, list[float]]:
    """Publish while the processes follow, and are struck; they end once they have caught up.

    Each finding is accepted by the bus before the next is published; the store commits beside.

    Args:
        settings: of the memory.
        url: of its bus.
        directory: where each follower writes what it has seen.

    Returns:
        What was lost and repeated, and the milliseconds from publishing to seeing of all.

    Raises:
        Failed: a process does not come up or does not end, or ends with an error.
    """
    run = f"bench-{clock.new_id()}"
    files = [
        [directory / f"{run}-{process}-{one}.seen" for one in range(following.in_each)]
        for process in range(following.processes)
    ]

    def command(process: int) -> list[str]:
        order = FollowOrder(
            settings=settings,
            url=url,
            way=following.way,
            run=run,
            consumers=[file.stem for file in files[process]],
            files=[str(file) for file in files[process]],
        )
        module = "ifmem.benchmarks.following_process"
        return [sys.executable, "-m", module, msgspec.json.encode(order).decode()]

    joining = msgspec.structs.replace(settings, run=run, redis=RedisSettings(url=url))
    all_files = [file for some in files for file in some]
    async with (
        Worker.join(settings=joining) as worker,
        struck_processes(following.processes, command) as processes,
    ):
        warmed = await _warm_up(worker, run, following, all_files)
        async with asyncio.TaskGroup() as group:
            group.create_task(processes.play(events))
            group.create_task(
                _publish(worker, run, range(warmed, warmed + following.findings), following)
            )
        await _say(worker, run, END)
        await processes.ended(within_seconds=_END_SECONDS)
    seen = [
        [
            msgspec.structs.replace(one, number=one.number - warmed)
            for one in await asyncio.to_thread(read_seen, file)
            if one.number >= warmed
        ]
        for file in all_files
    ]
    waited = [one.waited_ms for by_one in seen for one in by_one]
    return delivery(following.findings, seen), waited


async def _warm_up(worker: Worker, run: str, following: Following, files: Sequence[Path]) -> int:
    """Publish the first findings; how many, once each follower has seen one of them."""
    if following.warm_up:
        await _publish(worker, run, range(following.warm_up), following)
    else:
        await _say(worker, run, 0)
    deadline = clock.monotonic() + _READY_SECONDS
    while not all(file.exists() and file.stat().st_size for file in files):
        if clock.monotonic() > deadline:
            raise Failed(f"the followers are not there after {_READY_SECONDS:.0f} s")
        await asyncio.sleep(_LOOK_SECONDS)
    return max(1, following.warm_up)


async def _publish(worker: Worker, run: str, numbers: range, following: Following) -> None:
    began = clock.monotonic()
    for place, number in enumerate(numbers):
        ahead = began + place / following.per_second - clock.monotonic()
        if ahead > 0:
            await asyncio.sleep(ahead)
        await _say(worker, run, number)


async def _say(worker: Worker, run: str, number: int) -> None:
    bench = {"number": number, "published_ns": clock.stopwatch_ns()}
    await worker.remember(
        f"finding {number} " + "x" * TEXT_BYTES, id=id_of(run, number), durable=False, bench=bench
    )
