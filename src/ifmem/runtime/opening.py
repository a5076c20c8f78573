"""Opening a space: its store, the index built from it, and the bus it is attached to."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from pathlib import Path

from ifmem import clock
from ifmem.bus.bus import Bus
from ifmem.bus.connection import Server, blocking, load_everywhere, subscriber
from ifmem.bus.feed import Feed
from ifmem.bus.server_side import library_source
from ifmem.errors import IfMemError
from ifmem.index.sentence_encoder import SentenceEncoder
from ifmem.index.space_index import SpaceIndex
from ifmem.llm.registry import Models
from ifmem.runtime.accounts import LedgerAccounts
from ifmem.runtime.attaching import attach
from ifmem.runtime.calibrating import Calibration
from ifmem.runtime.contexts import Contexts
from ifmem.runtime.draining import drain, drain_all
from ifmem.runtime.following import read_older
from ifmem.runtime.forgetting_depth import drop_snapshots
from ifmem.runtime.indexing import open_index, write_index
from ifmem.runtime.publishing import Publisher
from ifmem.runtime.quotas import Quotas
from ifmem.runtime.showing_librarians import hide_librarians
from ifmem.runtime.space import Space
from ifmem.runtime.warming import Warmth
from ifmem.runtime.watchers import Watchers
from ifmem.settings import Settings
from ifmem.store import findings, forgettable, meta, shards
from ifmem.store.database import Database

STORE = "store.sqlite"


async def open_space(
    name: str,
    *,
    home: Path,
    settings: Settings,
    server: Server,
    worker_id: str,
    models: Models,
    quotas: Quotas,
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
            name, directory, settings, server, worker_id, models, quotas, sentences, adopt, database
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
    models: Models,
    quotas: Quotas,
    sentences: SentenceEncoder | None,
    adopt: bool,
    database: Database,
) -> Space:
    def prepare(connection: sqlite3.Connection) -> str:
        shards.open_default_shards(connection, settings.shards.capacity)
        return meta.store_id(connection, new=clock.new_id())

    store_id = await asyncio.wrap_future(database.write(prepare))
    keys = server.keys(name)
    reached = server.for_space(keys)
    bus = Bus(reached.client, keys, blocking=blocking(reached))
    await load_everywhere(reached, library_source())
    subscription = subscriber(reached)
    accounts = LedgerAccounts(database, settings.budget)
    watchers = Watchers()
    space = Space(
        name=name,
        directory=directory,
        settings=settings,
        store_id=store_id,
        worker_id=worker_id,
        bridge_id=clock.new_id(),
        database=database,
        index=SpaceIndex(sentences),
        archive=SpaceIndex(sentences),
        server=reached,
        bus=bus,
        feed=Feed(
            bus.client,
            bus.findings,
            subscription,
            read_older=lambda after, limit: read_older(space, after, limit),
        ),
        publisher=Publisher(database, bus, worker_id, on_published=watchers.on_published),
        contexts=Contexts(bus),
        accounts=accounts,
        calibration=Calibration(database),
        models=models,
        warmth=Warmth(
            database,
            accounts,
            models.price,
            name=f"{name}-{store_id[:8]}",
            keep_hot=settings.models.keep_hot,
        ),
        quotas=quotas,
        sentences=sentences,
        watchers=watchers,
    )
    if await space.read(forgettable.is_due):
        await asyncio.to_thread(drop_snapshots, space)
    await open_index(space)
    space.findings_stored = await space.read(findings.count)
    await attach(space, adopt=adopt)
    await space.accounts.lose_all_intents()
    return space


async def close_space(space: Space, *, leave: bool) -> None:
    """Finish what was begun and close the store; ``leave`` takes the bridge off the bus."""
    async with space.loading:
        # Whoever loads or ends a session is done with it; steps that are left may need the lock.
        pass
    await _settle(space)
    if leave:
        await space.tell_bus(_leave(space))
    await write_index(space)
    await asyncio.to_thread(space.database.close)


async def _settle(space: Space) -> None:
    """Wait for the steps whose callers went away; some of them wait for the store's commit."""

    async def drain_on() -> None:
        await space.tell_bus(drain(space))

    draining = asyncio.ensure_future(drain_on())
    try:
        await space.settle()
    finally:
        draining.cancel()
        with contextlib.suppress(asyncio.CancelledError, IfMemError):
            await draining
    await space.settle()


async def _leave(space: Space) -> None:
    """Commit what is in the log, and give back what others may take over."""
    await drain_all(space)
    for shard in await space.read(shards.all_shards):
        await space.bus.set_ready(shard.number, space.worker_id, active=False)
    await hide_librarians(space)
    await space.bus.leave(space.worker_id)
    await space.bus.ownership.leave(space.lease)
