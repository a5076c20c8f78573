"""One series of blows against a memory under load, and what had to be checked after it."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from pathlib import Path

import msgspec

from ifmem.benchmarks.bare_server import EVERYSEC, bare_server, free_port
from ifmem.benchmarks.durability_blows import Blow, a_moment
from ifmem.benchmarks.durability_check import Breaches, Told, check
from ifmem.benchmarks.durability_load import DurabilityLoad, durability_load
from ifmem.benchmarks.durability_rows import bus_rows, store_rows, until_settled
from ifmem.benchmarks.fault_proxy import Faults, fault_proxy
from ifmem.benchmarks.statistics import Latency, latency
from ifmem.benchmarks.throwaway import Throwaway, throwaway
from ifmem.client.memory import Memory
from ifmem.settings import BusSettings, FindingSettings, RedisSettings, Settings

WINDOW = 500
"""Small, so that trimming to the window happens under the blows as well."""
_BETWEEN = (20, 60)
"""Acknowledged writes from one blow to the next."""

FAULTS: dict[str, Faults] = {
    "latency": Faults(latency_s=0.1),
    "half-open, requests lost": Faults(swallow="requests"),
    "half-open, answers lost": Faults(swallow="answers"),
    "black hole": Faults(black_hole=True),
    "cut": Faults(cut_after=20_000),
}
RESET = "reset"
_RESETS = 5


class Series(msgspec.Struct, frozen=True):
    """One kind of blow, dealt so many times."""

    name: str
    blows: int
    acknowledged: int
    """Findings, posted tasks and completions that were told to be durable."""
    unknown: int
    """Answers that said so; some of them were repeated and then settled."""
    refused: int
    stored: int
    """Findings in the store at the end."""
    tasks: int
    breaches: Breaches
    recovery: Latency
    """From the blow (or the end of the fault) to the acknowledgement of a write begun then."""


async def struck(
    name: str, blow: Blow, times: int, *, seed: int, note: Callable[[str], None]
) -> tuple[Series, list[float]]:
    """Deal a blow so many times to a memory with an embedded server."""
    chance = random.Random(seed)
    took: list[float] = []
    async with throwaway(Settings(findings=FindingSettings(window=WINDOW))) as place:
        async with durability_load(place.memory.settings) as load:
            for number in range(times):
                note(f"{name}: {number + 1} of {times}")
                await load.more(chance.randint(*_BETWEEN))
                await a_moment(chance)
                await blow(place)
                took.append(await load.probe())
            await load.more(_BETWEEN[1])
        series = await _series(name, times, place, load, took)
    return series, took


async def partitioned(
    directory: Path, rounds: int, seconds: float, *, seed: int, note: Callable[[str], None]
) -> tuple[Series, list[float]]:
    """Spoil the daemon's way to an external server, each fault so many times for so long."""
    chance = random.Random(seed)
    port, took = free_port(), list[float]()
    async with (
        bare_server(directory, EVERYSEC, port=port),
        fault_proxy(("127.0.0.1", port)) as proxy,
    ):
        assert isinstance(proxy.place, tuple)
        settings = Settings(
            findings=FindingSettings(window=WINDOW),
            redis=RedisSettings(url=f"redis://127.0.0.1:{proxy.place[1]}/0"),
            # Shorter than the faults, so that outcomes become unknown as well.
            bus=BusSettings(outage_seconds=seconds / 2, commit_seconds=seconds / 2),
        )
        async with throwaway(settings) as place:
            async with durability_load(place.memory.settings) as load:
                for number in range(rounds):
                    for fault in (RESET, *FAULTS):
                        note(f"partition: {fault}, {number + 1} of {rounds}")
                        await load.more(_BETWEEN[0])
                        if fault == RESET:
                            for _ in range(_RESETS):
                                proxy.reset()
                                await asyncio.sleep(seconds / _RESETS * chance.random())
                        else:
                            proxy.spoil(FAULTS[fault])
                            await asyncio.sleep(seconds)
                        proxy.heal()
                        took.append(await load.probe())
                await load.more(_BETWEEN[1])
            url = f"redis://127.0.0.1:{port}/0"
            times = rounds * (1 + len(FAULTS))
            series = await _series("partition", times, place, load, took, url=url)
    return series, took


async def _series(
    name: str,
    blows: int,
    place: Throwaway,
    load: DurabilityLoad,
    took: list[float],
    *,
    url: str | None = None,
) -> Series:
    # A new connection: the first one may have gone with its daemon.
    async with Memory.open(settings=place.memory.settings) as memory:
        status = await memory.status(show_secrets=True)
        url = url or status.redis.url
        await until_settled(memory, url)
        status = await memory.status(show_secrets=True)
        store = await asyncio.to_thread(store_rows, Path(status.store.path))
        bus = await bus_rows(url, WINDOW)
    return Series(
        name=name,
        blows=blows,
        acknowledged=_acknowledged(load.told),
        unknown=load.told.unknown_answers,
        refused=load.told.refused_answers,
        stored=len(store.findings),
        tasks=len(store.task_states),
        breaches=check(load.told, store, bus, searchable=status.semantic.passages),
        recovery=latency(took),
    )


def _acknowledged(told: Told) -> int:
    return len(told.acknowledged) + len(told.posted) + len(told.completions)
