"""One size of ``bench scale``: the daemon started on a filled store, and asked."""

from __future__ import annotations

import random
import re
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import cast

import msgspec

from ifmem import clock
from ifmem.benchmarks.filled_store import PER_TASK, task_of
from ifmem.benchmarks.statistics import Latency, latency
from ifmem.bus.connection import Server, connect
from ifmem.client import launch
from ifmem.client.memory import Memory
from ifmem.errors import Failed, IntegrityError, Unavailable
from ifmem.settings import FindingSettings, RedisSettings, RetrievalSettings, Settings
from ifmem.wire import keys
from ifmem.wire.keys import Keys

DEFAULT, LIFTED = "default", "lifted"
_LIFTED_TO = 10_000_000
VERBS = ("status", "claim", "findings since", "findings of a task", "remember")
SCANS = frozenset({"keys", "scan", "sscan", "hscan", "zscan"})
_WARM_UP = 20
_SEED = 3
_START_SECONDS = 3_600.0
"""The daemon reads every finding for its index before it answers."""
_NOWHERE = Path("/nonexistent")


class Used(msgspec.Struct, frozen=True):
    """A command as the server counted it."""

    calls: int
    usec_per_call: float


class Point(msgspec.Struct, frozen=True):
    """A number of findings with a window."""

    findings: int
    window: str
    latencies: dict[str, Latency]
    """End to end, by verb."""
    commands: dict[str, Used]
    """What the server was asked during the measured calls, also by its functions."""
    scans: int
    first_start_s: float | None
    """Until the daemon answers, its index built from the store; None when it was there before."""
    later_start_s: float
    """With the copy of the index that the daemon wrote as it ended."""
    daemon_mb: float | None
    """Resident memory of the daemon after the calls."""
    on_bus: int
    """Findings in the window."""
    server_bytes: int
    server_bytes_per_finding: float
    """Of those in the window."""
    store_bytes: int
    json_bytes: int

    @property
    def name(self) -> str:
        """As reports say it."""
        return f"{self.findings:,}" + (", window lifted" if self.window == LIFTED else "")


async def measured(
    home: Path,
    size: int,
    window: str,
    n: int,
    json_bytes: int,
    note: Callable[[str], None],
) -> tuple[Point, dict[str, list[float]]]:
    """Start the daemon on a filled home, ask, and end it."""
    settings = Settings(
        home=str(home),
        retrieval=RetrievalSettings(semantic="off"),
        findings=FindingSettings(window=_LIFTED_TO) if window == LIFTED else FindingSettings(),
    )
    first = None
    try:
        if not (home / "daemon.log").exists():
            first = await _start(settings)
            note(f"first start: {first:.1f} s")
            await launch.stop(settings)
        later = await _start(settings)
        note(f"later start: {later:.1f} s")
        async with Memory.open(settings=settings) as memory:
            status = await memory.status(show_secrets=True)
            server = await connect(RedisSettings(url=status.redis.url), _NOWHERE)
            try:
                on_bus = int(await server.client.zcard(Keys().of(keys.FINDINGS)))
                # What a daemon publishes at its start is not what is asked often.
                used = await _used_memory(server)
                samples, commands = await _asked(memory, server, size, n)
            finally:
                await server.aclose()
            status = await memory.status()
            mb = _resident_mb(status.daemon_pid)
    finally:
        await launch.stop(settings)
    point = Point(
        findings=size,
        window=window,
        latencies={verb: latency(took) for verb, took in samples.items()},
        commands=commands,
        scans=sum(of.calls for name, of in commands.items() if name.split("|")[0] in SCANS),
        first_start_s=first,
        later_start_s=later,
        daemon_mb=mb,
        on_bus=on_bus,
        server_bytes=used,
        server_bytes_per_finding=round(used / max(1, on_bus), 1),
        store_bytes=status.store.bytes,
        json_bytes=json_bytes,
    )
    return point, samples


async def _start(settings: Settings) -> float:
    """Seconds until a daemon that was not there answers, as long as that takes."""
    started = clock.stopwatch_ns()
    deadline = clock.monotonic() + _START_SECONDS
    while True:
        try:
            await (await launch.connect(settings)).close()
        except Unavailable as error:
            if clock.monotonic() > deadline:
                raise Failed(f"the daemon does not start: {error.message}") from error
            continue
        return round(clock.milliseconds_since(started) / 1000, 2)


async def _asked(
    memory: Memory, server: Server, size: int, n: int
) -> tuple[dict[str, list[float]], dict[str, Used]]:
    """Milliseconds of each call by verb, and what the server was asked meanwhile."""
    chance = random.Random(_SEED)

    async def status() -> None:
        if (await memory.status()).findings < size:
            raise IntegrityError("status counts fewer findings than there are")

    async def claim() -> None:
        if await memory.claim("bench") is None:
            raise IntegrityError("a claim found no task, and there was one")

    async def since() -> None:
        cursor = chance.randrange(max(1, size - PER_TASK))
        lines = [line async for line in memory.findings(str(cursor), limit=PER_TASK)]
        if [int(line.cursor) for line in lines] != list(range(cursor + 1, cursor + PER_TASK + 1)):
            raise IntegrityError(f"what follows the cursor {cursor} is not what was stored")

    async def of_a_task() -> None:
        task = task_of(chance.randrange(size), size)
        found = [line.finding["task_id"] async for line in memory.findings(task=task)]
        if found != [task] * PER_TASK:
            raise IntegrityError(f"{task} has {len(found)} findings, not {PER_TASK}")

    async def remember() -> None:
        await memory.remember("A crate was weighed once more.")

    verbs: Mapping[str, Callable[[], Awaitable[None]]] = dict(
        zip(VERBS, (status, claim, since, of_a_task, remember), strict=True)
    )
    for number in range(n + _WARM_UP):
        await memory.post(f"Weigh crate {number}")
    for ask in verbs.values():
        for _ in range(_WARM_UP):
            await ask()
    before = await _commands(server)
    samples: dict[str, list[float]] = {verb: [] for verb in verbs}
    # The verbs take turns, so that other work on the machine strikes all alike.
    for _ in range(n):
        for verb, ask in verbs.items():
            started = clock.stopwatch_ns()
            await ask()
            samples[verb].append(clock.milliseconds_since(started))
    return samples, _between(before, await _commands(server))


async def _commands(server: Server) -> dict[str, tuple[int, int]]:
    """Calls and microseconds of each command since the server started."""
    said = await server.client.info("commandstats")
    return {
        name.removeprefix("cmdstat_"): (int(of["calls"]), int(of["usec"]))
        for name, of in cast("dict[str, dict[str, float]]", said).items()
    }


def _between(
    before: Mapping[str, tuple[int, int]], after: Mapping[str, tuple[int, int]]
) -> dict[str, Used]:
    used = {}
    for name, (calls, usec) in after.items():
        calls_before, usec_before = before.get(name, (0, 0))
        if calls > calls_before:
            each = (usec - usec_before) / (calls - calls_before)
            used[name] = Used(calls - calls_before, round(each, 2))
    return used


async def _used_memory(server: Server) -> int:
    """Bytes that the server holds beyond those of its start."""
    about = await server.client.info("memory")
    return int(about["used_memory"]) - int(about["used_memory_startup"])


def _resident_mb(pid: int) -> float | None:
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace")
    except OSError:
        return None
    found = re.search(r"VmRSS:\s+(\d+) kB", status)
    return None if found is None else round(int(found[1]) * 1024 / 1e6, 1)
