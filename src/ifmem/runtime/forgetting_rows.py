"""Forgetting in the store: what one transaction removes, marks, revokes and writes down.

Each function is the whole of a transaction: rows with what hangs on them, tombstones, the quotes in
findings that cite them, held answers, the audit, and the note that what is gone from here may still
lie elsewhere. Killed at any moment, all of it has happened or nothing.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence, Set
from dataclasses import dataclass, field, replace
from pathlib import PurePosixPath

import msgspec

from ifmem.domain.finding import Citation
from ifmem.engine.forgetting import BlankedPassage, Gone, names_any, without_quotes
from ifmem.runtime.saving import blank, take_out
from ifmem.store import audit, findings, forgettable, quarantine, tombstones
from ifmem.store.findings import StoredFinding
from ifmem.store.forgettable import StoredPassage
from ifmem.wire import finding_json

FORGOTTEN = "(forgotten)"


@dataclass(frozen=True, slots=True)
class Told:
    """By whom and when, as the audit and the tombstones say it."""

    by: str
    at: str


@dataclass
class Erased:
    """What a transaction took from the store: what everything else must hear of."""

    findings: dict[str, int] = field(default_factory=dict)
    """Sequences by id, of those that were in the log."""
    quarantined: list[str] = field(default_factory=list)
    sources: list[str] = field(default_factory=list)
    passage_ids: list[int] = field(default_factory=list)
    """Of documents, and of passages that were named."""
    named: list[str] = field(default_factory=list)
    """Public ids of passages that were named."""
    archived: list[int] = field(default_factory=list)
    """Contents that are left to ended sessions alone."""
    shards: set[int] = field(default_factory=set)
    digests: set[str] = field(default_factory=set)
    revoked: dict[str, StoredFinding] = field(default_factory=dict)
    """Findings of the log as they now are."""
    revoked_quarantined: list[str] = field(default_factory=list)
    tombstones: int = 0
    elsewhere: list[str] = field(default_factory=list)
    """Paths that still lead to a text that was forgotten under another."""

    @property
    def is_empty(self) -> bool:
        """Nothing was there to forget."""
        return not (self.findings or self.quarantined or self.sources or self.named)

    def add(self, other: Erased) -> None:
        """Take in what another transaction took, short of what is large and done with."""
        self.findings |= other.findings
        self.quarantined += other.quarantined
        self.sources += other.sources
        self.passage_ids += other.passage_ids
        self.named += other.named
        self.shards |= other.shards
        self.digests |= other.digests
        self.revoked |= other.revoked
        self.revoked_quarantined += other.revoked_quarantined
        self.tombstones += other.tombstones
        self.elsewhere += other.elsewhere


def erase_findings(connection: sqlite3.Connection, ids: Sequence[str], told: Told) -> Erased:
    """Remove findings, in the log or in quarantine; ids that are not there are passed over."""
    erased = Erased()
    for finding_id in ids:
        forgettable.blank_reasons(connection, finding_id, FORGOTTEN)
        if quarantine.delete(connection, finding_id, told.at) is not None:
            erased.quarantined.append(finding_id)
        elif (sequence := findings.delete(connection, finding_id, told.at)) is not None:
            erased.findings[finding_id] = sequence
        else:
            continue
        _blank_origin(connection, finding_id)
        erased.tombstones += 1
        _note(connection, told, "finding", finding_id)
    gone = frozenset((*erased.findings, *erased.quarantined))
    _settle(connection, erased, Gone(findings=gone), gone, told)
    return erased


def erase_documents(
    connection: sqlite3.Connection, sources: Sequence[str], told: Told, *, lasting: bool = True
) -> Erased:
    """Remove documents; a text that other paths lead to stays under those.

    Args:
        connection: of a transaction.
        sources: those that are not there are passed over.
        told: by whom, and when.
        lasting: what is offered again is refused.
    """
    erased = Erased()
    held = {one: forgettable.contents_of(connection, one) for one in sources}
    changes = take_out(connection, sources)
    erased.sources = changes.sources
    erased.passage_ids, erased.shards = changes.removed, changes.shards
    erased.archived = changes.archived
    for source in changes.sources:
        mark = tombstones.mark(connection, tombstones.SOURCE, source)
        if lasting:
            tombstones.put(connection, tombstones.SOURCE, source, at=told.at, by=told.by)
            erased.tombstones += 1
        _note(connection, told, "document", mark)
        known = held[source]
        if known is None:
            continue
        sha256, title = known
        forgettable.unplace(connection, str(PurePosixPath(title).parent))
        if others := forgettable.paths_to(connection, sha256):
            erased.elsewhere += others
            continue
        erased.digests.add(sha256)
        if not lasting:
            continue
        erased.tombstones += 1
        tombstones.put(connection, tombstones.CONTENT, sha256, at=told.at, by=told.by, because=mark)
    gone = Gone(sources=frozenset(changes.sources))
    _settle(connection, erased, gone, gone.sources | erased.digests, told)
    return erased


def erase_passages(
    connection: sqlite3.Connection, found: Sequence[StoredPassage], told: Told
) -> Erased:
    """Blank a passage wherever its document is stored; nothing when it was blank already."""
    erased = Erased()
    blanked: list[BlankedPassage] = []
    for one in found:
        changes = blank(connection, one.content_id, one.ordinal)
        if not changes.removed:
            continue
        name = tombstones.passage_place(one.sha256, one.ordinal)
        mark = tombstones.put(connection, tombstones.PASSAGE, name, at=told.at, by=told.by)
        erased.tombstones += 1
        if words := tombstones.passage_text(one.text):
            erased.tombstones += 1
            tombstones.put(
                connection, tombstones.PASSAGE, words, at=told.at, by=told.by, because=mark
            )
        _note(connection, told, "passage", mark)
        erased.named.append(name)
        erased.passage_ids += changes.removed
        erased.shards |= changes.rewritten
        blanked.append(BlankedPassage(frozenset(one.sources), one.sha256, one.lines, one.text))
    _settle(connection, erased, Gone(passages=blanked), frozenset(erased.named), told)
    return erased


def erase_session(connection: sqlite3.Connection, session_id: str, told: Told) -> Erased:
    """Remove what is known of a session whose documents and findings are gone."""
    erased = Erased()
    if forgettable.delete_session(connection, session_id):
        mark = tombstones.put(connection, tombstones.SESSION, session_id, at=told.at, by=told.by)
        erased.tombstones += 1
        _note(connection, told, "session", mark)
        forgettable.set_due(connection, True)
    return erased


def _settle(
    connection: sqlite3.Connection, erased: Erased, gone: Gone, names: Set[str], told: Told
) -> None:
    """What follows in the same transaction from what was removed."""
    if not names:
        return
    cited = {
        *(f"finding:{one}" for one in gone.findings),
        *gone.sources,
        *(source for passage in gone.passages for source in passage.sources),
    }
    for table, body in forgettable.citing(connection, sorted(cited)):
        _revoke(connection, erased, table, body, gone, told)
    for number, response in forgettable.responses(connection):
        if names_any(msgspec.json.decode(response), names):
            forgettable.drop_response(connection, number, "what it cited was forgotten: ask again")
    forgettable.set_due(connection, True)


def _revoke(
    connection: sqlite3.Connection,
    erased: Erased,
    table: str,
    body: bytes,
    gone: Gone,
    told: Told,
) -> None:
    """Take the quotes of what is gone out of a finding; its digest is of what it now says."""
    kept = without_quotes(finding_json.parse(body), gone)
    if kept is None:
        return
    kept = replace(kept, content_sha256=finding_json.digest(kept))
    sequence = forgettable.rewrite(connection, table, kept.finding_id, finding_json.to_json(kept))
    if table == "finding":
        erased.revoked |= {kept.finding_id: findings.by_sequence(connection, [sequence])[sequence]}
    else:
        erased.revoked_quarantined.append(kept.finding_id)
    audit.note(
        connection,
        entry=f"revoke:{kept.finding_id}:{told.at}",
        at=told.at,
        type=audit.WRITE,
        severity=audit.INFO,
        action="revoke",
        actor=told.by,
        subject=kept.finding_id,
        reason="what it quoted was forgotten",
        task_id=kept.task_id,
    )


def _blank_origin(connection: sqlite3.Connection, finding_id: str) -> None:
    """The quarantined finding that a forgotten one said again keeps its place, not its words."""
    body = forgettable.said_again_as(connection, finding_id)
    if body is None:
        return
    before = finding_json.parse(body)
    after = replace(
        before,
        claim=FORGOTTEN,
        citations=tuple(
            replace(one, quote="", unknown={}) if isinstance(one, Citation) else one
            for one in before.citations
        ),
        topic=None,
        value=None,
        unit=None,
        tags=(),
        unknown={},
        content_sha256="",
    )
    forgettable.rewrite(connection, "quarantined", after.finding_id, finding_json.to_json(after))
    forgettable.untopic(connection, after.finding_id)


def _note(connection: sqlite3.Connection, told: Told, kind: str, subject: str) -> None:
    """A row for one thing: a random id as it is, of anything else only its mark.

    A path tells of the forgotten, and so does the digest of a text that can be guessed.
    """
    audit.note(
        connection,
        entry=f"forget:{subject}:{told.at}",
        at=told.at,
        type=audit.WRITE,
        severity=audit.INFO,
        action="forget",
        actor=told.by,
        subject=subject,
        reason=kind,
    )
