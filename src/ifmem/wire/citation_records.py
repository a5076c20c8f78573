"""Citations of earlier tools read, and Citation v1.0 records written.

A record is ``{citation_id, claim_id, sources: [{type, ref, hash, note}], status, …}``; ``ref`` is
``path:line``, ``path:first-last`` or a URL, ``hash`` is ``sha256:`` and hexadecimal digits. Of a
record that is read, each source becomes a citation of ours, with all its other fields beside it.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from ifmem.domain.finding import Citation, CitationStatus, Finding
from ifmem.domain.if_uri import is_if_uri, normalised, uri_of
from ifmem.engine.kinds import kind_of
from ifmem.errors import Invalid

_SIGNED_WITH = "hmac-sha256:"
_SIGNED_AS = b"citation\0"
"""So that no other use of the key gives a signature of a record."""
_DIGEST = "sha256:"
_WITH_LINES = re.compile(
    r"(?P<source>.+?):L?(?P<first>\d{1,9})(?:-L?(?P<last>\d{1,9}))?", re.DOTALL
)
_HEXADECIMAL = re.compile(r"[0-9a-fA-F]{64}")
_STATUSES = frozenset(map(str, CitationStatus))
_WORST_LAST = ("verified", "unverified", "stale", "disputed", "revoked", "missing")
_OURS = frozenset(("source", "lines", "locator", "quote", "sha256", "status"))
_READ = frozenset(("sources", "ref", "hash", "status", "quote"))
"""Fields of a record whose meaning is kept in fields of ours."""


class RecordSource(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a record cites."""

    type: str
    """``paper``, ``code``, ``conversation``, ``dataset``, ``web`` or ``other``."""
    ref: str
    hash: str | None = None
    note: str | None = None
    quote: str | None = None


class CitationRecord(msgspec.Struct, frozen=True, omit_defaults=True):
    """One Citation v1.0, as ``ifmem verify --records`` writes it."""

    citation_id: str
    claim_id: str
    sources: list[RecordSource]
    created_by: str
    created_at: str
    status: str
    """``unverified``, ``verified``, ``stale``, ``disputed`` or ``revoked``."""
    signature: str = ""
    rationale: str | None = None
    verified_at: str | None = None
    verified_by: str | None = None
    adjacent_decisions: list[Any] | None = None
    meta: dict[str, Any] | None = None


def is_record(given: Mapping[str, Any]) -> bool:
    """Whether these are the fields of a record, or of one of its sources, and not ours."""
    return "source" not in given and ("sources" in given or "ref" in given)


def citations_in(given: Mapping[str, Any]) -> Iterator[Citation]:
    """The citations that a record, or a source of one, stands for.

    Raises:
        Invalid: a source has no ``ref``.
    """
    sources = given.get("sources", [given])
    if not isinstance(sources, list):
        raise Invalid("this is no citation: `sources` is no list")
    shared = {name: value for name, value in given.items() if name not in _READ}
    for source in sources:
        fields = {"ref": source} if isinstance(source, str) else source
        if not isinstance(fields, dict) or not isinstance(fields.get("ref"), str):
            raise Invalid("this is no citation: a source needs its `ref`, a path:line or a URL")
        yield _citation(fields, given, shared)


def text_citation(text: str) -> Citation | str:
    """A citation that was given as a text: ``path:line[-line]`` with its lines, else the text.

    An ``if://`` URI is normalised; ``finding:<uuid>`` and URLs stay as they are.
    """
    if is_if_uri(text):
        return normalised(text)
    source, lines = _pointed(text)
    return text if lines is None else Citation(source=source, lines=lines)


class Outcome(NamedTuple):
    """What verifying a citation gave."""

    ordinal: int
    """Which of the finding's citations, counted from 0."""
    status: str
    lines: tuple[int, int] | None
    """Where its quote stands now."""


def records_of(
    finding: Finding, outcomes: Sequence[Outcome], *, at: str, by: str
) -> list[CitationRecord]:
    """The records of a finding's citations, without signatures.

    Citations that were read from one record are one again; its status is the worst of theirs.

    Args:
        finding: whose citations were verified.
        outcomes: what was found, in the order of the citations.
        at: when.
        by: who found it.
    """
    together: dict[str, list[Outcome]] = {}
    for one in outcomes:
        own = f"if://citation/{finding.finding_id}/{one.ordinal + 1}"
        name = _text(_kept(finding.citations[one.ordinal]), "citation_id") or own
        together.setdefault(name, []).append(one)
    return [_record(finding, name, some, at, by) for name, some in together.items()]


def signed(record: CitationRecord, key: bytes) -> CitationRecord:
    """The record with its HMAC: over its JSON, fields sorted, without the signature."""
    return msgspec.structs.replace(record, signature=_SIGNED_WITH + _mac(record, key))


