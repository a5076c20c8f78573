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
        return words_of(match)
    text = context.text(match.sha256, match.ordinal)
    if not text and isinstance(match, Passage):
        text = match.text
    return text or "", f"{match.title} {match.header}"


def words_of(row: Source) -> tuple[str, str]:
    """What stands in a row, and what it stands under: titles, or a finding's topic."""
    if isinstance(row, StoredFinding):
        return finding_json.searched(row.body).claim, row.topic or ""
    return row.text, f"{row.title} {row.header}"


def citation_of(candidate: Candidate, row: Source | None) -> CitationShape | None:
    """The citation of a sentence, or None when the source does not hold it."""
    if isinstance(row, StoredFinding):
        finding = finding_json.parse(row.body)
        if locate(candidate.sentence, finding.claim) is None:
            return None
        return finding_citation(row, candidate.sentence)
    return None if row is None else passage_citation([row], candidate.sentence)


def passage_citation(rows: Sequence[Passage], quote: str) -> CitationShape | None:
    """The citation of words that stand in consecutive passages, or None when they do not."""
    text = "".join(row.text for row in rows)
    place = locate(quote, text)
    if not rows or place is None:
        return None
    first = rows[0]
    return CitationShape(
        source=first.source,
        lines=(_line(rows, place[0]), _line(rows, place[1])),
        quote=text[slice(*place)].strip(),
        sha256=first.sha256,
        verified=True,
        locator=first.locator,
        shard=first.shard,
        trust=first.trust,
        author=first.author,
        time=first.time,
    )


def claim_of(row: StoredFinding) -> CitationShape:
    """The citation of a finding as a whole."""
    return finding_citation(row, finding_json.parse(row.body).claim)


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


def finding_citation(row: StoredFinding, quote: str) -> CitationShape:
    """The citation of words that stand in a finding's claim."""
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
        session=row.run,
    )


def _line(rows: Sequence[Passage], offset: int) -> int:
    """The line, from 1, of a place in the text of consecutive passages."""
    for row in rows:
        if offset <= len(row.text):
            return row.first_line + row.text.count("\n", 0, offset)
        offset -= len(row.text)
    raise AssertionError("a place outside its text")
