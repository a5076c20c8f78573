"""Attaching a store to a bus: the lease, the position, and whatever must be put right."""

from __future__ import annotations

import logging
import sqlite3
from dataclasses import replace
from functools import partial

from ifmem import clock
from ifmem.bus.tasks import KEPT_ENDED
from ifmem.domain.task import TaskState
from ifmem.engine.recovery import Recovery, StorePosition, recover
from ifmem.runtime.draining import drain_all
from ifmem.runtime.insisting import REBUILDING
from ifmem.runtime.messaging import restore_messages
from ifmem.runtime.settling import settle_tasks
from ifmem.runtime.showing_librarians import show_librarians
from ifmem.runtime.space import Space
from ifmem.store import findings, meta, tasks
from ifmem.store.tasks import Waiting

log = logging.getLogger(__name__)


async def attach(space: Space, *, adopt: bool = False) -> None:
    """Own the space on the bus, and bring the bus in line with the store.

    Everything here may be interrupted at any point and begun again.

    Raises:
        NotPermitted: another bridge or store owns the keys.
        Unavailable: the bus does not answer.
    """
    space.lease = await space.bus.ownership.claim(
        space.store_id,
        bridge=space.bridge_id,
        name=space.worker_id,
        duration=space.lease_duration,
        adopt=adopt,
    )
    position = await space.read(meta.position)
    space.epoch = position.epoch
    run_id = await space.bus.run_id()
    recovery = await _recovery(space, position, run_id)
    lost = recovery is Recovery.REBUILD and position.epoch > 0
    if recovery is Recovery.REBUILD:
        await space.bus.log.refuse(space.lease, REBUILDING)
    # What was accepted and is still there is taken over first: a rebuild would overwrite it.
    await drain_all(space)
    position = await space.read(meta.position)
    if recovery is not Recovery.RESUME:
        position = replace(position, epoch=position.epoch + 1, run_id=run_id)
        await _advance(space, position, recovery)
        # Another process may lack what the one before had accepted and nobody has committed: who
        # waits for that must not take later entries for theirs.
        space.acknowledgements.begin_again()
    if recovery is Recovery.REBUILD:
        await _rebuild(space)
    await publish_space(space, rebuilt=recovery is Recovery.REBUILD)
    await settle_tasks(space)
    await space.bus.log.set_position(
        space.lease,
        epoch=position.epoch,
        drained=position.drained,
        limit=space.settings.bus.backlog,
        last=await space.read(findings.last_sequence),
        # A bus that is lost may have given out as many as its log could hold.
        skipped=space.settings.bus.backlog if lost else 0,
    )
    space.epoch = position.epoch
    space.degraded = None
    space.lost.clear()
    space.attached.set()


async def publish_space(space: Space, *, rebuilt: bool = False) -> None:
    """Put everything that the bus shows of the space right, whatever it showed before.

    Args:
        rebuilt: nothing new is taken now, so what the store does not have is not ours.
    """
    await show_librarians(space, everything=True)
    await space.bus.beat(space.worker_id, expiry_seconds=space.settings.worker.expiry_seconds)
    await space.publisher.publish_all()
    window = space.settings.findings.window
    last = await space.read(findings.last_sequence)
    newest = await space.read(partial(findings.newest, limit=window))
    await space.bus.findings.restore(
        [(one.finding_id, one.sequence, one.body) for one in newest],
        stored=space.findings_stored,
        last=None if rebuilt else last,
    )


async def _recovery(space: Space, position: StorePosition, run_id: str) -> Recovery:
    state = await space.bus.log.state()
    return recover(
        position,
        bus_epoch=None if state is None else state.epoch,
        bus_drained="0-0" if state is None else state.drained,
        run_id=run_id,
        holds_drained=await space.bus.log.holds(position.drained),
        sequence=await space.bus.sequence(),
        stored_sequence=await space.read(findings.last_sequence),
    )


async def _advance(space: Space, position: StorePosition, recovery: Recovery) -> None:
    """Count a new epoch; after a loss no lease of the old one is good any more."""

    def work(connection: sqlite3.Connection) -> None:
        meta.set_position(connection, position)
        if recovery is Recovery.REBUILD:
            at_ms = int(clock.now().timestamp() * 1_000)
            tasks.give_back_leases(connection, reason="the bus was lost", at_ms=at_ms)

    await space.write(work)
    log.info("space %s: %s, epoch %d", space.name, recovery.value, position.epoch)


async def _rebuild(space: Space) -> None:
    """Write what a running bus changes itself: tasks, messages and who follows which topic."""

    def work(
        connection: sqlite3.Connection,
    ) -> tuple[list[Waiting], dict[TaskState, int], int]:
        waiting = [*tasks.open_tasks(connection), *tasks.newest_ended(connection, KEPT_ENDED)]
        return waiting, tasks.counts(connection), tasks.last_place(connection)

    waiting, counts, place = await space.read(work)
    await space.bus.tasks.restore(waiting, counts=counts, last_place=place)
    # What they waited for went away, and the bus was lost before the store heard that they go on.
    blocked = [(task, unmet) for task, unmet in waiting if task.state is TaskState.BLOCKED]
    free = [task.task_id for task, unmet in blocked if not unmet]
    if free:
        await space.bus.tasks.unblock(None, free)
    await restore_messages(space)
