"""Tasks worked on by many processes that are killed and paused, and what came of them (B8)."""

from __future__ import annotations

import asyncio
import random
import sqlite3
import sys
from collections.abc import Callable, Sequence
from contextlib import aclosing, closing
from pathlib import Path

import msgspec

from ifmem import clock
from ifmem.benchmarks.chaos import Blow, ChaosEvent, schedule
from ifmem.benchmarks.struck_processes import StruckProcesses, struck_processes
from ifmem.benchmarks.struck_worker import STEP_TAG, StruckOrder
from ifmem.benchmarks.task_effects import (
    Kill,
    Note,
    Published,
    StoredTask,
    TaskEffects,
    check,
    read_notes,
    requeue_delays,
)
from ifmem.benchmarks.throwaway import Throwaway
from ifmem.client.memory import Memory
from ifmem.client.worker import Worker
from ifmem.errors import Failed
from ifmem.runtime.opening import STORE
from ifmem.settings import RedisSettings, Settings
from ifmem.wire.shapes import FindingLine

SWEEP_SECONDS = 1.0
"""Between two looks of the bridge for leases that ended."""
_POSTED_AT_ONCE = 256
_PATIENCE_SECONDS = 600.0
_LOOK_SECONDS = 0.1
_MOST_ATTEMPTS = 100
"""No task is to be given up because its workers were unlucky again and again."""
_SEED = 31

CommandOf = Callable[[StruckOrder], Sequence[str]]


class Fire(msgspec.Struct, frozen=True):
    """How many tasks, and what happens to those who work on them."""

    tasks: int = 5_000
    workers: int = 32
    concurrency: int = 4
    lease_seconds: float = 2.0
    kills: int = 7
    """A killed worker is replaced at once."""
    pauses: int = 7
    work_seconds: float = 0.4
    """Mean of what a handler takes; each task has its own, from half to one and a half of it. When
    all of it is below a third of the lease, a worker that was paused completes late: it hears of
    its handlers' end before it is time to renew, and so to learn what it has lost."""
    seed: int = _SEED

    @property
    def least_seconds(self) -> float:
        """The run takes longer than this: no place is ever free for less than its work."""
        return self.tasks * self.work_seconds / (self.workers * self.concurrency)

    def events(self) -> tuple[ChaosEvent, ...]:
        """The blows, while there is work; the same for the same seed."""
        return schedule(
            self.seed,
            processes=self.workers,
            seconds=self.least_seconds,
            kills=self.kills,
            pauses=self.pauses,
        )


class Fought(msgspec.Struct, frozen=True):
    """What came of a run under fire."""

    effects: TaskEffects
    kills: int
    workers_killed: int
    """Different ones."""
    pauses: int
    seconds: float
    """From the word to begin until the store had the last task done."""
    requeue_ms: list[float]
    """From a kill until a task that it cut short was begun again."""


def struck_command(order: StruckOrder) -> list[str]:
    """The command line of a worker process."""
    module = "ifmem.benchmarks.struck_worker"
    return [sys.executable, "-m", module, msgspec.json.encode(order).decode()]


async def under_fire(
    place: Throwaway,
    fire: Fire,
    *,
    events: Sequence[ChaosEvent] | None = None,
    command_of: CommandOf = struck_command,
    note: Callable[[str], None] = lambda _: None,
) -> Fought:
    """Post tasks to a fresh memory and have them worked on under fire until all are done.

    Args:
        events: by default those of the seed.
        command_of: of a worker process; a test puts a broken one in its place.

    Raises:
        Failed: the workers do not come up or do not end, or the tasks are not done in time.
    """
    url = (await place.memory.status(show_secrets=True)).redis.url
    settings = msgspec.structs.replace(place.memory.settings, redis=RedisSettings(url=url))
    blows = fire.events() if events is None else events
    logs = [place.directory / f"worker-{index}.notes" for index in range(fire.workers)]
    begin, stop = place.directory / "begin", place.directory / "stop"

    def command(index: int) -> Sequence[str]:
        order = StruckOrder(
            settings=settings,
            log=str(logs[index]),
            begin=str(begin),
            stop=str(stop),
            lease_seconds=fire.lease_seconds,
            concurrency=fire.concurrency,
        )
        return command_of(order)

    seen: list[Published] = []
    last = clock.new_id()
    async with (
        Worker.join(settings=settings) as poster,
        struck_processes(fire.workers, command) as processes,
    ):
        await _until_joined(logs)
        note(f"{fire.workers} workers are there, posting {fire.tasks:,} tasks")
        async with asyncio.TaskGroup() as group:
            following = group.create_task(_follow(poster, seen, until=last))
            posted = await _post(poster, fire)
            note(f"{len(blows)} blows to come")
            began = clock.monotonic()
            begin.touch()
            playing = group.create_task(_play(processes, blows))
            await _until_done(settings, fire.tasks, note)
            seconds = clock.monotonic() - began
            kills = await playing
            stop.touch()
            await processes.ended(within_seconds=_PATIENCE_SECONDS)
            # Nobody publishes any more: who has heard this has heard all.
            await poster.remember("all is done", tags=[STEP_TAG], id=last)
            async with asyncio.timeout(_PATIENCE_SECONDS):
                await following
    notes = [read_notes(log) for log in logs]
    return Fought(
        effects=await _checked(place.memory, settings, posted, seen, notes),
        kills=len(kills),
        workers_killed=len({one.worker for one in kills}),
        pauses=sum(one.blow is Blow.PAUSE for one in blows),
        seconds=round(seconds, 1),
        requeue_ms=requeue_delays(notes, kills),
    )


