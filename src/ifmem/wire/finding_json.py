"""Findings as JSON: strict in what is written, liberal in what is read."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from ifmem.domain.finding import (
    MAX_FINDING_BYTES,
    SCHEMA_VERSION,
    Citation,
    CitationStatus,
    Finding,
    SpeechAct,
    Trust,
)
from ifmem.errors import Invalid
from ifmem.wire.citation_records import citations_in, is_record, text_citation

_ALIASES = {
    "content": "claim",
    "result": "claim",
    "answer": "claim",
    "summary": "claim",
    "sources": "citations",
    "tokens_used": "tokens",
    "cost": "cost_usd",
}
"""Names that earlier tools used; accepted on read, never written."""


class _Citation(msgspec.Struct, frozen=True, omit_defaults=True):
    source: str
    lines: tuple[int, int] | None = None
    locator: str | None = None
    quote: str = ""
    sha256: str | None = None
    status: CitationStatus = CitationStatus.UNVERIFIED


class _Finding(msgspec.Struct, frozen=True):
    finding_id: str
    worker_id: str
    timestamp: str
    claim: str
    confidence: float = 1.0
    citations: tuple[dict[str, Any] | str, ...] = ()
    speech_act: SpeechAct = SpeechAct.INFORM
    task_id: str | None = None
    session_id: str | None = None
    topic: str | None = None
    value: float | None = None
    unit: str | None = None
    tags: tuple[str, ...] = ()
    tokens: int = 0
    cost_usd: str | None = None
    source_model: str | None = None
    supersedes: str | None = None
    trust: Trust = Trust.AGENT
    durable: bool = True
    content_sha256: str = ""
    schema_version: str = SCHEMA_VERSION


_DURABLE, _NOT_DURABLE = b'{"durable":true,', b'{"durable":false,'
_FIELDS = frozenset(_Finding.__struct_fields__)


def from_json(data: Mapping[str, Any]) -> Finding:
    """The finding that these fields describe; fields that this version does not know are kept.

    Raises:
        Invalid: a field is missing, of the wrong type, or breaks a rule of ``Finding``.
    """
    if _ALIASES.keys().isdisjoint(data):
        named = dict(data)
    else:
        named = {_alias(name, data): value for name, value in data.items()}
    try:
        shape = msgspec.convert({k: v for k, v in named.items() if k in _FIELDS}, _Finding)
    except msgspec.ValidationError as error:
        raise Invalid(f"this is no finding: {error}") from error
    fields = {name: getattr(shape, name) for name in _FIELDS}
    fields["citations"] = tuple(read for one in shape.citations for read in _citations(one))
    unknown = {name: value for name, value in named.items() if name not in _FIELDS}
    return Finding(**fields, unknown=unknown)


def to_json(finding: Finding) -> bytes:
    """The finding as one JSON object; absent optional fields are left out.

    Raises:
        Invalid: it would be larger than a finding may be.
    """
    body: dict[str, Any] = {
        name: value
        for name in _Finding.__struct_fields__
        if (value := getattr(finding, name)) is not None
    }
    body["citations"] = citations_json(finding)
    # First, so that the bus turns it true without reading the rest.
    data = msgspec.json.encode({"durable": finding.durable, **finding.unknown, **body})
    if len(data) > MAX_FINDING_BYTES:
        raise Invalid(
            f"the finding takes {len(data):,} bytes; the limit is {MAX_FINDING_BYTES:,}: load the "
            "text as a document and cite it",
            bytes=len(data),
            limit=MAX_FINDING_BYTES,
        )
    return data


class Searched(msgspec.Struct, frozen=True):
    """What a search reads of a finding."""

    claim: str
    topic: str | None = None
    tags: tuple[str, ...] = ()
    citations: tuple[Any, ...] = ()
    source_model: str | None = None

    @property
    def quotes(self) -> list[str]:
        """The texts that its citations quote."""
        cited = (one.get("quote") for one in self.citations if isinstance(one, dict))
        return [quote for quote in cited if isinstance(quote, str)]


_searched = msgspec.json.Decoder(Searched)


def searched(body: bytes) -> Searched:
    """What a search reads of a finding that ``to_json`` wrote: a tenth of the work of ``parse``."""
    return _searched.decode(body)


def as_durable(body: bytes) -> bytes:
    """The same finding, committed."""
    return _DURABLE + body.removeprefix(_NOT_DURABLE) if body.startswith(_NOT_DURABLE) else body


def parse(body: bytes) -> Finding:
    """The finding that ``to_json`` wrote.

    Raises:
        Invalid: the bytes are no JSON object, or the object is no finding.
    """
    try:
        return from_json(msgspec.json.decode(body, type=dict[str, Any]))
    except msgspec.DecodeError as error:
        raise Invalid(f"this is no finding: {error}") from error


def citations_json(finding: Finding) -> list[Any]:
    """The citations as JSON-compatible data."""
    return [one if isinstance(one, str) else _citation_json(one) for one in finding.citations]


def digest(finding: Finding) -> str:
    """The sha256 of what the finding says: claim, topic, value, unit and citations."""
    said = [
        finding.claim,
        finding.topic,
        finding.value,
        finding.unit,
        citations_json(finding),
    ]
    return hashlib.sha256(msgspec.json.encode(said)).hexdigest()


def _alias(name: str, data: Mapping[str, Any]) -> str:
    """The name that is meant: our own, unless that field or an earlier alias is there too."""
    meant = _ALIASES.get(name, name)
    names = (meant, *(alias for alias, field in _ALIASES.items() if field == meant))
    return meant if name == next(one for one in names if one in data) else name


def _citations(given: dict[str, Any] | str) -> Iterable[Citation | str]:
    """What a citation says, in whichever form; a record of an earlier tool may hold several."""
    if isinstance(given, str):
        return [text_citation(given)]
    return citations_in(given) if is_record(given) else [_citation(given)]


def _citation(data: dict[str, Any]) -> Citation:
    try:
        shape = msgspec.convert(data, _Citation)
    except msgspec.ValidationError as error:
        raise Invalid(f"this is no citation: {error}") from error
    known = _Citation.__struct_fields__
    unknown = {name: value for name, value in data.items() if name not in known}
    return Citation(**msgspec.structs.asdict(shape), unknown=unknown)


def _citation_json(citation: Citation) -> dict[str, Any]:
    return {
        **citation.unknown,
        "source": citation.source,
        "lines": citation.lines,
        **({} if citation.locator is None else {"locator": citation.locator}),
        "quote": citation.quote,
        "sha256": citation.sha256,
        "status": citation.status,
    }
