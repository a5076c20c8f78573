"""What is in the store and on the bus when nothing is under way any more."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import cast

import msgspec

from ifmem import clock
from ifmem.benchmarks.durability_check import BusRows, FindingRow, StoreRows
from ifmem.bus.connection import connect
from ifmem.bus.replies import by_the_thousand
from ifmem.client.memory import Memory
from ifmem.errors import Failed, Unavailable
from ifmem.settings import RedisSettings
from ifmem.store import findings
from ifmem.wire import keys
from ifmem.wire.keys import Keys

_PATIENCE_SECONDS = 90.0
_LOOK_SECONDS = 0.05
_NOWHERE = Path("/nonexistent")
"""With a URL given, the directory of an embedded server is not used."""


async def until_settled(memory: Memory, url: str) -> None:
    """Wait until all is well, everything is committed and nobody holds a task.

    Raises:
        Failed: it does not come to that; the message says what is wrong.
    """
    deadline = clock.monotonic() + _PATIENCE_SECONDS
    while True:
        status = await memory.status()
        backlog = await _backlog(url)
        if status.health == "healthy" and not backlog and not status.tasks.leased:
            return
        if clock.monotonic() > deadline:
            raise Failed(
                f"it does not heal: {status.health}, {backlog} entries not committed, "
                f"{status.tasks.leased} tasks leased"
            )
        await asyncio.sleep(_LOOK_SECONDS)


async def bus_rows(url: str, limit: int) -> BusRows:
    """The bus's window and counters; ``limit`` is how many findings it may hold."""
    of = Keys().of
    server = await connect(RedisSettings(url=url), _NOWHERE)
    try:
        scored = cast(
            "list[tuple[bytes, float]]",
            await server.client.zrange(of(keys.FINDINGS), 0, -1, withscores=True),
        )
        window: list[FindingRow] = []
        for some in by_the_thousand(scored):
            ids = [one.decode() for one, _ in some]
            names = [of(keys.FINDING, uuid=one) for one in ids]
            bodies = cast("list[bytes | None]", await server.client.mget(names))
            window += [
                _row(int(number), one, body or b"{}")
                for one, (_, number), body in zip(ids, some, bodies, strict=True)
            ]
        counters = cast("dict[bytes, bytes]", await server.client.hgetall(of(keys.COUNTERS)))
        counted = {name.decode(): int(value) for name, value in counters.items()}
        return BusRows(window, limit, counted)
    finally:
        await server.aclose()


def store_rows(path: Path) -> StoreRows:
    """Everything that the store has of findings and tasks."""
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
        rows: Sequence[findings.StoredFinding] = findings.since(connection, sequence=0, limit=-1)
        states = dict(connection.execute("SELECT task_id, state FROM task").fetchall())
    return StoreRows([_row(one.sequence, one.finding_id, one.body) for one in rows], states)


def _row(sequence: int, finding_id: str, body: bytes) -> FindingRow:
    said = msgspec.json.decode(body)
    return FindingRow(sequence, finding_id, said.get("task_id"), said.get("claim", ""), body)


async def _backlog(url: str) -> int:
    try:
        server = await connect(RedisSettings(url=url), _NOWHERE)
    except Unavailable:
        return -1
    try:
        return int(await server.client.xlen(Keys().of(keys.LOG)))
    finally:
        await server.aclose()
