"""The bridge's life: draining, leases and heartbeats, and healing whenever the bus was away."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator
from functools import partial

from ifmem import clock
from ifmem.bus.direct_writes import forget_history, read_direct_write
from ifmem.errors import IfMemError, NotPermitted, Unavailable
from ifmem.runtime.adopting import Adopter
from ifmem.runtime.answering import answer_queries
from ifmem.runtime.archiving import sweep_sessions
from ifmem.runtime.attaching import attach
from ifmem.runtime.draining import drain
from ifmem.runtime.forgetting_depth import keep_forgotten
from ifmem.runtime.forwarded import Handle, serve_calls
from ifmem.runtime.holding import hold_orphans
from ifmem.runtime.keeping_hot import keep_hot
from ifmem.runtime.librarians import serve_archive
from ifmem.runtime.messaging import sweep_messages
from ifmem.runtime.remembering import publish
from ifmem.runtime.repacking import keep_packed
from ifmem.runtime.settling import keep_inbox, settle_tasks
from ifmem.runtime.showing_librarians import show_librarians
from ifmem.runtime.space import Space
from ifmem.wire import keys

log = logging.getLogger(__name__)

_RENEWALS = 3
"""Renewals in the time of a lease: two may be lost."""
_SWEEP_SECONDS, _SWEEPS_OF_TASKS = 1.0, 5
_SHORTEST_WAIT, _LONGEST_WAIT = 0.05, 2.0
_GATHERED_SECONDS, _HISTORY_SECONDS = 1.0, 9.0

Reconnect = Callable[[], Awaitable[None]]


async def bridge(space: Space, reconnect: Reconnect, handle: Handle) -> None:
    """Serve an attached space until cancelled; ``handle`` does forwarded calls.

    Whatever fails ends the work on the bus, not the bridge: it reconnects with growing pauses and
    attaches again, which puts right what was lost.
    """
    async with asyncio.TaskGroup() as always:
        always.create_task(space.feed.run())
        always.create_task(_adopt(space))
        always.create_task(_forget_history(space))
        always.create_task(keep_packed(space))
        always.create_task(keep_forgotten(space))
        always.create_task(keep_hot(space))
        always.create_task(serve_archive(space))
        always.create_task(keep_inbox(space))
        always.create_task(_serve(space, reconnect, handle))


async def _serve(space: Space, reconnect: Reconnect, handle: Handle) -> None:
    while True:
        overtaken = False
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(drain(space))
                group.create_task(_renew(space))
                group.create_task(_beat(space))
                group.create_task(_sweep(space))
                group.create_task(serve_calls(space, handle))
                group.create_task(answer_queries(space))
                group.create_task(_end_when_lost(space))
        except* IfMemError as errors:
            space.mark_lost(_message(errors))
            log.warning("bus of space %s: %s", space.name, _message(errors))
            overtaken = _is_overtaken(errors)
        except* Exception as errors:
            space.mark_lost(f"ifmem itself failed: {_message(errors)}")
            log.exception("bridge of space %s", space.name)
        if overtaken:
            # Another process has this very store: two that took turns would be worse than one.
            return
        await _attach_again(space, reconnect)


async def _attach_again(space: Space, reconnect: Reconnect) -> None:
    wait = _SHORTEST_WAIT
    while True:
        try:
            await reconnect()
            await attach(space)
        except IfMemError as error:
            space.mark_lost(error.message)
            log.warning("bus of space %s: %s", space.name, error.message)
        except Exception:
            log.exception("attaching space %s", space.name)
        else:
            log.info("bus of space %s is true again", space.name)
            return
        await asyncio.sleep(wait * (0.5 + clock.chance()))
        wait = min(2 * wait, _LONGEST_WAIT)


async def _renew(space: Space) -> None:
    """Keep the lease; finds out, too, when the keys are no longer there."""
    while True:
        owner = await space.bus.ownership.renew(space.lease, space.lease_duration)
        if owner != space.store_id:
            raise Unavailable("the bus has lost the keys of this space")
        await asyncio.sleep(space.settings.bus.lease_seconds / _RENEWALS)


async def _beat(space: Space) -> None:
    while True:
        await space.bus.beat(space.worker_id, expiry_seconds=space.settings.worker.expiry_seconds)
        await asyncio.sleep(space.settings.worker.heartbeat_seconds)


async def _sweep(space: Space) -> None:
    """Do what time has done to tasks, messages and shards, also where nobody looks."""
    while True:
        for _ in range(_SWEEPS_OF_TASKS):
            await _unless_refused(space.bus.tasks.sweep())
            await asyncio.sleep(_SWEEP_SECONDS)
        await hold_orphans(space)
        await show_librarians(space)
        await settle_tasks(space)
        await _unless_refused(sweep_messages(space))
        await _unless_refused(sweep_sessions(space))


async def _unless_refused(step: Awaitable[object]) -> None:
    """Do a step that can wait for the next time when the log takes nothing now."""
    try:
        await step
    except Unavailable as error:
        if error.facts.get("outcome") not in ("busy", "refusing"):
            raise


async def _adopt(space: Space) -> None:
    """Wake the readers of messages; make findings of what others write directly."""
    feed, log_of = space.feed, space.bus.log
    adopter = Adopter(
        read=partial(read_direct_write, space.bus.client, space.bus.keys),
        publish=partial(publish, space.bus),
        dead_letter=log_of.dead_letter,
        channel=feed.keys.of(keys.CHANNEL_FINDINGS),
        on_masked=space.history_due.set,
    )
    ends = [
        feed.on_foreign(adopter.take),
        feed.listen(keys.CHANNEL_MESSAGES, space.arrivals.on_message_hint),
        feed.on_connected(lambda: space.arrivals.on_message_hint(None)),
    ]
    try:
        await adopter.run()
    finally:
        for end in ends:
            end()


async def _forget_history(space: Space) -> None:
    """Have our own server's file not keep what others wrote with credentials in it.

    Whoever runs another server decides about its files.
    """
    while space.server.embedded:
        await space.history_due.wait()
        # Several come together.
        await asyncio.sleep(_GATHERED_SECONDS)
        space.history_due.clear()
        try:
            await forget_history(space.bus.client)
        except (Unavailable, NotPermitted) as error:
            log.info("the history of the bus is kept for now: %s", error.message)
            space.history_due.set()
        await asyncio.sleep(_HISTORY_SECONDS)


async def _end_when_lost(space: Space) -> None:
    await space.lost.wait()
    raise Unavailable(space.degraded or "the bus did not answer")


def _message(errors: BaseExceptionGroup[BaseException]) -> str:
    return str(next(_leaves(errors)))


def _is_overtaken(errors: BaseExceptionGroup[BaseException]) -> bool:
    return any(isinstance(one, NotPermitted) and "owner" in one.facts for one in _leaves(errors))


def _leaves(errors: BaseExceptionGroup[BaseException]) -> Iterator[BaseException]:
    for error in errors.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from _leaves(error)
        else:
            yield error
