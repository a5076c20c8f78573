"""The swarm: takes questions from the durable queue, has them answered, and keeps what is told."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sqlite3
from datetime import datetime, timedelta
from functools import partial

import msgspec

from ifmem import clock
from ifmem.engine.masking import mask
from ifmem.errors import (
    Failed,
    IfMemError,
    QuotaExhausted,
    Unavailable,
)
from ifmem.runtime.archive_desk import HOLDER
from ifmem.runtime.archive_outcomes import outcome_of
from ifmem.runtime.archive_telling import announce, respond
from ifmem.runtime.librarian_chain import answer_from_archive, show_quotas
from ifmem.runtime.librarian_tries import Asked, after
from ifmem.runtime.space import Space
from ifmem.store import archive_queries
from ifmem.store.archive_queries import NewQuery
from ifmem.store.archive_query_rows import ArchiveQuery
from ifmem.wire.answers import Answer

log = logging.getLogger(__name__)

AT_ONCE = 8
"""Questions that are taken from the queue at once; those that somebody waits for go beside."""
_RENEWALS = 3
"""Renewals in the time of a lease: two may be lost."""
_LONGEST_WAIT = timedelta(minutes=5)
"""Without a look at the queue; what has ended is removed at the next one."""
_SHORTEST_WAIT_S = 0.05
_AFTER_FAILURE_S = 5.0
_START_S = 10.0


async def serve_archive(space: Space) -> None:
    """Answer what waits in the queue, until cancelled."""
    desk = space.desk
    async with asyncio.TaskGroup() as group:
        group.create_task(_renew(space))
        desk.group = group
        try:
            await take_over(space)
            desk.started.set()
            while True:
                desk.due.clear()
                try:
                    due = await catch_up(space)
                except IfMemError:
                    # The store may be full; the questions stay where they are.
                    log.exception("the archive's questions of space %s wait", space.name)
                    await asyncio.sleep(_AFTER_FAILURE_S)
                    continue
                await _until(space, due)
        finally:
            desk.started.clear()
            desk.group = None


async def take_over(space: Space) -> None:
    """End the leases that an earlier life of this daemon left behind: nobody works on them."""
    holder = _holder(space)
    release = partial(archive_queries.release_dead, prefix=HOLDER, holder=holder)
    await space.write(lambda connection: release(connection, now=space.desk.now()))
    space.desk.due.set()


async def catch_up(space: Space) -> datetime | None:
    """Do what time has done to the queue and begin to answer what may be answered now; when to
    look again, or None while nothing is open."""
    archive, desk = space.settings.archive, space.desk
    now, held = desk.now(), list(desk.held.items())

    def look(connection: sqlite3.Connection) -> datetime | None:
        # What is worked on here is not lost because this process was slow.
        archive_queries.renew(connection, held, now=now, lease=_lease(space))
        return archive_queries.sweep(
            connection, now=now, attempts=archive.attempts, kept_seconds=archive.kept_seconds
        )

    due = await space.write(look)
    desk.backlog = False
    while due is not None:
        if len(desk.running) >= AT_ONCE:
            # Whoever ends has this looked at again; without a look, nothing is committed for it.
            desk.backlog = True
            break
        query = await space.write(
            partial(
                archive_queries.claim,
                holder=_holder(space),
                now=desk.now(),
                lease=_lease(space),
                attempts=archive.attempts,
            )
        )
        if query is None:
            break
        _begin(space, query)
    return due


async def settled(space: Space) -> None:
    """Wait until nothing is worked on in this process."""
    while running := list(space.desk.running.values()):
        await asyncio.wait(running)


async def answered(
    space: Space, question: NewQuery, *, seconds: float | None = None
) -> Answer | None:
    """The answer to a question, which is in the store before anybody works on it; None when it is
    not there after so many seconds: then it comes later, under its id.

    The same id again gets the same answer.

    Raises:
        QuotaExhausted: no librarian may be asked before a reset; the question is kept.
        Refused: the id is of another question, or too many wait.
        IfMemError: no librarian could be asked.
    """
    query = await submitted(space, question)
    task = space.desk.running.get(query.query_id)
    if task is not None:
        done, _ = await asyncio.wait({task}, timeout=seconds)
        if not done:
            return None
        if (error := task.result()) is not None:
            raise error
        query = await space.read(partial(archive_queries.require, query_id=query.query_id))
    return outcome_of(query)


async def submitted(space: Space, question: NewQuery, *, in_turn: bool = False) -> ArchiveQuery:
    """A question in the store, worked on from now; the same id again is as it stands.

    Args:
        space: whose archive is asked.
        question: with an id of its own.
        in_turn: nobody waits here: it is worked on when others have ended.

    Raises:
        Refused: the id is of another question, or too many wait.
        Unavailable: the librarians have not started yet.
    """
    await _started(space)
    waits = in_turn and len(space.desk.running) >= AT_ONCE
    put = partial(
        archive_queries.put,
        query=question,
        holder=None if waits else _holder(space),
        lease=_lease(space),
    )
    query, is_new = await space.write(put)
    if is_new and not waits:
        _begin(space, query)
    elif not query.standing.has_ended:
        space.desk.due.set()
    return query


async def _started(space: Space) -> None:
    try:
        async with asyncio.timeout(_START_S):
            await space.desk.started.wait()
    except TimeoutError:
        raise Unavailable(
            "the librarians of this space are not there: another daemon has taken it over"
        ) from None


def new_query(
    space: Space,
    query_id: str,
    question: str,
    asked: Asked,
    *,
    sender: str,
    hint: int | None = None,
) -> NewQuery:
    """A question for the queue; its texts are masked, for the queue outlives it."""
    now = space.desk.now()
    return NewQuery(
        query_id=query_id,
        sender=mask(sender).text[:200],
        question=mask(question).text,
        params=msgspec.json.encode(asked).decode(),
        asked_at=now,
        expires_at=now + timedelta(seconds=space.settings.archive.query_seconds),
        hint=hint,
    )


def _begin(space: Space, query: ArchiveQuery) -> None:
    """Work on a question that we hold."""
    desk = space.desk
    if desk.group is None:
        return  # its lease ends, and it is taken again
    desk.held[query.query_id] = query.standing.fence
    task = desk.group.create_task(_work(space, query))
    desk.running[query.query_id] = task
    task.add_done_callback(partial(_ended, space, query.query_id))


def _ended(space: Space, query_id: str, task: asyncio.Task[IfMemError | None]) -> None:
    if space.desk.running.get(query_id) is task:
        del space.desk.running[query_id]
        space.desk.held.pop(query_id, None)
    if space.desk.backlog:
        space.desk.due.set()


async def _work(space: Space, query: ArchiveQuery) -> IfMemError | None:
    """Have a question answered and keep what came of it; the error of one that has none. Whatever
    fails, the queue goes on."""
    try:
        await announce(space, query)
        refused: IfMemError | None = None
        try:
            answer = await answer_from_archive(space, query)
        except QuotaExhausted as error:
            refused = error
            await keep(space, query, error)
        except IfMemError as error:
            refused = error
            await _give_up(space, query, error)
        else:
            await finish(space, query, answer)
        await show_quotas(space)
        return refused
    except IfMemError as error:
        # Its lease ends, and it is taken again.
        log.exception("question %s to the archive", query.query_id)
        return error
    except Exception as error:
        log.exception("question %s to the archive", query.query_id)
        told = f"ifmem itself failed ({type(error).__name__})"
        with contextlib.suppress(IfMemError):
            await _lost(space, query, told)
        return Failed(f"{told}; see the daemon's log")


async def finish(space: Space, query: ArchiveQuery, answer: Answer) -> bool:
    """Keep an answer, then tell it; False when another came first or it came too late."""
    masked = answer
    if answer.answer is not None:
        masked = msgspec.structs.replace(answer, answer=mask(answer.answer).text)
    accepted = await space.write(
        partial(
            archive_queries.answer,
            query_id=query.query_id,
            fence=query.standing.fence,
            librarian=answer.librarian or 0,
            response=msgspec.json.encode(masked),
            now=space.desk.now(),
        )
    )
    if accepted:
        await respond(space, query, masked)
    return accepted


async def keep(space: Space, query: ArchiveQuery, error: QuotaExhausted) -> None:
    """Let a question wait for the reset that the error names."""
    now = space.desk.now()
    resets_at = datetime.fromisoformat(str(error.facts["resets_at"]))
    await space.write(
        partial(
            archive_queries.keep,
            query_id=query.query_id,
            fence=query.standing.fence,
            until=after(resets_at, now),
            kept_seconds=space.settings.archive.kept_seconds,
            reason=_as_reason(error),
            now=now,
        )
    )
    space.desk.due.set()


async def _give_up(space: Space, query: ArchiveQuery, error: IfMemError) -> None:
    """Every librarian was asked in vain: it has failed, and whoever waits is told why."""
    await _back(space, query, _as_reason(error), attempts=0)


async def _lost(space: Space, query: ArchiveQuery, reason: str) -> None:
    await _back(space, query, reason, attempts=space.settings.archive.attempts)


async def _back(space: Space, query: ArchiveQuery, reason: str, *, attempts: int) -> None:
    await space.write(
        partial(
            archive_queries.give_back,
            query_id=query.query_id,
            fence=query.standing.fence,
            reason=reason,
            attempts=attempts,
            now=space.desk.now(),
        )
    )
    space.desk.due.set()


def _as_reason(error: IfMemError) -> str:
    return mask(error.message).text


async def _renew(space: Space) -> None:
    """Keep the leases of what is worked on here."""
    while True:
        await asyncio.sleep(space.settings.archive.lease_seconds / _RENEWALS)
        held = list(space.desk.held.items())
        if not held:
            continue
        with contextlib.suppress(IfMemError):
            await space.write(
                partial(archive_queries.renew, held=held, now=space.desk.now(), lease=_lease(space))
            )


async def _until(space: Space, due: datetime | None) -> None:
    """Wait until something is asked, or time changes something."""
    desk = space.desk
    longest = clock.in_seconds(_LONGEST_WAIT)
    seconds = longest if due is None else clock.in_seconds(due - desk.now())
    if len(desk.running) >= AT_ONCE:
        # Whoever ends wakes us.
        seconds = longest
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(min(max(seconds, _SHORTEST_WAIT_S), longest)):
            await desk.due.wait()


def _holder(space: Space) -> str:
    return f"{HOLDER}{space.bridge_id}"


def _lease(space: Space) -> timedelta:
    return timedelta(seconds=space.settings.archive.lease_seconds)
