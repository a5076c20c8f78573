"""A bare Redis list as a task queue: the floor that the transport sets, without a guarantee."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from ifmem.benchmarks.measured_queue import Execute, Send, Work
from ifmem.bus.connection import connect
from ifmem.settings import RedisSettings

_NOWHERE = Path("/nonexistent")
"""With a URL given, the directory of an embedded server is not used."""
_WAIT_SECONDS = 0.2


@dataclass(frozen=True, slots=True)
class PlainList:
    """LPUSH, then BLMPOP by one coroutine."""

    batch: int = 1

    name = "plain-list"
    version = "of the server"
    delivery = "at most once"

    @property
    def settings(self) -> str:
        return f"LPUSH and BLMPOP of up to {self.batch}, nothing else"

    @asynccontextmanager
    async def sending(self, url: str, queue: str) -> AsyncIterator[Send]:
        server = await connect(RedisSettings(url=url), _NOWHERE)

        async def send(index: int, published_ns: int) -> None:
            await server.client.lpush(queue, msgspec.json.encode((index, published_ns)))

        try:
            yield send
        finally:
            await server.client.aclose()

    @asynccontextmanager
    async def working(self, url: str, queue: str, execute: Execute) -> AsyncIterator[Work]:
        server = await connect(RedisSettings(url=url), _NOWHERE)

        async def work(done: asyncio.Event) -> None:
            while not done.is_set():
                taken: Any = await server.client.blmpop(
                    _WAIT_SECONDS, 1, queue, direction="RIGHT", count=self.batch
                )
                for task in taken[1] if taken else ():
                    index, published_ns = msgspec.json.decode(task, type=tuple[int, int])
                    execute(index, published_ns)

        try:
            yield work
        finally:
            await server.client.aclose()
