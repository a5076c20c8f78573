"""What a match stands for in the store, and the citation of a sentence that is found there."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence

from ifmem.bus.state import Context
from ifmem.domain.passage import Passage
from ifmem.engine.evidence import locate
from ifmem.engine.synthesis import Candidate
from ifmem.runtime.indexing import FINDINGS_SHARD
from ifmem.store import contents, findings
from ifmem.store.contents import Head
from ifmem.store.findings import StoredFinding
from ifmem.wire import finding_json
from ifmem.wire.answers import CitationShape

Source = Passage | StoredFinding
"""A passage or a finding as stored."""

Match = Source | Head
"""What is known of a match before it is read."""

_FINDING = "finding:"


def rows_of(connection: sqlite3.Connection, keys: Sequence[int]) -> dict[int, Source]:
    """What the index's keys stand for; what is gone is missing from the answer."""
    rows: dict[int, Source] = {}
    rows |= contents.passages_by_id(connection, [key for key in keys if key > 0])
    said = findings.by_sequence(connection, [-key for key in keys if key < 0])
    return rows | {-sequence: finding for sequence, finding in said.items()}


def matches_of(
    connection: sqlite3.Connection, wanted: Iterable[tuple[Context, int]]
) -> dict[int, Match]:
    """What shards need to read their matches; texts only where their contexts have none."""
    asked = list(wanted)
    heads = contents.heads_by_id(connection, {key for _, key in asked if key > 0})
    elsewhere = {
        key
        for context, key in asked
        if key < 0 or (key in heads and context.text(*heads[key][:2]) is None)
    }
    return heads | rows_of(connection, list(elsewhere))


def text_of(match: Match, context: Context) -> tuple[str, str]:
    """What the shard reads of a match: from its context, or the claim of a finding."""
    if isinstance(match, StoredFinding):
        finding = finding_json.parse(match.body)
        return finding.claim, finding.topic or ""
    text = context.text(match.sha256, match.ordinal)
    if not text and isinstance(match, Passage):
        text = match.text
    return text or "", f"{match.title} {match.header}"


def citation_of(candidate: Candidate, row: Source | None) -> CitationShape | None:
    """The citation of a sentence, or None when the source does not hold it."""
    if isinstance(row, StoredFinding):
        finding = finding_json.parse(row.body)
        if locate(candidate.sentence, finding.claim) is None:
            return None
        return _of_finding(row, candidate.sentence)
    place = None if row is None else locate(candidate.sentence, row.text)
    if row is None or place is None:
        return None
    first = row.first_line + row.text.count("\n", 0, place[0])
    return CitationShape(
        source=row.source,
        lines=(first, first + row.text.count("\n", *place)),
        quote=row.text[slice(*place)].strip(),
        sha256=row.sha256,
        verified=True,
        locator=row.locator,
        shard=row.shard,
        trust=row.trust,
        author=row.author,
        time=row.time,
    )


def claim_of(row: StoredFinding) -> CitationShape:
    """The citation of a finding as a whole."""
    return _of_finding(row, finding_json.parse(row.body).claim)


def cited_by(rows: Iterable[Source]) -> list[str]:
    """The ids of the findings that these findings cite, each once."""
    wanted = {
        reference.removeprefix(_FINDING): None
        for row in rows
        if isinstance(row, StoredFinding)
        for reference in finding_json.parse(row.body).citations
        if isinstance(reference, str) and reference.startswith(_FINDING)
    }
    return list(wanted)


def _of_finding(row: StoredFinding, quote: str) -> CitationShape:
    finding = finding_json.parse(row.body)
    return CitationShape(
        source=_FINDING + finding.finding_id,
        lines=None,
        quote=quote.strip(),
        sha256=finding.content_sha256,
        verified=True,
        finding_id=finding.finding_id,
        shard=FINDINGS_SHARD,
        trust=finding.trust,
        author=finding.worker_id,
        time=finding.timestamp,
    )