def is_signed(record: CitationRecord, key: bytes) -> bool:
    """Whether the signature of a record is by this key and of this record."""
    return hmac.compare_digest(record.signature, _SIGNED_WITH + _mac(record, key))


def _mac(record: CitationRecord, key: bytes) -> str:
    said = msgspec.json.encode(msgspec.structs.replace(record, signature=""), order="sorted")
    return hmac.digest(key, _SIGNED_AS + said, hashlib.sha256).hex()


def _record(
    finding: Finding, name: str, outcomes: Sequence[Outcome], at: str, by: str
) -> CitationRecord:
    cited = [finding.citations[one.ordinal] for one in outcomes]
    kept = _kept(cited[0])
    found = max((one.status for one in outcomes), key=_WORST_LAST.index)
    meta = kept.get("meta")
    # A record has no word for evidence that is gone.
    added = {} if found in _STATUSES else {"found": found}
    return CitationRecord(
        citation_id=name,
        claim_id=_text(kept, "claim_id") or _written(f"finding:{finding.finding_id}"),
        sources=[
            _source(one, found_at.lines) for one, found_at in zip(cited, outcomes, strict=True)
        ],
        created_by=_text(kept, "created_by") or finding.worker_id,
        created_at=_text(kept, "created_at") or finding.timestamp,
        status=found if found in _STATUSES else str(CitationStatus.UNVERIFIED),
        rationale=_text(kept, "rationale"),
        verified_at=at,
        verified_by=by,
        adjacent_decisions=_list(kept, "adjacent_decisions"),
        meta={**(meta if isinstance(meta, dict) else {}), **added} or None,
    )


def _kept(citation: Citation | str) -> Mapping[str, object]:
    return {} if isinstance(citation, str) else citation.unknown


def _citation(
    fields: Mapping[str, Any], record: Mapping[str, Any], shared: Mapping[str, Any]
) -> Citation:
    ref: str = fields["ref"]
    source, lines = (normalised(ref), None) if is_if_uri(ref) else _pointed(ref)
    kept = {**shared, **{name: fields[name] for name in fields if name not in _READ}}
    digest = fields.get("hash")
    sha256 = None
    if isinstance(digest, str) and _HEXADECIMAL.fullmatch(digest.removeprefix(_DIGEST)):
        sha256 = digest.removeprefix(_DIGEST).lower()
    elif digest is not None:
        kept["hash"] = digest
    said = str(record.get("status", CitationStatus.UNVERIFIED)).lower()
    if said not in _STATUSES:
        kept["status_given"] = record["status"]
    quote = fields.get("quote", record.get("quote"))
    return Citation(
        source=source,
        lines=lines,
        quote=quote if isinstance(quote, str) else "",
        sha256=sha256,
        status=CitationStatus(said) if said in _STATUSES else CitationStatus.UNVERIFIED,
        unknown={name: value for name, value in kept.items() if name not in _OURS},
    )


def _pointed(ref: str) -> tuple[str, tuple[int, int] | None]:
    """A source and its lines; no lines where the text names none, and in URLs."""
    match = _WITH_LINES.fullmatch(ref)
    if match is None or "://" in ref or ref.startswith("finding:"):
        return ref, None
    first, last = int(match["first"]), int(match["last"] or match["first"])
    return (match["source"], (first, last)) if 1 <= first <= last else (ref, None)


def _source(cited: Citation | str, lines: tuple[int, int] | None) -> RecordSource:
    citation = Citation(source=cited) if isinstance(cited, str) else cited
    ref = citation.source
    if lines is not None:
        first, last = lines
        ref += f":{first}" if first == last else f":{first}-{last}"
    return RecordSource(
        type=_text(citation.unknown, "type") or _type(citation.source),
        ref=ref,
        hash=None if citation.sha256 is None else _DIGEST + citation.sha256,
        note=_text(citation.unknown, "note"),
        quote=citation.quote or None,
    )


def _type(source: str) -> str:
    if source.startswith("chat:"):
        return "conversation"
    if source.startswith(("http:", "https:")):
        return "web"
    name = source.rpartition("/")[2]
    return {"code": "code", "data": "dataset"}.get(kind_of(name), "other") if name else "other"


def _written(source: str) -> str:
    uri = uri_of(source)
    return source if uri is None else uri.written()


def _text(fields: Mapping[str, object], name: str) -> str | None:
    value = fields.get(name)
    return value if isinstance(value, str) and value else None


def _list(fields: Mapping[str, object], name: str) -> list[Any] | None:
    value = fields.get(name)
    return value if isinstance(value, list) else None
