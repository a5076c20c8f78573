"""What is where, alive and stored: lists and the status board, read from keys, never scanned."""

from __future__ import annotations

import asyncio
import os
import sqlite3
from collections.abc import Sequence
from datetime import datetime
from functools import partial
from typing import Any

import msgspec

from ifmem import clock
from ifmem.bus.connection import Server
from ifmem.bus.state import ShardState
from ifmem.domain.model import EXTRACTIVE
from ifmem.engine.hotness import Heat
from ifmem.engine.shard_models import model_of
from ifmem.errors import Unavailable
from ifmem.runtime.showing_librarians import librarian_shapes
from ifmem.runtime.space import Space
from ifmem.store import reports, shards, tasks
from ifmem.wire.calls import SourcesCall, StatusCall
from ifmem.wire.shapes import (
    Page,
    RedisShape,
    SemanticShape,
    ShardShape,
    SourceShape,
    Status,
    StoreShape,
    TaskCounts,
    WorkerShape,
)

_PATIENCE_SECONDS = 2.0
"""A board that is looked at to see what is wrong must not wait for it to be over."""


async def list_sources(space: Space, call: SourcesCall) -> Page[SourceShape]:
    """The documents of the space, in order of their source."""
    limit = max(1, min(call.limit, 10_000))
    rows = await space.read(
        partial(
            reports.sources_page,
            after=call.after,
            limit=limit,
            sources=call.filters.source,
            root=call.filters.root,
            group=call.filters.group,
            shard=call.shard,
        )
    )
    items = [
        SourceShape(
            source=row.source,
            sha256=row.sha256,
            kind=row.kind,
            tokens=row.tokens,
            passages=row.passages,
            shards=list(row.shards),
            bytes=row.bytes,
            loaded_at=row.loaded_at,
            group=row.group,
        )
        for row in rows
    ]
    return Page(items, next=rows[-1].source if len(rows) == limit else None)


async def list_shards(space: Space) -> Page[ShardShape]:
    """The shards as the bus has them."""
    _, states = await space.bus.shards()
    return Page(_shards(space, states))


async def list_workers(space: Space) -> Page[WorkerShape]:
    """The workers seen lately; one whose heartbeat has expired is dead."""
    return Page([WorkerShape(w.worker_id, w.alive, w.heartbeat) for w in await space.bus.workers()])


async def status(space: Space, server: Server, call: StatusCall, version: str) -> Status:
    """The status board: from the bus's keys, and from the store while the bus is away."""
    try:
        async with asyncio.timeout(_PATIENCE_SECONDS):
            board = await space.insist(partial(_on_bus, space))
    except (Unavailable, TimeoutError) as error:
        reason = getattr(error, "message", "the bus does not answer")
        board = await space.read(partial(_in_store, findings_stored=space.findings_stored))
        board["librarians"] = await librarian_shapes(space, on_bus=False)
        space.degraded = space.degraded or reason
    return Status(
        **board,
        redis=RedisShape(
            server.shown_url(show_secrets=call.show_secrets), server.embedded, server.version
        ),
        store=StoreShape(str(space.database.path), space.database.bytes_on_disk()),
        version=version,
        health="healthy" if space.degraded is None else f"degraded: {space.degraded}",
        daemon_pid=os.getpid(),
        semantic=_semantic(space),
    )


async def _on_bus(space: Space) -> dict[str, Any]:
    active, states = await space.bus.shards()
    workers = await list_workers(space)
    return {
        "context_active": active,
        "shards": _shards(space, states),
        "workers": workers.items,
        "librarians": await librarian_shapes(space, on_bus=True),
        "findings": await space.bus.findings.stored(),
        "tasks": msgspec.convert(await space.bus.task_counts(), TaskCounts),
    }


def _in_store(connection: sqlite3.Connection, *, findings_stored: int) -> dict[str, Any]:
    """What is known without the bus: nobody is known to live, so no shard is active."""
    counts = {str(state): count for state, count in tasks.counts(connection).items()}
    return {
        "context_active": 0,
        "shards": [
            ShardShape(one.number, str(one.speciality), one.capacity, one.tokens, False, 0, 0, None)
            for one in shards.all_shards(connection)
        ],
        "workers": [],
        "findings": findings_stored,
        "tasks": msgspec.convert(counts, TaskCounts),
    }


def _semantic(space: Space) -> SemanticShape:
    return SemanticShape(
        enabled=space.sentences is not None and not space.sentences.has_failed,
        embedded=0 if space.sentences is None else space.index.embedded_count(),
        passages=len(space.index),
    )


def _shards(space: Space, states: Sequence[ShardState]) -> list[ShardShape]:
    at = space.warmth.now()
    return [
        ShardShape(
            shard=state.number,
            speciality=state.speciality,
            capacity=state.capacity,
            tokens=state.tokens,
            active=state.active,
            documents=state.documents,
            generation=state.generation,
            worker=state.worker,
            **_hotness(space, state, at),
        )
        for state in states
    ]


def _hotness(space: Space, state: ShardState, at: datetime) -> dict[str, Any]:
    """What was last reported of a shard, by its model or the one that was asked last."""
    name = model_of(space.settings.models, state.number, state.speciality).model
    known = space.warmth.of_shard(name, state.number) or space.warmth.newest_of(state.number)
    if known is None:
        if name == EXTRACTIVE:
            return {}
        return {"model": name, "hot": str(Heat.COLD), "why_cold": "never asked"}
    heat = known.state(at)
    until = known.hot_until if heat is Heat.HOT else None
    return {
        "model": known.model,
        "hot": str(heat),
        "hot_until": None if until is None else clock.stamp(until),
        "why_cold": known.why_cold(at),
        "prefix_sha256": known.prefix_sha256,
        "prefix_tokens": known.prefix_tokens,
    }
