"""Verifying: every citation is looked up again, in the store and in its source as it is now.

Only for the user: files are read as a load reads them, which no agent and no other host may ask
for.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from itertools import chain

import msgspec

from ifmem import clock
from ifmem.domain import if_uri
from ifmem.domain.finding import Citation, CitationStatus
from ifmem.engine.fencing import lies_in
from ifmem.engine.verification import (
    MISSING,
    REVOKED,
    UNVERIFIED,
    VERIFIED,
    Judgement,
    Pointer,
    judge,
)
from ifmem.errors import Invalid, NotFound, Refused
from ifmem.runtime.auditing import check_audit, check_checkpoint
from ifmem.runtime.source_states import Sources
from ifmem.runtime.space import Space
from ifmem.store import citations, findings
from ifmem.store.audit_anchor import read_key
from ifmem.store.citations import Citing
from ifmem.wire import finding_json
from ifmem.wire.citation_records import CitationRecord, Outcome, records_of, signed
from ifmem.wire.verify_calls import (
    AuditVerdict,
    CheckedCitation,
    Counts,
    VerifyAuditCall,
    VerifyCall,
    VerifyPage,
)

MOST_CITATIONS = 5_000
"""After so many a page ends with the finding it has come to."""
_MOST_FINDINGS = 1_000
_FINDING = "finding:"


async def verify(
    space: Space, call: VerifyCall, *, now: Callable[[], datetime] = clock.now
) -> VerifyPage:
    """The citations of the next findings, checked; writes go on meanwhile.

    Raises:
        Invalid: the cursor is none.
        NotFound: there is no finding of that id.
        Refused: records are to be signed, and ``audit.key`` is not there.
    """
    try:
        after = int(call.since or 0)
    except ValueError as error:
        raise Invalid(f"{call.since!r} is no cursor: give one that was printed, or 0") from error
    key = await space.read(lambda _: _signing_key(space)) if call.records else None
    page = await space.read(
        partial(_checked_page, space=space, call=call, after=after, key=key, at=clock.stamp(now()))
    )
    if page.next is None:
        space.verified_texts.clear()
    return page


async def verify_audit(space: Space, call: VerifyAuditCall) -> AuditVerdict:
    """Whether the chain of the audit holds, and still has the row that a checkpoint names."""
    checkpoint = None
    if call.checkpoint is not None:
        checkpoint = await check_checkpoint(space, call.checkpoint, call.public_key)
    return AuditVerdict(await check_audit(space), checkpoint)


class _Cited(msgspec.Struct, frozen=True):
    source: str
    lines: tuple[int, int] | None = None
    quote: str = ""
    sha256: str | None = None
    status: str = UNVERIFIED


class _Body(msgspec.Struct, frozen=True):
    """What verifying reads of a finding: a tenth of the work of reading all of it."""

    citations: tuple[_Cited | str, ...] = ()


_body = msgspec.json.Decoder(_Body)


@dataclass
class _Checked:
    """What a page has found so far."""

    items: list[CheckedCitation] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)
    records: list[CitationRecord] = field(default_factory=list)
    citations: int = 0
    findings: int = 0
    last: int = 0


def _checked_page(
    connection: sqlite3.Connection,
    *,
    space: Space,
    call: VerifyCall,
    after: int,
    key: bytes | None,
    at: str,
) -> VerifyPage:
    if call.finding is not None and findings.by_id(connection, call.finding) is None:
        raise NotFound(f"there is no finding {call.finding[:80]!r}", id=call.finding[:80])
    if after == 0:
        space.verified_texts.clear()
    limit = max(1, min(call.limit, _MOST_FINDINGS))
    page = citations.citing(
        connection, after=after, limit=limit, sources=call.source, finding_id=call.finding
    )
    cited = {one.finding_id: _citations_of(one) for one in page}
    look = _Look(
        connection,
        Sources(connection, space.settings.ingest, space.verified_texts),
        citations.known_findings(connection, _findings_named(cited.values())),
        citations.in_conflict(connection, cited.keys()),
    )
    done = _Checked()
    for one in page:
        outcomes = _check(one, cited[one.finding_id], look, call, done)
        if key is not None and outcomes:
            finding = finding_json.parse(one.body)
            made = records_of(finding, outcomes, at=at, by=space.worker_id)
            done.records += [signed(record, key) for record in made]
        if done.citations >= MOST_CITATIONS:
            break
    ended = len(page) < limit and done.findings == len(page)
    return VerifyPage(
        items=done.items,
        counts=Counts(**done.counts),
        findings=done.findings,
        next=None if ended else str(done.last),
        total=_count(connection, call, after) if call.total else None,
        records=done.records,
    )


@dataclass(frozen=True, slots=True)
class _Look:
    """Where a page's citations are looked up."""

    connection: sqlite3.Connection
    sources: Sources
    findings: Mapping[str, str]
    conflicts: Mapping[str, str]

    def judge(self, cited: _Cited) -> Judgement:
        """The status of one citation, whatever it points to."""
        if cited.status == CitationStatus.REVOKED:
            return Judgement(REVOKED, cited.lines, "the text that it quoted was forgotten")
        if cited.source.startswith(_FINDING):
            return self._of_finding(cited.source.removeprefix(_FINDING), is_uri=False)
        if if_uri.is_if_uri(cited.source):
            return self._of_uri(cited)
        source = cited.source
        if not source.startswith("/") and "://" not in source:
            # Where a path that is not absolute comes from nobody knows; one loaded root may tell.
            source = self._loaded(source) or source
        return self._of_source(source, cited)

    def _of_source(self, source: str, cited: _Cited) -> Judgement:
        state = self.sources.state(source)
        if not state.is_known:
            return Judgement(UNVERIFIED, cited.lines, "it is neither a file nor loaded")
        then = None
        if cited.sha256 is not None and (state.now is None or state.now.sha256 != cited.sha256):
            then = self.sources.snapshot(cited.sha256)
        pointer = Pointer(
            quote=cited.quote,
            lines=cited.lines,
            sha256=cited.sha256,
            was_verified=cited.status == CitationStatus.VERIFIED,
        )
        return judge(pointer, state.now, then, gone=state.gone)

    def _of_finding(self, finding_id: str, *, is_uri: bool) -> Judgement:
        state = self.findings.get(finding_id)
        if state == "stored":
            return Judgement(VERIFIED)
        if state == "quarantined":
            return Judgement(UNVERIFIED, why="the finding waits in quarantine")
        if state is None and is_uri:
            return Judgement(UNVERIFIED, why="the URI leads to nothing here")
        why = "was forgotten" if state == "forgotten" else "is not known here"
        return Judgement(MISSING, why=f"the finding {why}")

    def _of_uri(self, cited: _Cited) -> Judgement:
        uri = if_uri.parse(cited.source)
        named = None if uri is None else uri.source
        if uri is None or named is None:
            return Judgement(UNVERIFIED, cited.lines, "the URI leads to nothing here")
        if named.startswith(_FINDING):
            return self._of_finding(named.removeprefix(_FINDING), is_uri=True)
        source = named if named.startswith(("/", "chat:")) else self._loaded(named)
        state = None if source is None else self.sources.state(source)
        if source is None or state is None or state.now is None:
            return Judgement(UNVERIFIED, cited.lines, "the URI leads to nothing here")
        lines = cited.lines or uri.lines
        if cited.quote or cited.sha256 is not None:
            return self._of_source(source, msgspec.structs.replace(cited, lines=lines))
        if lines is not None and not state.now.text.has(lines):
            return Judgement(UNVERIFIED, lines, "the source has no such lines")
        return Judgement(VERIFIED, lines)

    def _loaded(self, path: str) -> str | None:
        return citations.document_named(self.connection, path)


