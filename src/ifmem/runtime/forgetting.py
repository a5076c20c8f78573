"""Forgetting: one thing by the id under which it was returned, or all that fits a description."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from ifmem import clock
from ifmem.errors import Invalid, NotFound
from ifmem.runtime.forgetting_depth import finish, follow_up, log_is_trimmed
from ifmem.runtime.forgetting_everything import empty
from ifmem.runtime.forgetting_rows import (
    Erased,
    Told,
    erase_documents,
    erase_findings,
    erase_passages,
    erase_session,
)
from ifmem.runtime.space import Space
from ifmem.store import forgettable, tombstones
from ifmem.store.forgettable import StoredPassage, Wanted
from ifmem.wire.calls import ForgetCall
from ifmem.wire.forget_calls import (
    ForgetMatchingCall,
    ForgottenCall,
    ForgottenFinding,
    ForgottenReport,
    LiftCall,
    Lifted,
    Unreachable,
)
from ifmem.wire.shapes import Forgotten, Page

_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_PASSAGE_ID = re.compile(r"([0-9a-f]{16}):(\d{1,9})")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_AT_ONCE = 200
"""Documents or findings removed by one transaction."""
_SHOWN = 100
_MOST_LISTED = 10_000

Step = Callable[[sqlite3.Connection, Told], Erased]


async def forget(space: Space, call: ForgetCall) -> Forgotten:
    """Remove a finding, a passage, or a document with all its passages.

    A passage is blanked: its lines stay, empty, so that the lines after it keep their numbers.

    Raises:
        NotFound: nothing stored has that id.
    """
    # What is accepted and not yet in the store is forgotten too.
    await space.tell_bus(log_is_trimmed(space))
    kind, erased, left = await space.finish(_forget(space, call.id))
    return Forgotten(
        call.id.removeprefix("finding:") if kind == "finding" else call.id,
        kind,
        revoked=[*erased.revoked, *erased.revoked_quarantined][:_SHOWN],
        unreachable=left,
    )


async def forget_matching(space: Space, call: ForgetMatchingCall) -> ForgottenReport:
    """Remove all that fits, some hundred at a time; interrupted, it is repeated.

    What is accepted later than the call is not looked for.

    Raises:
        Invalid: nothing says what, or ``everything`` comes with more.
    """
    wanted = _wanted(call)
    if call.dry_run:
        return await space.read(partial(_dry, wanted=wanted, call=call))
    await space.tell_bus(log_is_trimmed(space))
    total, left = Erased(), list[Unreachable]()
    tasks = messages = 0
    try:
        while found := await space.read(partial(_next, wanted=wanted)):
            total.add(await space.finish(_step(space, partial(_erase, found=found))))
        if call.session is not None and call.before is None and not call.source:
            step = partial(erase_session, session_id=call.session)
            total.add(await space.finish(_step(space, step)))
        if call.everything:
            tasks, messages = await space.finish(empty(space, _told(space)))
    finally:
        # Also when the caller goes away half way: what is gone from the store is gone elsewhere.
        left = await space.finish(finish(space, total))
    revoked = [*total.revoked, *total.revoked_quarantined]
    return ForgottenReport(
        findings=len(total.findings) + len(total.quarantined),
        documents=len(total.sources),
        passages=len(total.passage_ids),
        tasks=tasks,
        messages=messages,
        tombstones=total.tombstones,
        revoked=revoked[:_SHOWN],
        revoked_count=len(revoked),
        unreachable=left,
    )


async def lift(space: Space, call: LiftCall) -> Lifted:
    """Let what was forgotten be stored again; what was removed does not come back by itself.

    Raises:
        Invalid: not exactly one of the three was given.
        NotFound: nothing of that name was forgotten.
    """
    if [call.id is not None, call.session is not None, call.everything].count(True) != 1:
        raise Invalid("say what to lift: an id or source, a session, or everything")
    count = await space.write(partial(_lift, call=call, told=_told(space)))
    if not count and not call.everything:
        name = (call.id or call.session or "")[:200]
        raise NotFound(f"nothing called {name!r} was forgotten here", id=name)
    return Lifted(count)


async def list_forgotten(space: Space, call: ForgottenCall) -> Page[ForgottenFinding]:
    """Findings that were forgotten, in that order; ``next`` is the moment to go on from."""
    limit = max(1, min(call.limit, _MOST_LISTED))
    read = partial(tombstones.findings_since, at=call.since, limit=limit)
    rows = await space.read(read)
    return Page(
        [ForgottenFinding(*row) for row in rows],
        next=rows[-1][1] if len(rows) == limit else None,
    )


async def _forget(space: Space, name: str) -> tuple[str, Erased, list[Unreachable]]:
    for kind, step in _steps(name):
        erased = await _step(space, step)
        if not erased.is_empty:
            return kind, erased, await finish(space, erased)
    held = _PASSAGE_ID.fullmatch(name)
    if held is not None and await space.read(lambda c: bool(_passages(c, held))):
        # Blank already: forgotten before.
        return "passage", Erased(), []
    raise NotFound(
        f"nothing has the id {name[:200]!r}: give a finding id, a passage id as `recall` "
        "printed it, or a source as `ifmem sources` lists it",
        id=name[:200],
    )


def _steps(name: str) -> list[tuple[str, Step]]:
    """What an id may mean, in this order."""
    steps: list[tuple[str, Step]] = []
    finding_id = name.removeprefix("finding:")
    if _UUID.fullmatch(finding_id):
        steps.append(("finding", partial(erase_findings, ids=[finding_id])))
    if held := _PASSAGE_ID.fullmatch(name):
        steps.append(("passage", partial(_erase_passages, held=held)))
    steps.append(("document", partial(erase_documents, sources=[name])))
    return steps


def _erase_passages(connection: sqlite3.Connection, told: Told, held: re.Match[str]) -> Erased:
    return erase_passages(connection, told=told, found=_passages(connection, held))


def _passages(connection: sqlite3.Connection, held: re.Match[str]) -> list[StoredPassage]:
    return forgettable.passages(connection, held[1], int(held[2]))


async def _step(space: Space, step: Any) -> Erased:
    erased: Erased = await space.write(partial(step, told=_told(space)))
    if not erased.is_empty:
        await follow_up(space, erased)
    return erased


def _told(space: Space) -> Told:
    return Told(by=space.worker_id, at=clock.stamp(clock.now()))


def _wanted(call: ForgetMatchingCall) -> Wanted:
    named = bool(call.source) or call.session is not None or call.before is not None
    if call.everything == named:
        raise Invalid(
            "say what to forget: sources, a session or an age, which must all fit; or everything"
        )
    return Wanted(source=call.source, session=call.session, before=call.before)


def _next(
    connection: sqlite3.Connection, wanted: Wanted
) -> tuple[Sequence[str], Sequence[str]] | None:
    """The next documents and findings; None when none are left."""
    sources = forgettable.sources(connection, wanted, _AT_ONCE)
    # Documents first: each transaction is of one kind.
    ids = [] if sources else forgettable.finding_ids(connection, wanted, _AT_ONCE)
    return (sources, ids) if sources or ids else None


def _erase(
    connection: sqlite3.Connection, told: Told, found: tuple[Sequence[str], Sequence[str]]
) -> Erased:
    sources, ids = found
    if sources:
        return erase_documents(connection, sources, told)
    return erase_findings(connection, ids, told)


def _dry(
    connection: sqlite3.Connection, wanted: Wanted, call: ForgetMatchingCall
) -> ForgottenReport:
    documents, passages, found = forgettable.counts(connection, wanted)
    tasks, messages = forgettable.work_counts(connection) if call.everything else (0, 0)
    examples = forgettable.sources(connection, wanted, _SHOWN)
    if len(examples) < _SHOWN:
        examples += forgettable.finding_ids(connection, wanted, _SHOWN - len(examples))
    return ForgottenReport(
        findings=found,
        documents=documents,
        passages=passages,
        tasks=tasks,
        messages=messages,
        examples=examples,
        dry_run=True,
    )


def _lift(connection: sqlite3.Connection, call: LiftCall, told: Told) -> int:
    if call.everything:
        count = tombstones.lift_all(connection)
        subject = "everything"
    elif call.session is not None:
        count = tombstones.lift(connection, tombstones.SESSION, call.session)
        subject = tombstones.mark(connection, tombstones.SESSION, call.session)
    else:
        count, subject = _lift_named(connection, call.id or "")
    if count:
        forgettable.note_lifted(connection, subject, by=told.by, at=told.at)
    return count


def _lift_named(connection: sqlite3.Connection, name: str) -> tuple[int, str]:
    finding_id = name.removeprefix("finding:")
    if _UUID.fullmatch(finding_id) and tombstones.lift(connection, "finding", finding_id):
        return 1, finding_id
    kind: tombstones.Kind = "source"
    if held := _PASSAGE_ID.fullmatch(name):
        kind = "passage"
        forgettable.read_again(connection, held[1])
    elif _SHA256.fullmatch(name):
        kind = "content"
    return tombstones.lift(connection, kind, name), tombstones.mark(connection, kind, name)
