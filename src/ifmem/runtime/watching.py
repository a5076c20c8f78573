"""Watching a space for a caller: which findings, shards and totals changed, as it happens.

Findings are told once the store has committed them, so who is told can read them at once. Shards
are looked at when this daemon published some, and now and then: workers elsewhere take and give
them back without saying so.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NoReturn, Protocol

from ifmem import clock
from ifmem.bus.state import ShardState
from ifmem.errors import Unavailable
from ifmem.runtime.space import Space
from ifmem.runtime.watchers import Noted
from ifmem.store import findings
from ifmem.wire.agent_calls import WatchCall

LOOK_SECONDS = 2.0
"""Between looks at the shards that nothing in this process asked for."""
_PAGE = 200


class Emit(Protocol):
    """Sends events to the caller, as ``listening.Emitter`` does."""

    def __call__(self, event: dict[str, Any]) -> None: ...

    async def drained(self) -> None: ...


async def watch(space: Space, call: WatchCall, emit: Emit) -> dict[str, Any]:
    """Tell the caller what changes until it goes away or the daemon ends.

    The first event says that it watches: everything after it is told. A caller that does not read
    is waited for; then one event may stand for many changes of the same shard.

    Raises:
        Unavailable: more was forgotten than is kept for a caller that does not read; watch again.
    """
    with space.watchers.watching() as noted:
        cursor = await space.read(findings.last_sequence)
        shards = _Shards(space)
        await shards.changed()
        emit({"watching": {}})
        try:
            await _tell(space, noted, cursor, shards, emit)
        except asyncio.CancelledError:
            # Somebody ended the daemon; a caller that is still there waits for the next.
            emit({"ending": {}})
            raise
        except ConnectionError:
            # The caller has gone; whoever reads its calls notices as well.
            return {}


async def _tell(space: Space, noted: Noted, cursor: int, shards: _Shards, emit: Emit) -> NoReturn:
    look_at = clock.monotonic() + LOOK_SECONDS
    while True:
        noted.stirred.clear()
        await _tell_forgotten(noted, emit)
        cursor = await _tell_findings(space, cursor, emit)
        if noted.shards or clock.monotonic() >= look_at:
            await _tell_shards(shards, noted, emit)
            look_at = clock.monotonic() + LOOK_SECONDS
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, look_at - clock.monotonic())):
                await noted.stirred.wait()


async def _tell_forgotten(noted: Noted, emit: Emit) -> None:
    if noted.overflowed:
        raise Unavailable("too much was forgotten while nobody looked: watch again")
    forgotten, noted.forgotten = noted.forgotten, {}
    for finding_id, sequence in forgotten.items():
        emit(_of_finding(finding_id, sequence))
        await emit.drained()


async def _tell_findings(space: Space, cursor: int, emit: Emit) -> int:
    """Tell of those after a cursor; the cursor of the last."""
    while rows := await space.read(partial(findings.since, sequence=cursor, limit=_PAGE)):
        for row in rows:
            emit(_of_finding(row.finding_id, row.sequence))
            cursor = row.sequence
        await emit.drained()
    return cursor


async def _tell_shards(shards: _Shards, noted: Noted, emit: Emit) -> None:
    published, noted.shards = noted.shards, set()
    look = await shards.changed()
    if look is None:
        # The bus is away: what was noted is told once it is back.
        noted.shards |= published
        return
    for number in sorted(published | look.shards):
        emit({"changed": {"shard": number}})
    if look.context is not None:
        emit({"changed": {"context": look.context}})
    await emit.drained()


@dataclass(frozen=True, slots=True)
class _Look:
    """What differs from the look before."""

    shards: set[int]
    context: int | None
    """The new total; None when it is the same."""


@dataclass
class _Shards:
    """The shards as they were last seen."""

    space: Space
    _seen: Mapping[int, ShardState] = field(default_factory=dict)
    _total: int | None = None

    async def changed(self) -> _Look | None:
        """What changed since the last look; None when the bus does not answer."""
        try:
            total, states = await self.space.bus.shards()
        except Unavailable:
            return None
        now = {state.number: state for state in states}
        numbers = now.keys() | self._seen.keys()
        changed = {n for n in numbers if now.get(n) != self._seen.get(n)}
        look = _Look(changed, None if total == self._total else total)
        self._seen, self._total = now, total
        return look


def _of_finding(finding_id: str, sequence: int) -> dict[str, Any]:
    return {"changed": {"finding": finding_id, "cursor": str(sequence)}}
