"""Quarantine: what a caller of low trust says is kept, and waits until somebody releases it."""

from __future__ import annotations

import sqlite3
from dataclasses import replace
from functools import partial

from ifmem import clock
from ifmem.domain.finding import Finding, Trust, require_uuid
from ifmem.errors import NotFound
from ifmem.runtime.remembering import store_finding
from ifmem.runtime.space import Space
from ifmem.store import audit, quarantine
from ifmem.store.quarantine import Release
from ifmem.wire import finding_json
from ifmem.wire.agent_calls import ReleaseCall
from ifmem.wire.shapes import Remembered


async def release(space: Space, call: ReleaseCall) -> Remembered:
    """Say a quarantined finding again, as the same author's with the trust of an agent.

    Repeating it changes nothing and gives the same finding: its id is chosen once.

    Raises:
        NotFound: no finding of that id is, or was, in quarantine.
        Refused: it was released, and the finding that said it again was forgotten.
        OutcomeUnknown: release it again.
    """
    return await space.finish(_release(space, require_uuid(call.id.removeprefix("finding:"))))


async def _release(space: Space, finding_id: str) -> Remembered:
    # What is accepted and not yet in the store can be released too.
    await space.caught_up(await space.insist(space.bus.log.barrier))
    begin = partial(quarantine.begin_release, finding_id=finding_id, new_id=clock.new_id())
    begun = await space.write(begin)
    if begun is None:
        raise NotFound(
            f"no finding {finding_id} is in quarantine: `ifmem findings --quarantined` lists them",
            id=finding_id,
        )
    said = await store_finding(space, _said_again(begun), durable=True)
    if not begun.is_done:
        await space.write(partial(_end, begun=begun, at=clock.stamp(clock.now())))
    return said


def _said_again(begun: Release) -> Finding:
    return replace(
        finding_json.parse(begun.finding.body),
        finding_id=begun.released_as,
        timestamp=clock.stamp(clock.now()),
        trust=Trust.AGENT,
        supersedes=begun.finding.finding_id,
        durable=False,
    )


def _end(connection: sqlite3.Connection, begun: Release, at: str) -> None:
    finding = begun.finding
    if quarantine.end_release(connection, finding.finding_id, at):
        audit.note(
            connection,
            entry=f"release:{finding.finding_id}",
            at=at,
            type=audit.DECISION,
            severity=audit.INFO,
            action="release",
            actor=finding.author,
            subject=finding.finding_id,
            reason=f"said again as {begun.released_as}",
        )
