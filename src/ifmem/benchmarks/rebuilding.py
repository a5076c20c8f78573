"""How long a bus takes to be rebuilt from a store with many findings."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import msgspec

from ifmem.benchmarks.durability_blows import Blow, kill_server, kill_server_and_data
from ifmem.benchmarks.durability_load import DurabilityLoad
from ifmem.benchmarks.durability_rows import bus_rows, store_rows, until_settled
from ifmem.benchmarks.filled_store import fill
from ifmem.benchmarks.statistics import percentile
from ifmem.benchmarks.throwaway import throwaway
from ifmem.client import launch
from ifmem.client.memory import Memory
from ifmem.errors import IntegrityError


class Rebuild(msgspec.Struct, frozen=True):
    """A server killed beside a store of this size."""

    findings: int
    data: str
    """``kept``: the server reads its own; ``gone``: the bus is rebuilt from the store."""
    n: int
    p50_ms: float
    """From the kill to the acknowledgement of a write begun then."""
    max_ms: float


_BLOWS: dict[str, Blow] = {"kept": kill_server, "gone": kill_server_and_data}


async def rebuilds(
    findings: int, times: int, note: Callable[[str], None]
) -> tuple[list[Rebuild], dict[str, list[float]]]:
    """Kill the server of an idle memory that holds so many findings.

    Raises:
        IntegrityError: after a rebuild the bus shows something else than the store's newest.
    """
    raw: dict[str, list[float]] = {}
    async with throwaway() as place:
        settings = place.memory.settings
        await launch.stop(settings)
        await asyncio.to_thread(fill, settings.home_path, findings, note)
        async with Memory.open(settings=settings) as memory:
            load = DurabilityLoad(settings)
            for data, blow in _BLOWS.items():
                took = raw[f"rebuild_{findings}_{data}"] = []
                for number in range(times):
                    note(f"rebuild: {findings:,} findings, data {data}, {number + 1} of {times}")
                    await blow(place)
                    took.append(await load.probe())
                status = await memory.status(show_secrets=True)
                await until_settled(memory, status.redis.url)
                store = await asyncio.to_thread(store_rows, Path(status.store.path))
                bus = await bus_rows(status.redis.url, settings.findings.window)
                if bus.window != store.findings[-bus.limit :]:
                    raise IntegrityError("the rebuilt bus does not show the store's newest")
    figures = [
        Rebuild(findings, data, times, round(percentile(took, 0.5), 1), round(max(took), 1))
        for data, took in zip(_BLOWS, raw.values(), strict=True)
    ]
    return figures, raw
