"""Findings: checked, published to the log, acknowledged by the store; read back in order."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from functools import partial

import msgspec

from ifmem import clock, tokens
from ifmem.bus.bus import Bus
from ifmem.bus.findings import Published
from ifmem.domain.finding import Citation, Finding
from ifmem.domain.task import NO_RUN
from ifmem.engine.conflicts import folded
from ifmem.engine.masking import mask_values
from ifmem.errors import Invalid, Refused
from ifmem.runtime.citing import cite_given
from ifmem.runtime.fencing import fence_of
from ifmem.runtime.space import Space
from ifmem.store import findings, quarantine, sessions, supersession
from ifmem.store.findings import StoredFinding
from ifmem.wire import envelopes, finding_json
from ifmem.wire.calls import FindingsCall, RememberCall
from ifmem.wire.shapes import FindingLine, Page, Remembered


async def remember(space: Space, call: RememberCall) -> Remembered:
    """Publish a finding and have it stored; repeating an id changes nothing.

    Raises:
        Invalid: a field breaks a rule, or a citation cannot be checked; nothing is stored.
        Refused: a finding of that id was forgotten, or its session was ended.
        OutcomeUnknown: the store has not committed it in time.
    """
    finding = await complete(space, call)
    if finding.session_id is not None:
        await space.read(partial(_require_session, finding=finding))
    return await space.finish(store_finding(space, finding, durable=call.durable))


async def list_findings(space: Space, call: FindingsCall) -> Page[FindingLine]:
    """Findings after a cursor, oldest first; ``next`` is the cursor of the last one looked at.

    Those in quarantine are listed apart, and only for who asks for them.
    """
    try:
        sequence = int(call.since or 0)
    except ValueError as error:
        raise Invalid(
            f"{call.since!r} is no cursor: give one that `findings` printed, or 0"
        ) from error
    limit = max(1, min(call.limit, 10_000))
    read: Callable[..., list[StoredFinding]] = findings.since
    if call.quarantined:
        read = quarantine.since
    elif call.filters.at is not None:
        read = partial(supersession.believed_at, at=call.filters.at)
    rows = await space.read(
        partial(read, sequence=sequence, limit=limit, task_id=call.task, run=call.filters.run)
    )
    items = [
        FindingLine(str(row.sequence), msgspec.json.decode(row.body))
        for row in rows
        if _passes(call, row)
    ]
    return Page(items, next=str(rows[-1].sequence) if len(rows) == limit else None)


async def complete(space: Space, call: RememberCall) -> Finding:
    """The finding with what its author left out, masked, its citations checked."""
    masked, _ = mask_values(dict(call.finding))
    assert isinstance(masked, dict)
    finding = finding_json.from_json(
        {
            "finding_id": clock.new_id(),
            "worker_id": space.worker_id,
            "timestamp": clock.stamp(clock.now()),
            **masked,
            "trust": call.trust,
            "durable": False,
        }
    )
    fence = fence_of(call.within, elsewhere=call.elsewhere)
    cited = [
        await cite_given(space, one, elsewhere=call.elsewhere, fence=fence)
        for one in finding.citations
    ]
    await _require_no_circle(space, finding)
    finding = replace(finding, citations=tuple(cited), tokens=tokens.count(finding.claim))
    return replace(finding, content_sha256=finding_json.digest(finding))


async def publish(bus: Bus, finding: Finding) -> Published:
    """Publish a finding by the log; one in quarantine reaches the store and no reader."""
    return await bus.findings.publish(
        finding.finding_id,
        finding_json.to_json(finding),
        envelopes.head(finding),
        hidden=finding.is_quarantined,
    )


async def store_finding(space: Space, finding: Finding, *, durable: bool) -> Remembered:
    """Publish it, and wait for the store unless the caller does not."""
    known = await space.read(partial(_known, finding_id=finding.finding_id))
    if known is not None:
        return Remembered(finding.finding_id, str(known), "known")
    space.publishing.add(finding.finding_id)
    published = await space.commit(
        lambda: publish(space.bus, finding),
        durable=durable,
        id=finding.finding_id,
    )
    if not durable:
        return Remembered(finding.finding_id, str(published.sequence), "accepted")
    sequence = await space.read(partial(_known, finding_id=finding.finding_id))
    outcome = "stored" if published.is_new else "known"
    return Remembered(finding.finding_id, str(sequence), outcome)


async def _require_no_circle(space: Space, finding: Finding) -> None:
    if finding.supersedes is None:
        return
    if finding.supersedes == finding.finding_id:
        raise Invalid("a finding cannot supersede itself: give it an id of its own")
    leads_to = partial(supersession.leads_to, start=finding.supersedes, target=finding.finding_id)
    if await space.read(leads_to):
        raise Invalid(
            f"finding {finding.supersedes} supersedes {finding.finding_id} already: give the new "
            "finding an id of its own",
            supersedes=finding.supersedes,
        )


def _require_session(connection: sqlite3.Connection, finding: Finding) -> None:
    """Let pass what is repeated, and what is said in no session or in one that goes on.

    Raises:
        Refused: somebody has ended it, or the finding was forgotten.
    """
    if _known(connection, finding.finding_id) is None:
        sessions.require_open(connection, finding.session_id or NO_RUN)


def _known(connection: sqlite3.Connection, finding_id: str) -> int | None:
    """The sequence of a stored finding, also of one in quarantine; None when the id is new.

    Raises:
        Refused: it was forgotten.
    """
    stored = findings.by_id(connection, finding_id)
    if stored is None and findings.was_forgotten(connection, finding_id):
        raise Refused(
            f"finding {finding_id} was forgotten: remember it under another id, or lift that "
            f"first with `ifmem forget --lift {finding_id}`",
            finding_id=finding_id,
        )
    held = quarantine.sequence_of(connection, finding_id)
    return held if stored is None else stored.sequence


def _passes(call: FindingsCall, row: StoredFinding) -> bool:
    """True when the author, the time, the session and a cited source are the wanted ones."""
    wanted = call.filters
    if call.topic is not None and folded(row.topic) != folded(call.topic):
        return False
    if wanted.author is not None and row.author != wanted.author:
        return False
    if not (wanted.since or "") <= row.said_at <= (wanted.until or "~"):
        return False
    if wanted.group is None and not wanted.source:
        return True
    finding = finding_json.parse(row.body)
    if wanted.group is not None and finding.session_id != wanted.group:
        return False
    cited = [c.source for c in finding.citations if isinstance(c, Citation)]
    return not wanted.source or any(_lies_in(one, wanted.source) for one in cited)


def _lies_in(source: str, places: Sequence[str]) -> bool:
    return any(
        source == place or source.startswith(place.rstrip("/") + "/") or fnmatchcase(source, place)
        for place in places
    )
