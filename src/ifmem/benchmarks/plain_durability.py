"""What a bare server loses of what it acknowledged when killed: the peer of ``durability``."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path

import msgspec

from ifmem import clock
from ifmem.benchmarks.bare_server import ALWAYS, EVERYSEC, NO_PERSISTENCE, bare_server
from ifmem.benchmarks.statistics import Latency, latency
from ifmem.bus.connection import connect
from ifmem.bus.replies import translated
from ifmem.errors import Unavailable
from ifmem.settings import RedisSettings

MODES: Mapping[str, Mapping[str, str]] = {
    "no persistence": NO_PERSISTENCE,
    "AOF everysec": EVERYSEC,
    "AOF always": ALWAYS,
}
_CLIENTS = 8
_VALUE = b"x" * 600
_NOWHERE = Path("/nonexistent")
"""With a URL given, the directory of an embedded server is not used."""


class PlainLoss(msgspec.Struct, frozen=True):
    """SETs that a bare server acknowledged, and how many of them are gone after its kill."""

    mode: str
    kills: int
    acknowledged: int
    lost: int
    set: Latency
    """From sending a SET to its answer, with eight clients."""


async def plain_loss(
    mode: str, directory: Path, *, kills: int, seconds: float
) -> tuple[PlainLoss, list[float]]:
    """Write for so many seconds before each kill; the figures, and milliseconds of each SET."""
    acknowledged: list[str] = []
    took: list[float] = []
    async with bare_server(directory, MODES[mode]) as server:
        for kill in range(kills):
            ended = asyncio.Event()
            async with asyncio.TaskGroup() as group:
                for client in range(_CLIENTS):
                    name = f"{kill}:{client}"
                    group.create_task(_set(server.url, name, ended, acknowledged, took))
                await asyncio.sleep(seconds)
                await server.kill()
                ended.set()
            await server.start()
        there = await _there(server.url, acknowledged)
    lost = len(acknowledged) - there
    return PlainLoss(mode, kills, len(acknowledged), lost, latency(took)), took


async def _set(
    url: str, name: str, ended: asyncio.Event, acknowledged: list[str], took: list[float]
) -> None:
    server = await connect(RedisSettings(url=url), _NOWHERE)
    try:
        number = 0
        while not ended.is_set():
            key = f"{name}:{number}"
            started = clock.stopwatch_ns()
            try:
                async with translated():
                    await server.client.set(key, _VALUE)
            except Unavailable:
                return
            took.append(clock.milliseconds_since(started))
            acknowledged.append(key)
            number += 1
    finally:
        await server.aclose()


async def _there(url: str, keys: list[str]) -> int:
    count = 0
    server = await connect(RedisSettings(url=url), _NOWHERE)
    try:
        for first in range(0, len(keys), 1_000):
            count += int(await server.client.exists(*keys[first : first + 1_000]))
    finally:
        await server.aclose()
    return count
