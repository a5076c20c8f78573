"""Looking over the keys of a space: only for ``doctor``, with SCAN, never on a hot path."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import cast

import msgspec
from redis.asyncio import Redis

from ifmem.wire import keys
from ifmem.wire.keys import KeyKind, Keys


@dataclass(frozen=True, slots=True)
class ForeignKey:
    """A key at one of our names that does not have our type."""

    name: str
    found: str
    wanted: str


async def foreign_keys(client: Redis, space: Keys) -> list[ForeignKey]:
    """Every key of the space whose type is not the one of its family."""
    families = [
        (re.compile(_as_pattern(kind)), kind) for kind in keys.ALL if kind.type != "channel"
    ]
    foreign = []
    async for raw in client.scan_iter(match=space.prefix + "*", count=1000):
        name = raw.decode("utf-8", "replace")
        kind = next((k for p, k in families if p.fullmatch(name[len(space.prefix) :])), None)
        if kind is None:
            continue
        found = cast("bytes", await client.type(raw)).decode()
        if found != kind.type:
            foreign.append(ForeignKey(name, found, kind.type))
    return foreign


async def remove_keys(client: Redis, names: Sequence[str]) -> None:
    """Delete these keys."""
    if names:
        await client.delete(*names)


async def record(
    client: Redis,
    space: Keys,
    *,
    at: datetime,
    scan: str,
    foreign: Sequence[ForeignKey],
    actions: Sequence[str],
) -> None:
    """Write what a scan found to a ``swarm:remediation:*`` record, kept for 30 days."""
    body = {
        "wrongtype_found": [f.name for f in foreign],
        "actions_taken": [f"removed {name}" for name in actions],
    }
    name = space.of(keys.REMEDIATION, date=at.date().isoformat(), scan=scan)
    await client.set(name, msgspec.json.encode(body), ex=30 * 86_400)


def _as_pattern(kind: KeyKind) -> str:
    return re.sub(r"\\\{\w+\\\}", "[^:]+", re.escape(kind.pattern))
