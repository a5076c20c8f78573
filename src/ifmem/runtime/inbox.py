"""The inbox: what waits for a person, from wherever it is kept, and what a person decides."""

from __future__ import annotations

import contextlib
import sqlite3
from functools import partial

from ifmem import clock
from ifmem.engine.conflicts import folded
from ifmem.engine.masking import mask
from ifmem.engine.policy import CONFLICT
from ifmem.errors import Invalid, NotFound, Refused, Unavailable
from ifmem.runtime.inbox_items import (
    MOST_SHOWN,
    SOURCES,
    Place,
    conflict_shape,
    item_shape,
    waiting_elsewhere,
)
from ifmem.runtime.settling import settle_tasks_if_possible
from ifmem.runtime.space import Space
from ifmem.store import audit, conflicts, inbox, supersession
from ifmem.store.inbox import Item
from ifmem.wire.inbox_calls import (
    MOST_LISTED,
    ConflictsCall,
    ConflictShape,
    InboxCall,
    InboxItem,
    InboxItemCall,
    InboxResolveCall,
)
from ifmem.wire.shapes import Page

MOST_REASON_CHARACTERS = 2_000


async def list_inbox(space: Space, call: InboxCall) -> Page[InboxItem]:
    """What waits for a person, a page at a time.

    Raises:
        Invalid: an unknown kind, or a cursor that no page gave.
    """
    begin = Place.read(call.after)
    await _catch_up(space)
    limit = max(1, min(call.limit, MOST_LISTED))
    chosen = [
        one
        for one in SOURCES
        if one.name >= begin.source and (call.kind is None or call.kind in one.kinds)
    ]
    if call.kind is not None and not any(call.kind in one.kinds for one in SOURCES):
        kinds = ", ".join(kind for one in SOURCES for kind in one.kinds)
        raise Invalid(f"{call.kind[:40]!r} is no kind of item: use {kinds}")

    def read(connection: sqlite3.Connection) -> Page[InboxItem]:
        items: list[InboxItem] = []
        last = ""
        for one in chosen:
            after = begin.after if one.name == begin.source else 0
            for number, item in one.rows(connection, call, after, limit + 1 - len(items)):
                if len(items) == limit:
                    return Page(items, next=last)
                items.append(item)
                last = str(Place(one.name, number))
        return Page(items, next=None)

    return await space.read(read)


async def show_item(space: Space, call: InboxItemCall) -> InboxItem:
    """One item with all it is about.

    Raises:
        NotFound: nothing of that id waits, or waited, for a person.
    """
    await _catch_up(space)
    shown = await space.read(partial(_shown, wanted=_bare(call.item)))
    if shown is None:
        raise NotFound(
            f"nothing of id {call.item[:80]!r} is in the inbox: `ifmem inbox` lists what is",
            item=call.item[:80],
        )
    return shown


async def resolve(space: Space, call: InboxResolveCall) -> InboxItem:
    """Decide an item; its tasks can be claimed again.

    Raises:
        NotFound: there is no such item.
        Invalid: none or several of the decisions were given, or no reason for a dismissal.
        Refused: it was resolved before, or a side to keep is none or is superseded.
    """
    _require_one_decision(call)
    reason = mask(call.reason.strip()).text
    call = InboxResolveCall(
        item=_bare(call.item),
        actor=call.actor,
        keep=tuple(_bare(one) for one in call.keep),
        both=call.both,
        dismiss=call.dismiss,
        reason=reason,
    )
    await _catch_up(space)
    return await space.finish(_resolve(space, call))


async def list_conflicts(space: Space, call: ConflictsCall) -> Page[ConflictShape]:
    """What disagrees, with both sides and what they cite.

    Raises:
        Invalid: a cursor that no page gave.
    """
    opened, _, conflict_id = call.after.partition(" ")
    if call.after and not conflict_id:
        raise Invalid(f"{call.after[:60]!r} is no cursor: give one that a page named")
    await _catch_up(space)
    limit = max(1, min(call.limit, MOST_LISTED))
    topic = None if call.topic is None else folded(call.topic)

    def read(connection: sqlite3.Connection) -> Page[ConflictShape]:
        rows = conflicts.page(
            connection,
            everything=call.all,
            topic=topic,
            after=(opened, conflict_id),
            limit=limit + 1,
        )
        items = [conflict_shape(connection, one) for one in rows[:limit]]
        more = len(rows) > limit
        last = rows[limit - 1] if more else None
        return Page(items, next=f"{last.opened_at} {last.conflict_id}" if last else None)

    return await space.read(read)


async def _catch_up(space: Space) -> None:
    """What was accepted before this call is in the store; without the bus, what is stored."""
    with contextlib.suppress(Unavailable):
        await space.caught_up(await space.bus.log.barrier())
    # Forgetting may have decided some a moment ago.
    if await space.read(conflicts.of_few_sides):
        await settle_tasks_if_possible(space)


