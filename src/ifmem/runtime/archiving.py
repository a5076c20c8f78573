"""Sessions: listed, shown, and ended, which archives what they alone have stored.

The store decides in one transaction. What follows (indexes, shards on the bus, tasks, caches) may
be interrupted at any point: the next start, attachment or sweep does what is left.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sqlite3
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial

import msgspec

from ifmem import clock
from ifmem.bus.replies import translated
from ifmem.domain.task import require_worker
from ifmem.errors import Invalid, NotFound, Refused, Unavailable
from ifmem.runtime.indexing import archive_indexed, keep_index
from ifmem.runtime.space import Space
from ifmem.runtime.tasking import cancel_task
from ifmem.store import audit, sessions, tasks
from ifmem.store.sessions import Archived, StoredSession
from ifmem.wire import keys
from ifmem.wire.calls import TaskCancelCall
from ifmem.wire.session_calls import (
    EndedSession,
    SessionCall,
    SessionDetail,
    SessionEndCall,
    SessionsCall,
    SessionShape,
)
from ifmem.wire.shapes import Page

log = logging.getLogger(__name__)

REASON = "its session ended"
_MOST_LISTED = 1_000
_ENDED_AT_ONCE = 10
"""Idle sessions that one sweep ends."""


async def list_sessions(space: Space, call: SessionsCall) -> Page[SessionShape]:
    """Sessions, those that began last first; ``next`` is what to give as ``after``.

    Raises:
        Invalid: ``after`` names no place in the list.
    """
    limit = max(1, min(call.limit, _MOST_LISTED))
    ended = None if call.state is None else call.state == "ended"
    read = partial(sessions.page, ended=ended, before=_place(call.after), limit=limit)
    rows = await space.read(read)
    last = f"{rows[-1].started_at} {rows[-1].session_id}" if len(rows) == limit else None
    return Page([_shape(row) for row in rows], next=last)


async def show_session(space: Space, call: SessionCall) -> SessionDetail:
    """One session with its authors and tasks.

    Raises:
        NotFound: nothing was ever stored in a session of that name.
    """
    found = await space.read(partial(_detail, session_id=call.id))
    if found is None:
        raise _unknown(call.id)
    return found


async def end_session(space: Space, call: SessionEndCall) -> EndedSession:
    """End a session and archive what is its alone; ending it again changes nothing and says so.

    Raises:
        Invalid: ``actor`` cannot name an agent.
        NotFound: nothing was ever stored in a session of that name.
    """
    by = space.worker_id if call.actor is None else require_worker(call.actor)
    # What it had accepted and the store has not is its work too.
    await space.tell_bus(_committed(space))
    return await space.finish(_end_by_name(space, call.id, by))


async def sweep_sessions(space: Space, *, now: Callable[[], datetime] = clock.now) -> None:
    """End the sessions that were idle for too long; clear what ended ones left at work.

    Raises:
        Unavailable: the bus does not answer, or takes nothing new.
    """
    idle = timedelta(seconds=space.settings.sessions.idle_seconds)
    at, since = clock.stamp(now()), clock.stamp(now() - idle)
    look = partial(sessions.idle_since, moment=since, limit=_ENDED_AT_ONCE)
    for session_id in await space.read(look):
        if space.loading.locked():
            # Who loads may be at work in it; the next sweep is near.
            break
        await space.finish(_end(space, session_id, at=at, by=None, since=since))
    await clear_ended(space)


async def clear_ended(space: Space) -> int:
    """Cancel what is open of ended sessions, and drop what they cached; how many tasks it were.

    Raises:
        Unavailable: the bus does not answer, or takes nothing new.
    """
    cancelled = 0
    for session in await space.read(sessions.uncleared):
        cancelled += await _cancel_tasks(space, session.session_id)
        await _drop_contexts(space, session.session_id)
        at = clock.stamp(clock.now())
        await space.write(partial(_set_cleared, session_id=session.session_id, at=at))
    return cancelled


async def _end_by_name(space: Space, session_id: str, by: str) -> EndedSession:
    archived = await _end(space, session_id, at=clock.stamp(clock.now()), by=by)
    session = await space.read(partial(sessions.get, session_id=session_id))
    if session is None:
        raise _unknown(session_id)
    cancelled = 0
    with contextlib.suppress(Unavailable):
        # Else the sweep does it.
        cancelled = await clear_ended(space)
    return EndedSession(
        session_id=session_id,
        outcome="known" if archived is None else "ended",
        ended_at=session.ended_at or "",
        ended_by=session.ended_by,
        findings=0 if archived is None else len(archived.findings),
        documents=0 if archived is None else len(archived.contents),
        tasks=0 if archived is None else cancelled,
    )


async def _end(
    space: Space, session_id: str, *, at: str, by: str | None, since: str | None = None
) -> Archived | None:
    """The transaction, then the indexes and the shards on the bus; None when nothing ended."""
    work = partial(_archive, session_id=session_id, at=at, by=by, since=since)
    async with space.loading:
        archived = await space.write(work)
        if archived is None:
            return None
        await asyncio.to_thread(archive_indexed, space, archived.contents, archived.findings)
    # Answers that were made of what is archived now.
    space.answers.clear()
    # It may have to build an index anew: nobody waits for that.
    space.begin(_tidy(space))
    await space.tell_bus(space.publisher.publish(archived.shards))
    space.warmth.stir()
    log.info(
        "session %s of space %s ended: %d findings and %d documents archived",
        session_id,
        space.name,
        len(archived.findings),
        len(archived.contents),
    )
    return archived


async def _tidy(space: Space) -> None:
    async with space.loading:
        await keep_index(space)


def _archive(
    connection: sqlite3.Connection, *, session_id: str, at: str, by: str | None, since: str | None
) -> Archived | None:
    if since is not None and not sessions.is_idle(connection, session_id, since):
        # Somebody went on with it since we looked.
        return None
    archived = sessions.end(connection, session_id, at=at, by=by)
    if archived is None:
        return None
    audit.note(
        connection,
        entry=f"session:{session_id}:{at}",
        at=at,
        type=audit.DECISION,
        severity=audit.INFO,
        action="session_end",
        actor=by or "-",
        subject=session_id,
        reason=f"{'idle' if by is None else 'ended'}: {len(archived.findings)} findings and "
        f"{len(archived.contents)} documents archived",
    )
    return archived


async def _cancel_tasks(space: Space, run: str) -> int:
    cancelled = 0
    while left := await space.read(partial(tasks.open_of_run, run=run)):
        for task_id in left:
            # One that ended meanwhile is not ours to end.
            with contextlib.suppress(Refused, NotFound):
                call = TaskCancelCall(task_id, actor=space.worker_id, reason=REASON, durable=False)
                await cancel_task(space, call)
                cancelled += 1
        await space.caught_up(await space.insist(space.bus.log.barrier))
    return cancelled


async def _drop_contexts(space: Space, run: str) -> None:
    """Drop the cached results of who worked in a run; a worker of another run keeps its own."""
    workers = await space.read(partial(tasks.workers_of_run, run=run))
    names = [space.bus.keys.of(keys.WORKER_CONTEXT, id=worker) for worker in workers]
    if names:
        async with translated():
            await space.bus.client.delete(*names)


def _set_cleared(connection: sqlite3.Connection, session_id: str, at: str) -> None:
    # A task that was posted meanwhile is seen by the next sweep.
    if not tasks.open_of_run(connection, session_id):
        sessions.set_cleared(connection, session_id, at)


async def _committed(space: Space) -> None:
    await space.caught_up(await space.bus.log.barrier())


def _detail(connection: sqlite3.Connection, *, session_id: str) -> SessionDetail | None:
    session = sessions.get(connection, session_id)
    if session is None:
        return None
    return SessionDetail(
        **msgspec.structs.asdict(_shape(session)),
        authors=sessions.authors(connection, session_id),
        tasks=tasks.counts_of_run(connection, session_id),
        archived_documents=sessions.count_archived_documents(connection, session_id),
    )


def _shape(session: StoredSession) -> SessionShape:
    return SessionShape(
        session_id=session.session_id,
        state="open" if session.ended_at is None else "ended",
        agent=session.agent,
        started_at=session.started_at,
        last_at=session.last_at,
        ended_at=session.ended_at,
        ended_by=session.ended_by,
        findings=session.findings,
        documents=session.documents,
    )


def _place(after: str) -> tuple[str, str] | None:
    if not after:
        return None
    started, space, session_id = after.partition(" ")
    if not space:
        raise Invalid(f"{after[:80]!r} is no place in the list: give what a page named as next")
    return started, session_id


def _unknown(session_id: str) -> NotFound:
    name = session_id[:100]
    return NotFound(
        f"there is no session {name!r}: `ifmem sessions list` names those there are", id=name
    )
