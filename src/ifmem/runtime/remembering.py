"""Findings: stored, indexed and published; read back in order."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from functools import partial
from typing import Any

import msgspec

from ifmem import clock, tokens
from ifmem.domain.finding import Citation, Finding
from ifmem.engine.masking import mask_values
from ifmem.errors import Invalid, Refused
from ifmem.runtime.citing import cite
from ifmem.runtime.indexing import index_finding
from ifmem.runtime.space import Space
from ifmem.store import findings
from ifmem.store.findings import StoredFinding
from ifmem.wire import finding_json
from ifmem.wire.calls import FindingsCall, RememberCall
from ifmem.wire.shapes import FindingLine, Page, Remembered


async def remember(space: Space, call: RememberCall) -> Remembered:
    """Store a finding and publish it; repeating an id changes nothing.

    Raises:
        Invalid: a field breaks a rule, or a citation cannot be checked; nothing is stored.
        Refused: a finding of that id was forgotten.
    """
    finding = await _completed(space, call.finding, call.trust)
    body = finding_json.to_json(finding)
    return await space.finish(_store(space, finding, body))


async def list_findings(space: Space, call: FindingsCall) -> Page[FindingLine]:
    """Findings after a cursor, oldest first; ``next`` is the cursor of the last one looked at."""
    try:
        sequence = int(call.since or 0)
    except ValueError as error:
        raise Invalid(
            f"{call.since!r} is no cursor: give one that `findings` printed, or 0"
        ) from error
    limit = max(1, min(call.limit, 10_000))
    rows = await space.read(
        partial(findings.since, sequence=sequence, limit=limit, task_id=call.task)
    )
    items = [
        FindingLine(str(row.sequence), msgspec.json.decode(row.body))
        for row in rows
        if _passes(call, row)
    ]
    return Page(items, next=str(rows[-1].sequence) if len(rows) == limit else None)


async def _completed(space: Space, given: Mapping[str, Any], trust: str) -> Finding:
    """The finding with what its author left out, masked, its citations checked."""
    masked, _ = mask_values(dict(given))
    assert isinstance(masked, dict)
    finding = finding_json.from_json(
        {
            "finding_id": clock.new_id(),
            "worker_id": space.worker_id,
            "timestamp": clock.stamp(clock.now()),
            **masked,
            "trust": trust,
            "durable": True,
        }
    )
    cited = [c if isinstance(c, str) else await cite(space, c) for c in finding.citations]
    finding = replace(finding, citations=tuple(cited), tokens=tokens.count(finding.claim))
    return replace(finding, content_sha256=finding_json.digest(finding))


async def _store(space: Space, finding: Finding, body: bytes) -> Remembered:
    def work(connection: sqlite3.Connection) -> tuple[int, bool]:
        if findings.was_forgotten(connection, finding.finding_id):
            raise Refused(
                f"finding {finding.finding_id} was forgotten: remember it under another id",
                finding_id=finding.finding_id,
            )
        return findings.append(
            connection,
            finding_id=finding.finding_id,
            author=finding.worker_id,
            task_id=finding.task_id,
            topic=finding.topic,
            said_at=finding.timestamp,
            tokens=finding.tokens,
            body=body,
        )

    sequence, is_new = await space.write(work)
    if is_new:
        space.findings_stored += 1
        stored = await space.read(partial(findings.by_sequence, sequences=[sequence]))
        index_finding(space.index, stored[sequence])
        await space.tell_bus(
            space.bus.put_finding(
                finding.finding_id,
                sequence=sequence,
                body=body,
                stored=space.findings_stored,
                window=space.settings.findings.window,
            )
        )
    return Remembered(finding.finding_id, str(sequence), "stored" if is_new else "known")


def _passes(call: FindingsCall, row: StoredFinding) -> bool:
    """True when the author, the time, the session and a cited source are the wanted ones."""
    wanted = call.filters
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
