"""Opening a space: its store, the index built from it, and the bus put right from it."""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path

from ifmem import clock
from ifmem.bus.bus import Bus
from ifmem.bus.connection import Server
from ifmem.index.sentence_encoder import SentenceEncoder
from ifmem.index.space_index import SpaceIndex
from ifmem.runtime.contexts import Contexts
from ifmem.runtime.indexing import open_index, write_index
from ifmem.runtime.publishing import Publisher
from ifmem.runtime.space import Space
from ifmem.settings import Settings
from ifmem.store import findings, meta, shards
from ifmem.store.database import Database

STORE = "store.sqlite"


async def open_space(
    name: str,
    *,
    home: Path,
    settings: Settings,
    server: Server,
    worker_id: str,
    sentences: SentenceEncoder | None = None,
    adopt: bool = False,
) -> Space:
    """The space, ready to answer.

    Raises:
        NotPermitted: its keys on the bus belong to another store.
        Failed: its store is damaged or was made by a newer ifmem.
    """
    directory = home / "spaces" / name
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    database = await asyncio.to_thread(Database, directory / STORE)
    try:
        return await _opened(
            name, directory, settings, server, worker_id, sentences, adopt, database
        )
    except BaseException:
        await asyncio.to_thread(database.close)
        raise


async def _opened(
    name: str,
    directory: Path,
    settings: Settings,
    server: Server,
    worker_id: str,
    sentences: SentenceEncoder | None,
    adopt: bool,
    database: Database,
) -> Space:
    def prepare(connection: sqlite3.Connection) -> str:
        shards.open_default_shards(connection, settings.shards.capacity)
        return meta.store_id(connection, new=clock.new_id())

    store_id = await asyncio.wrap_future(database.write(prepare))
    bus = Bus(server.client, name)
    await bus.claim(store_id, adopt=adopt)
    space = Space(
        name=name,
        directory=directory,
        settings=settings,
        store_id=store_id,
        worker_id=worker_id,
        database=database,
        index=SpaceIndex(sentences),
        bus=bus,
        publisher=Publisher(database, bus, worker_id),
        contexts=Contexts(bus),
        sentences=sentences,
    )
    await open_index(space)
    space.findings_stored = await space.read(findings.count)
    await publish_space(space)
    return space


async def publish_space(space: Space) -> None:
    """Put everything that the bus shows of the space right, whatever it showed before."""
    await space.bus.put_librarians()
    await space.bus.beat(space.worker_id, expiry_seconds=space.settings.worker.expiry_seconds)
    await space.publisher.publish_all()
    window = space.settings.findings.window
    newest = await space.read(lambda connection: findings.newest(connection, window))
    await space.bus.restore_findings(
        [(one.finding_id, one.sequence, one.body) for one in newest],
        stored=space.findings_stored,
    )
    space.degraded = None


async def close_space(space: Space, *, leave: bool) -> None:
    """Finish what was begun and close the store; ``leave`` takes the worker off the bus."""
    async with space.loading:
        await space.settle()
    if leave:
        numbers = [shard.number for shard in await space.read(shards.all_shards)]
        await space.tell_bus(_leave(space, numbers))
    await write_index(space)
    await asyncio.to_thread(space.database.close)


async def _leave(space: Space, numbers: list[int]) -> None:
    await space.bus.set_active(numbers, active=False)
    await space.bus.leave(space.worker_id)
