"""What is done to a running memory: its server or its daemon killed, its data gone or damaged."""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path

from ifmem import clock
from ifmem.benchmarks.throwaway import Throwaway
from ifmem.bus import embedded
from ifmem.bus.server_directory import DATA
from ifmem.client.memory import Memory
from ifmem.errors import Failed

_PATIENCE_SECONDS = 60.0
_LOOK_SECONDS = 0.005
_DAMAGE = b"\xff" * 512

Blow = Callable[[Throwaway], Awaitable[None]]


async def kill_server(place: Throwaway) -> None:
    """The embedded server is killed; its data stays."""
    os.kill(await _server_pid(place), signal.SIGKILL)


async def kill_server_and_data(place: Throwaway) -> None:
    """The embedded server is killed, and its successor finds nothing."""
    pid = await _server_pid(place)
    data, gone = _data(place), place.directory / clock.new_id()
    # Before the kill: whoever starts the next server may be faster than we are.
    data.rename(gone)
    os.kill(pid, signal.SIGKILL)
    await asyncio.to_thread(shutil.rmtree, gone)


async def kill_server_and_damage_data(place: Throwaway) -> None:
    """The embedded server is killed, and its successor refuses what it finds."""
    pid = await _server_pid(place)
    file = await _longest_log(_data(place))
    with file.open("r+b") as opened:
        opened.seek(file.stat().st_size // 2)
        opened.write(_DAMAGE)
    os.kill(pid, signal.SIGKILL)


async def kill_daemon(place: Throwaway) -> None:
    """The daemon is killed; the server goes on."""
    async with Memory.open(settings=place.memory.settings) as memory:
        pid = (await memory.status()).daemon_pid
    os.kill(pid, signal.SIGKILL)


async def a_moment(chance: random.Random) -> None:
    """A short time of random length, so that a blow strikes anywhere."""
    await asyncio.sleep(chance.uniform(0, 0.1))


async def _server_pid(place: Throwaway) -> int:
    bus = place.memory.settings.home_path / "bus"
    deadline = clock.monotonic() + _PATIENCE_SECONDS
    while (endpoint := await asyncio.to_thread(embedded.find, bus)) is None:
        if clock.monotonic() > deadline:
            raise Failed(f"no server runs in {bus}")
        await asyncio.sleep(_LOOK_SECONDS)
    return endpoint.pid


def _data(place: Throwaway) -> Path:
    return place.memory.settings.home_path / "bus" / DATA


async def _longest_log(data: Path) -> Path:
    """The append-only file that most was written to, when it has a middle to damage."""
    deadline = clock.monotonic() + _PATIENCE_SECONDS
    while True:
        sizes = await asyncio.to_thread(_log_sizes, data)
        if sizes and sizes[-1][0] > 4 * len(_DAMAGE):
            return sizes[-1][1]
        if clock.monotonic() > deadline:
            raise Failed(f"no append-only file to damage in {data}")
        await asyncio.sleep(_LOOK_SECONDS)


def _log_sizes(data: Path) -> list[tuple[int, Path]]:
    return sorted((file.stat().st_size, file) for file in data.rglob("*.incr.aof"))