async def _checked(
    memory: Memory,
    settings: Settings,
    posted: Sequence[str],
    seen: Sequence[Published],
    notes: Sequence[Sequence[Note]],
) -> TaskEffects:
    tasks: list[StoredTask] = []
    after: str | None = ""
    while after is not None:
        page = await memory.tasks(after=after, limit=5_000)
        tasks += [StoredTask(one.task_id, one.state, one.result_finding_id) for one in page]
        after = page.next
    stored = [_published(line) async for line in memory.findings("0")]
    audited = await _counted(settings, "audit WHERE type = 'refusal' AND action = 'finish_task'")
    return check(posted, tasks, stored, seen, notes, audited=audited)


async def _counted(settings: Settings, rows: str) -> int:
    """How many such rows the store has: it is asked itself, and not through the bus."""
    store = settings.home_path / "spaces" / settings.space / STORE

    def count() -> int:
        with closing(sqlite3.connect(f"{store.as_uri()}?mode=ro", uri=True)) as connection:
            (number,) = connection.execute(f"SELECT count(*) FROM {rows}").fetchone()
            return int(number)

    return await asyncio.to_thread(count)


async def _post(poster: Worker, fire: Fire) -> list[str]:
    """The ids of the tasks, each durable: what was acknowledged must be done in the end."""
    chance = random.Random(fire.seed)
    data = [
        {
            "number": number,
            "seconds": round(fire.work_seconds * (0.5 + chance.random()), 4),
            "step_id": clock.new_id(),
        }
        for number in range(fire.tasks)
    ]
    waiting = iter(data)
    posted: list[str] = []

    async def post_on() -> None:
        for given in waiting:
            done = await poster.post("under fire", given, max_attempts=_MOST_ATTEMPTS)
            posted.append(done.task_id)

    async with asyncio.TaskGroup() as group:
        for _ in range(_POSTED_AT_ONCE):
            group.create_task(post_on())
    return posted


async def _follow(worker: Worker, seen: list[Published], *, until: str) -> None:
    async with aclosing(worker.follow("0")) as lines:
        async for line in lines:
            seen.append(_published(line))
            if seen[-1].finding_id == until:
                return


def _published(line: FindingLine) -> Published:
    given = line.finding
    return Published(given["finding_id"], given.get("task_id") or "", STEP_TAG not in given["tags"])


async def _play(processes: StruckProcesses, events: Sequence[ChaosEvent]) -> list[Kill]:
    """Strike at the times of the events, counted from now; when which worker was killed."""
    began = clock.monotonic()
    kills = []
    for event in events:
        ahead = began + event.at_seconds - clock.monotonic()
        if ahead > 0:
            await asyncio.sleep(ahead)
        if event.blow is Blow.KILL:
            kills.append(Kill(event.index, clock.stopwatch_ns()))
        await processes.strike(event)
    return kills


async def _until_joined(logs: Sequence[Path]) -> None:
    deadline = clock.monotonic() + _PATIENCE_SECONDS
    while not all(log.exists() and log.stat().st_size for log in logs):
        if clock.monotonic() > deadline:
            raise Failed(f"the workers have not joined after {_PATIENCE_SECONDS:.0f} s")
        await asyncio.sleep(_LOOK_SECONDS)


async def _until_done(settings: Settings, tasks: int, note: Callable[[str], None]) -> None:
    deadline = clock.monotonic() + _PATIENCE_SECONDS
    told = 0
    while (done := await _counted(settings, "task WHERE state = 'done'")) < tasks:
        if clock.monotonic() > deadline:
            raise Failed(f"{done:,} of {tasks:,} tasks are done in {_PATIENCE_SECONDS:.0f} s")
        if done * 10 // tasks > told:
            told = done * 10 // tasks
            note(f"{done:,} of {tasks:,} tasks are done")
        await asyncio.sleep(_LOOK_SECONDS)
