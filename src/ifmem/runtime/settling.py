"""What follows from the inbox outside the store: tasks wait or go on, authors are asked.

Everything is read from the store each time and may be repeated, so that a process which was
killed in between leaves nothing half done.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sqlite3
from functools import partial

from ifmem import clock
from ifmem.errors import Invalid, OutcomeUnknown, Refused, Unavailable
from ifmem.runtime.judging import judge_waiting
from ifmem.runtime.messaging import send
from ifmem.runtime.space import Space
from ifmem.store import audit, conflicts, findings, inbox
from ifmem.store.inbox import Item
from ifmem.wire.message_calls import SendCall

log = logging.getLogger(__name__)

INBOX = "inbox"
"""Who is named with a reason for which a task waits."""
_AT_ONCE = 1_000
_PATIENCE_SECONDS = 10.0
"""What waits for a moment when the bus or a model is there again is tried this often."""


async def keep_inbox(space: Space) -> None:
    """Ask authors and judges as findings come, until cancelled."""
    while True:
        try:
            await space.attached.wait()
            await ask_authors(space)
            if await judge_waiting(space):
                await settle_tasks_if_possible(space)
        except (Unavailable, OutcomeUnknown) as error:
            log.info("the inbox of space %s waits: %s", space.name, error.message)
        except Exception:
            log.exception("the inbox of space %s", space.name)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_PATIENCE_SECONDS):
                await space.inbox_due.wait()
        space.inbox_due.clear()


async def settle_tasks(space: Space) -> None:
    """Have the bus block what open items block, and free what decided ones blocked.

    Raises:
        Unavailable: the bus did not answer.
    """
    few = await space.read(conflicts.of_few_sides)
    if few:
        at = clock.stamp(clock.now())
        await space.write(partial(close_decided_by_forgetting, at=at))
    while blocks := await space.read(partial(inbox.to_block, limit=_AT_ONCE)):
        asked = [(one.task_id, one.item_id, _reason(one.item_id)) for one in blocks]
        await space.bus.tasks.block(asked, actor=INBOX)
        await space.write(partial(inbox.blocked, done=blocks))
        if len(blocks) < _AT_ONCE:
            break
    while blocks := await space.read(partial(inbox.to_unblock, limit=_AT_ONCE)):
        for item_id in {one.item_id for one in blocks}:
            ids = [one.task_id for one in blocks if one.item_id == item_id]
            await space.bus.tasks.unblock(item_id, ids)
        await space.write(partial(inbox.unblocked, done=blocks))


async def settle_tasks_if_possible(space: Space) -> None:
    """The same where somebody waits for something else; what fails is done by the next sweep."""
    with contextlib.suppress(Unavailable):
        await settle_tasks(space)


async def ask_authors(space: Space) -> None:
    """Send the requests of the inbox to the authors of the findings.

    Raises:
        Unavailable: the bus takes nothing now.
        OutcomeUnknown: the same; it is sent again under the same id.
    """
    for item in await space.read(partial(inbox.to_ask, limit=_AT_ONCE)):
        stored = await space.read(partial(findings.by_id, finding_id=item.subject))
        if stored is not None:
            await _ask(space, item, stored.author)
        await space.write(partial(inbox.asked, item_id=item.item_id))


def close_decided_by_forgetting(connection: sqlite3.Connection, *, at: str) -> None:
    """Close the conflicts of which forgetting has left one side or none."""
    for conflict_id in conflicts.of_few_sides(connection):
        reason = "its other sides were forgotten"
        conflicts.close(
            connection, conflict_id, outcome="dismissed", at=at, by=INBOX, reason=reason
        )
        inbox.close(connection, conflict_id, outcome="dismissed", at=at, by=INBOX, reason=reason)
        audit.note(
            connection,
            entry=f"resolve:{conflict_id}",
            at=at,
            type=audit.DECISION,
            severity=audit.INFO,
            action="resolve",
            actor=INBOX,
            subject=conflict_id,
            reason=f"dismissed: {reason}",
        )


async def _ask(space: Space, item: Item, author: str) -> None:
    call = SendCall(
        id=item.item_id,
        to=author,
        sender=space.worker_id,
        action_type="question",
        body={
            "speech_act": "request",
            "finding_id": item.subject,
            "inbox_item": item.item_id,
            "text": f"please support finding {item.subject}: {item.rationale}. Remember it again "
            "with more sources, superseding this one.",
        },
    )
    try:
        await send(space, call)
    except (Invalid, Refused) as error:
        # An author that has no inbox, or a full one: the item stays for a person.
        log.info("%s cannot be asked about %s: %s", author, item.subject, error.message)


def _reason(item_id: str) -> str:
    return (
        f"findings of this task disagree: conflict {item_id} waits for a person "
        f"(`ifmem inbox show {item_id}`)"
    )
