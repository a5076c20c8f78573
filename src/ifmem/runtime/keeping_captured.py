"""The life of what was captured: stored in the background, removed in time or on request."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from datetime import timedelta
from functools import partial

from ifmem import clock
from ifmem.engine.capturing import due_before, local_space
from ifmem.errors import IfMemError
from ifmem.runtime import captured_spool
from ifmem.runtime.capturing import store
from ifmem.runtime.forgetting_depth import finish, follow_up
from ifmem.runtime.forgetting_rows import Erased, Told, erase_documents
from ifmem.runtime.saving import remove
from ifmem.runtime.space import Space
from ifmem.store import captured
from ifmem.wire.agent_calls import ForgetCapturedCall, ForgottenCaptured

log = logging.getLogger(__name__)

_LOOK = timedelta(days=1)
_AT_ONCE = 200
"""Documents removed by one transaction."""


async def keep_captured(space: Space) -> None:
    """Store what waits to be captured and end what was kept long enough, until cancelled."""
    async with asyncio.TaskGroup() as group:
        group.create_task(_store_waiting(space))
        group.create_task(_retire(space))


async def forget_captured(space: Space, call: ForgetCapturedCall) -> ForgottenCaptured:
    """Remove what was captured here and in the local space, and what still waits to be."""
    since = call.since or ""
    home = space.settings.home_path
    space.captures.forget(since)
    await asyncio.to_thread(captured_spool.forget, home, space.name, since)
    async with space.captures.storing:
        gone = sum([await _forget(one, since=since) for one in await _both(space)])
    return ForgottenCaptured(gone)


async def retire(space: Space) -> int:
    """Remove what was captured longer ago than it is to be kept; the number of documents."""
    before = clock.stamp(due_before(clock.now(), space.settings.capture.retention_days))
    return sum([await _remove(one, before=before) for one in await _both(space)])


async def _both(space: Space) -> list[Space]:
    local = await space.beside(local_space(space.name), False)
    return [space] if local is None else [space, local]


async def _store_waiting(space: Space) -> None:
    while True:
        await space.captures.filled()
        async with space.captures.storing:
            calls = space.captures.take()
            try:
                await store(space, calls)
            except Exception:
                # Nobody waits for these: what is odd about one must not end all that follow.
                log.exception("%d events were not captured", len(calls))


async def _retire(space: Space) -> None:
    while True:
        try:
            if gone := await retire(space):
                log.info("%d captured documents of space %s were due", gone, space.name)
        except IfMemError as error:
            log.warning("captured documents wait to be removed: %s", error.message)
        except Exception:
            log.exception("removing captured documents of space %s", space.name)
        await asyncio.sleep(_LOOK.total_seconds())


async def _forget(space: Space, *, since: str) -> int:
    """Remove what was captured, with the quotes of it in findings; it may be captured again."""
    total = Erased()
    try:
        while chosen := await space.read(partial(captured.sources, since=since)):
            async with space.loading:
                total.add(await space.finish(_erased(space, chosen[:_AT_ONCE])))
    finally:
        if not total.is_empty:
            await space.finish(finish(space, total))
    return len(total.sources)


async def _erased(space: Space, sources: Sequence[str]) -> Erased:
    told = Told(by=space.worker_id, at=clock.stamp(clock.now()))
    work = partial(erase_documents, sources=sources, told=told, lasting=False)
    erased = await space.write(work)
    await follow_up(space, erased)
    return erased


async def _remove(space: Space, *, before: str) -> int:
    gone = Erased()
    while chosen := await space.read(partial(captured.sources, before=before)):
        some: Sequence[str] = chosen[:_AT_ONCE]
        async with space.loading:
            changes = await space.change(partial(remove, sources=some))
        gone.sources += changes.sources
        gone.shards |= changes.shards
    if gone.sources:
        await space.finish(finish(space, gone))
    return len(gone.sources)