def _check(
    one: Citing, cited: Sequence[_Cited], look: _Look, call: VerifyCall, done: _Checked
) -> list[Outcome]:
    """Look up the citations of a finding, and add what was found."""
    conflict = look.conflicts.get(one.finding_id)
    outcomes = []
    for ordinal, each in enumerate(cited):
        if call.source and not lies_in(each.source, call.source):
            continue
        found = look.judge(each).under(conflict)
        outcomes.append(Outcome(ordinal, found.status, found.lines))
        done.counts[found.status] = done.counts.get(found.status, 0) + 1
        done.citations += 1
        if found.status == VERIFIED and call.problems_only:
            continue
        moved = found.status == VERIFIED and each.lines not in (None, found.lines)
        done.items.append(
            CheckedCitation(
                finding_id=one.finding_id,
                source=each.source,
                lines=found.lines,
                status=found.status,
                lines_before=each.lines if moved else None,
                why=found.why,
            )
        )
    done.findings += 1
    done.last = one.sequence
    return outcomes


def _citations_of(one: Citing) -> Sequence[_Cited]:
    try:
        given = _body.decode(one.body).citations
    except msgspec.DecodeError:
        # Written by an earlier tool, past our functions.
        given = tuple(map(_read, finding_json.parse(one.body).citations))
    return [_Cited(each) if isinstance(each, str) else each for each in given]


def _read(citation: Citation | str) -> _Cited | str:
    if isinstance(citation, str):
        return citation
    return _Cited(citation.source, citation.lines, citation.quote, citation.sha256, citation.status)


def _findings_named(cited: Iterable[Sequence[_Cited]]) -> set[str]:
    named = set()
    for each in chain.from_iterable(cited):
        source = each.source
        if if_uri.is_if_uri(source):
            uri = if_uri.parse(source)
            source = (uri.source if uri is not None else None) or ""
        if source.startswith(_FINDING):
            named.add(source.removeprefix(_FINDING))
    return named


def _count(connection: sqlite3.Connection, call: VerifyCall, after: int) -> int:
    return citations.count(connection, after=after, sources=call.source, finding_id=call.finding)


def _signing_key(space: Space) -> bytes:
    key = read_key(space.database.path)
    if key is None:
        raise Refused("records cannot be signed: audit.key is not beside the store")
    return key
