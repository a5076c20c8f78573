"""Capturing: from an event of an agent's hook to a document, in the space's local space.

event → deed → inside the project, not ignored, no credentials → text → masked, placed, stored
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial

import msgspec

from ifmem import clock
from ifmem.domain.document import Skipped
from ifmem.domain.finding import Trust
from ifmem.engine import capturing
from ifmem.engine.hook_events import Nothing, Read, deed_of
from ifmem.errors import IfMemError
from ifmem.runtime.captured_work import Work, event_of, skipped, unchanged_in, work_of
from ifmem.runtime.repacking import capacities
from ifmem.runtime.saving import Changes, Placement, Prepared, remove, save
from ifmem.runtime.space import Space
from ifmem.store import captured
from ifmem.wire.agent_calls import CaptureCall, Captured

log = logging.getLogger(__name__)


async def capture(space: Space, call: CaptureCall) -> Captured:
    """Take an event of an agent's hook; what is not to be kept is skipped, never an error.

    A read of a file that is stored with the very bytes it has now is answered at once; what else
    is kept waits in the daemon, so that whoever asks meanwhile does not.
    """
    call = _stamped(call)
    deed = deed_of(event_of(call))
    if isinstance(deed, Nothing):
        return skipped(deed.reason)
    if isinstance(deed, Read) and len(deed.paths) == 1:
        same = await _unchanged(space, call, deed.paths[0])
        if same is not None:
            return same
    if call.wait:
        async with space.captures.storing:
            # What was told before is done before.
            while waiting := space.captures.take():
                await store(space, waiting)
            return (await store(space, [call]))[0]
    space.captures.put(call)
    return Captured("taken")


async def store(space: Space, calls: Sequence[CaptureCall]) -> list[Captured]:
    """Store what these events tell, by one transaction for each space they go to."""
    works = [await _work(space, call) for call in calls]
    done = [work.outcome for work in works]
    for share in (False, True):
        numbers = [n for n, call in enumerate(calls) if call.share is share and works[n].is_work]
        if not numbers:
            continue
        try:
            refused = await _change(space, share, [works[n] for n in numbers])
        except IfMemError as error:
            log.warning("nothing was captured in space %s: %s", space.name, error.message)
            refused = {source: error.message for n in numbers for source in works[n].sources}
        for n in numbers:
            reason = next((refused[one] for one in works[n].sources if one in refused), None)
            if reason is not None:
                done[n] = skipped(reason)
    return done


async def _work(space: Space, call: CaptureCall) -> Work:
    if space.captures.is_forgotten(call):
        return Work(skipped("it was forgotten"))
    try:
        return await asyncio.to_thread(work_of, space, call)
    except Exception as error:
        # What is odd about one event must not end those that come with it.
        log.exception("an event was not captured")
        return Work(skipped(f"ifmem itself failed ({type(error).__name__})"))


async def _change(space: Space, share: bool, works: Sequence[Work]) -> dict[str, str]:
    """Store and remove; why sources were not stored."""
    target = space if share else await space.beside(capturing.local_space(space.name), True)
    if target is None:
        return dict.fromkeys((one for work in works for one in work.sources), _NO_LOCAL)
    prepared = [one for work in works for one in work.prepared]
    gone = [one for work in works for one in work.gone]
    async with target.loading:
        if gone:
            await target.change(partial(_remove_captured, gone=gone))
        step = partial(_save_newer, prepared=prepared, placement=_placement(target))
        changes = await target.change(step) if prepared else Changes()
    target.packing_due.set()
    target.warmth.stir()
    return {one.path: one.reason for one in changes.skipped}


_NO_LOCAL = "this daemon keeps no local spaces"
_OLDER = "a newer one is stored"


def _save_newer(
    connection: sqlite3.Connection, prepared: Sequence[Prepared], placement: Placement
) -> Changes:
    """Store all but those of which the store has a later one."""
    wanted: list[Prepared] = []
    older: list[Prepared] = []
    for one in prepared:
        stored = captured.document(connection, one.origin.source)
        is_older = stored is not None and stored.loaded_at > one.origin.loaded_at
        (older if is_older else wanted).append(one)
    changes = save(connection, wanted, placement)
    changes.skipped += [Skipped(one.origin.source, _OLDER) for one in older]
    return changes


def _remove_captured(connection: sqlite3.Connection, gone: Sequence[str]) -> Changes:
    """Remove what only capture brought; what somebody loaded goes when he loads again."""
    stored = [(source, captured.document(connection, source)) for source in gone]
    return remove(
        connection, [one for one, held in stored if held and held.trust == Trust.CAPTURED]
    )


def _placement(space: Space) -> Placement:
    return Placement(
        capturing.PLACEMENT, capacities=capacities(space), limit=space.settings.shards.limit
    )


async def _unchanged(space: Space, call: CaptureCall, path: str) -> Captured | None:
    """The answer for a file that is stored with the bytes it has now; None for any other."""
    spaces = [space, await space.beside(capturing.local_space(space.name), False)]
    open_spaces = [one for one in spaces if one is not None]
    return await asyncio.to_thread(unchanged_in, open_spaces, call, path)


def _stamped(call: CaptureCall) -> CaptureCall:
    """The call with the moment it happened, which is never one to come."""
    now = clock.now()
    try:
        at = datetime.fromisoformat(call.at) if call.at else now
    except ValueError:
        at = now
    at = at if at.tzinfo else at.replace(tzinfo=UTC)
    return msgspec.structs.replace(call, at=clock.stamp(min(at, now)))
