"""Forgetting: whatever recall or ask can return can be removed by the id they returned."""

from __future__ import annotations

import asyncio
import logging
import re
import sqlite3
from collections.abc import Collection
from functools import partial

from ifmem import clock
from ifmem.errors import IfMemError, NotFound
from ifmem.runtime.saving import Changes, blank, remove
from ifmem.runtime.space import Space
from ifmem.store import contents, findings, quarantine
from ifmem.wire.calls import ForgetCall
from ifmem.wire.shapes import Forgotten

log = logging.getLogger(__name__)

_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_PASSAGE_ID = re.compile(r"([0-9a-f]{16}):(\d+)")


async def forget(space: Space, call: ForgetCall) -> Forgotten:
    """Remove a finding, a passage, or a document with all its passages.

    A passage is blanked: its lines stay, empty, so that the lines after it keep their numbers; an
    unchanged file that is loaded again does not bring it back.

    Raises:
        NotFound: nothing stored has that id.
    """
    wanted = call.id.removeprefix("finding:")
    if await space.finish(_forget_finding(space, wanted)):
        return Forgotten(wanted, "finding")
    passage = _PASSAGE_ID.fullmatch(call.id)
    if passage is not None:
        place = await space.read(
            partial(contents.find_passage, sha256_start=passage[1], ordinal=int(passage[2]))
        )
        if place is not None:
            changes = await space.change(partial(blank, content_id=place[0], ordinal=place[1]))
            await space.finish(cool(space, changes.rewritten))
            return Forgotten(call.id, "passage")
    changes = await space.change(partial(_remove_document, source=call.id))
    if changes.sources:
        await space.finish(cool(space, changes.shards))
        return Forgotten(call.id, "document")
    raise NotFound(
        f"nothing has the id {call.id[:200]!r}: give a finding id, a passage id as `recall` "
        "printed it, or a source as `ifmem sources` lists it",
        id=call.id[:200],
    )


def _remove_document(connection: sqlite3.Connection, source: str) -> Changes:
    return remove(connection, [source])


async def cool(space: Space, shards: Collection[int]) -> None:
    """Have models give up what they keep of these shards by our order, with the text in it.

    What a provider caches by itself ends with its lifetime, an hour at most.
    """
    for one in space.warmth.kept():
        if one.shard in shards and one.handle is not None:
            try:
                model = await space.models.model(one.model, space.accounts)
                await model.drop(one.handle)
            except IfMemError as error:
                log.warning("%s still holds shard %s: %s", one.model, one.shard, error.message)
            else:
                space.warmth.let_go(one, "a text was forgotten")
    await asyncio.to_thread(space.models.remove_saved)


async def _forget_finding(space: Space, finding_id: str) -> bool:
    if _UUID.fullmatch(finding_id) is None:
        return False
    # What is accepted and not yet in the store is forgotten too.
    await space.tell_bus(_committed(space))
    at = clock.stamp(clock.now())
    if await space.write(partial(quarantine.delete, finding_id=finding_id, forgotten_at=at)):
        # Nothing but the store had it.
        return True
    sequence = await space.write(partial(findings.delete, finding_id=finding_id, forgotten_at=at))
    if sequence is None:
        return False
    space.findings_stored -= 1
    space.index.remove([-sequence])
    space.watchers.on_forgotten(finding_id, sequence)
    await space.tell_bus(space.bus.findings.drop(finding_id, stored=space.findings_stored))
    return True


async def _committed(space: Space) -> None:
    await space.caught_up(await space.bus.log.barrier())