async def _resolve(space: Space, call: InboxResolveCall) -> InboxItem:
    at = clock.stamp(clock.now())
    async with space.moving:
        gone = await space.write(partial(decide, call=call, at=at))
        space.unindex(-sequence for sequence in gone)
    if gone:
        # Answers that cite what is not believed any more.
        space.answers.clear()
    await settle_tasks_if_possible(space)
    return await show_item(space, InboxItemCall(call.item))


def decide(connection: sqlite3.Connection, *, call: InboxResolveCall, at: str) -> list[int]:
    """Note the decision; the sequences of the findings that it supersedes."""
    item = inbox.get(connection, call.item)
    if item is None:
        raise _nothing_to_resolve(connection, call.item)
    if item.outcome is not None:
        why = f": {item.reason}" if item.reason else ""
        raise Refused(
            f"item {item.item_id} was resolved by {item.closed_by} at {item.closed_at} "
            f"({item.outcome}){why}; nothing was changed",
            item=item.item_id,
            outcome=item.outcome,
            closed_by=item.closed_by,
            closed_at=item.closed_at,
        )
    outcome = "dismissed" if call.dismiss else "both" if call.both else "kept"
    gone: list[int] = []
    if item.kind == CONFLICT:
        gone = _settle_sides(connection, item, call, outcome, at)
    elif not call.dismiss:
        raise Invalid(
            f"item {item.item_id} is no conflict but {item.kind}: dismiss it with --reason, or "
            "forget the finding",
            item=item.item_id,
        )
    inbox.close(connection, item.item_id, outcome=outcome, at=at, by=call.actor, reason=call.reason)
    audit.note(
        connection,
        entry=f"resolve:{item.item_id}",
        at=at,
        type=audit.DECISION,
        severity=audit.INFO,
        action="resolve",
        actor=call.actor,
        subject=item.item_id,
        reason=_audited(outcome, call),
        task_id=item.task_id,
    )
    return gone


def _settle_sides(
    connection: sqlite3.Connection, item: Item, call: InboxResolveCall, outcome: str, at: str
) -> list[int]:
    sides = {one.finding.finding_id: one for one in conflicts.sides(connection, item.subject)}
    for kept in call.keep:
        if kept not in sides:
            raise Refused(
                f"finding {kept} is no side of this conflict: `ifmem inbox show {item.item_id}` "
                "shows those there are",
                finding_id=kept,
            )
        if sides[kept].superseded_by is not None:
            raise Refused(
                f"finding {kept} is superseded by {sides[kept].superseded_by or 'a forgotten one'}"
                ": keep that one, or remember it again",
                finding_id=kept,
            )
    standing = list(call.keep) if outcome == "kept" else list(sides)
    conflicts.close(
        connection,
        item.subject,
        outcome=outcome,
        at=at,
        by=call.actor,
        reason=call.reason,
        kept=standing,
    )
    if outcome != "kept":
        return []
    heir = sides[call.keep[0]].finding.sequence
    marked = (
        supersession.supersede(connection, finding_id, by=heir, at=at)
        for finding_id in sides
        if finding_id not in call.keep
    )
    return [one for one in marked if one is not None]


def _nothing_to_resolve(connection: sqlite3.Connection, wanted: str) -> NotFound | Refused:
    """Why an id cannot be resolved here: what waits elsewhere is decided there."""
    elsewhere = waiting_elsewhere(connection, wanted)
    if elsewhere is not None:
        return Refused(
            f"{wanted} is {elsewhere.kind}, which is decided where it is kept: {elsewhere.next}",
            item=wanted,
        )
    return NotFound(
        f"nothing of id {wanted[:80]!r} is in the inbox: `ifmem inbox` lists what is",
        item=wanted[:80],
    )


def _shown(connection: sqlite3.Connection, wanted: str) -> InboxItem | None:
    item = inbox.get(connection, wanted)
    if item is not None:
        return item_shape(connection, item, most=MOST_SHOWN)
    return waiting_elsewhere(connection, wanted)


def _require_one_decision(call: InboxResolveCall) -> None:
    given = [bool(call.keep), call.both, call.dismiss]
    if sum(given) != 1:
        raise Invalid("give one decision: --keep FINDING, --both, or --dismiss")
    if call.dismiss and not call.reason.strip():
        raise Invalid("say with --reason why it is dismissed: it is kept with the decision")
    if len(call.reason) > MOST_REASON_CHARACTERS:
        raise Invalid(f"a reason has up to {MOST_REASON_CHARACTERS:,} characters")
    if not call.actor.strip() or len(call.actor) > 200:
        raise Invalid("actor has 1 to 200 characters: it says who decides")


def _audited(outcome: str, call: InboxResolveCall) -> str:
    kept = f" {' '.join(call.keep)}" if call.keep else ""
    return f"{outcome}{kept}"[:2_000]


def _bare(identifier: str) -> str:
    return identifier.strip().removeprefix("finding:")
