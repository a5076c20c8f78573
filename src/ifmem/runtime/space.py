"""An open space: its store, index and bus, and the one way a change goes through all three."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from ifmem.bus.bus import Bus
from ifmem.errors import Unavailable
from ifmem.index.sentence_encoder import SentenceEncoder
from ifmem.index.space_index import SpaceIndex
from ifmem.runtime.contexts import Contexts
from ifmem.runtime.publishing import Publisher
from ifmem.runtime.saving import Changes
from ifmem.settings import Settings
from ifmem.store import contents
from ifmem.store.database import Database

T = TypeVar("T")

_SEARCHES = 1
"""Steps of searches that run at once in a space."""


@dataclass
class Space:
    """Everything about one space that the daemon has open.

    A change goes to the store first, and is acknowledged only after that; then to the index, so
    that the next recall finds it; then to the bus, which is put right from the store whenever it
    could not be told.
    """

    name: str
    directory: Path
    settings: Settings
    store_id: str
    worker_id: str
    database: Database
    index: SpaceIndex
    bus: Bus
    publisher: Publisher
    contexts: Contexts
    sentences: SentenceEncoder | None = None
    """The encoder of the extra ``semantic``; None when that is off or not installed."""
    loading: asyncio.Lock = field(default_factory=asyncio.Lock)
    """One load at a time; searches and findings go on beside it."""
    findings_stored: int = 0
    """Findings in the log."""
    degraded: str | None = None
    """Why the bus's picture may be behind the store's."""
    _computing: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(_SEARCHES))
    _unfinished: set[asyncio.Task[Any]] = field(default_factory=set)

    async def write(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Commit ``work``; its result once it is durable."""
        return await asyncio.wrap_future(self.database.write(work))

    async def read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """What ``work`` reads, off the event loop."""
        return await asyncio.to_thread(self.database.read, work)

    async def compute(self, step: Callable[..., T], *args: Any, **named: Any) -> T:
        """Run a step of a search off the event loop, one at a time.

        Searches are bound by the interpreter lock. Measured with eight callers: recall p50 48 ms
        with a thread each, 33 with two, 28 with one.
        """
        async with self._computing:
            return await asyncio.to_thread(step, *args, **named)

    async def change(self, work: Callable[[sqlite3.Connection], Changes]) -> Changes:
        """Commit a change of documents, then tell the index and the bus of it."""
        return await self.finish(self._change(work))

    async def finish(self, step: Coroutine[Any, Any, T]) -> T:
        """Run a step to its end even when the caller goes away half way."""
        task = asyncio.ensure_future(step)
        self._unfinished.add(task)
        task.add_done_callback(self._unfinished.discard)
        return await asyncio.shield(task)

    async def tell_bus(self, step: Coroutine[Any, Any, None]) -> None:
        """Do a step on the bus; when it cannot be reached, mark the space as degraded instead."""
        try:
            await step
        except Unavailable as error:
            self.degraded = error.message

    async def settle(self) -> None:
        """Wait for the steps whose callers went away."""
        while self._unfinished:
            await asyncio.wait(self._unfinished)

    async def _change(self, work: Callable[[sqlite3.Connection], Changes]) -> Changes:
        changes = await self.write(work)
        await asyncio.to_thread(self._index, changes)
        self.publisher.void(changes.rewritten)
        await self.tell_bus(self.publisher.publish(changes.shards | changes.rewritten))
        return changes

    def _index(self, changes: Changes) -> None:
        self.index.remove(changes.removed)
        for content_id in changes.added:
            read = partial(contents.passages_of, content_id=content_id)
            self.index.add(self.database.read(read))
