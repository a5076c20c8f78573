"""What the channels carry: the seed's envelope, and announcements of findings.

Strict in what is written, liberal in what is read: the seed's names and those of earlier tools.
What cannot be read is ``Invalid`` with its reason, so that one bad message never stops a reader.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from ifmem.domain.finding import SCHEMA_VERSION, Finding, SpeechAct
from ifmem.errors import Invalid

MAX_TTL_SECONDS = 86_400

_VERSIONS = ("1.0", "1.1")
_ALIASES = {
    "payload_id": "tracking_id",
    "timestamp": "dispatched_at",
    "source_agent": "origin",
    "content": "contents",
    "ttt_headers": "chain_of_custody",
}
_BARE_ID = re.compile(
    r'"?(?:finding:)?([0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12})"?'
)


@dataclass(frozen=True, slots=True)
class Custody:
    """One step on the way of a message: who did what, and when."""

    agent: str
    action: str
    at: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Envelope:
    """The seed's envelope around whatever one agent tells others."""

    tracking_id: str
    origin: str
    contents: Mapping[str, Any]
    dispatched_at: str = ""
    """UTC, ISO-8601; empty when the sender did not say."""
    speech_act: SpeechAct = SpeechAct.INFORM
    schema_version: str = SCHEMA_VERSION
    ttl_seconds: int | None = None
    chain_of_custody: tuple[Custody, ...] = ()
    signature: str | None = None
    unknown: Mapping[str, Any] = field(default_factory=dict)
    """Fields that are not ours, given back as they came."""


@dataclass(frozen=True, slots=True)
class Announced:
    """A finding that the bus has published, with its place in the log."""

    sequence: int
    previous: int
    """The sequence published before it: who has that one has missed nothing."""
    body: bytes | None
    """The finding as JSON, when it is small enough to ride along."""


@dataclass(frozen=True, slots=True)
class Hint:
    """Somebody says that there is something new; only the log tells what."""

    finding_id: str | None = None


@dataclass(frozen=True, slots=True)
class Forgot:
    """Something was forgotten: who keeps a copy of it should not."""

    kind: str
    """``finding``, ``document`` or ``passage``."""
    ids: tuple[str, ...]
    """Of findings or passages, or sources."""
    revoked: tuple[str, ...] = ()
    """Findings that lost their quotes of it."""


class _Announcement(msgspec.Struct, frozen=True):
    cursor: str | int | None = None
    previous: str | int | None = None
    finding: msgspec.Raw = msgspec.Raw()


_announcement = msgspec.json.Decoder(_Announcement)


def head(finding: Finding) -> str:
    """A finding's envelope as an open JSON object, which the bus ends with cursor and time."""
    return (
        msgspec.json.encode(
            {
                "tracking_id": finding.finding_id,
                "origin": finding.worker_id,
                "speech_act": finding.speech_act,
                "schema_version": SCHEMA_VERSION,
                "contents": {"finding_id": finding.finding_id},
            }
        )
        .decode()
        .removesuffix("}")
    )


def forgot(said: Forgot, *, tracking_id: str, origin: str, at: str) -> bytes:
    """The envelope that tells of it; it names no finding, so plain readers pass over it."""
    contents = {"forgotten": {"kind": said.kind, "ids": said.ids, "revoked": said.revoked}}
    return write_envelope(
        Envelope(tracking_id=tracking_id, origin=origin, contents=contents, dispatched_at=at)
    )


def read_announcement(payload: bytes) -> Announced | Hint | Forgot:
    """What a message on ``channel:findings`` says.

    Raises:
        Invalid: it is neither an id nor a JSON object that names a finding.
    """
    if bare := _bare_id(payload):
        return Hint(bare)
    try:
        said = _announcement.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Invalid(f"a message on the findings' channel cannot be read: {error}") from error
    if said.cursor is None or said.previous is None:
        data = json_object(payload)
        return _forgot(data) or Hint(_named_finding(data))
    sequence, previous = _sequence(said.cursor), _sequence(said.previous)
    if sequence <= previous:
        raise Invalid(f"cursor {sequence} does not come after {previous}")
    return Announced(sequence, previous, bytes(said.finding) or None)


def read_envelope(payload: bytes) -> Envelope:
    """The envelope that a message is, under its own names or those of earlier tools.

    A bare id is an envelope about that finding.

    Raises:
        Invalid: it is no JSON object, has no contents, or a field breaks its rule.
    """
    if bare := _bare_id(payload):
        return Envelope(tracking_id=bare, origin="", contents={"finding_id": bare})
    data = json_object(payload)
    fields = {_named(name, data): value for name, value in data.items()}
    contents = fields.pop("contents", None)
    if isinstance(contents, str) and contents:
        contents = {"finding_id": bare} if (bare := _bare_id(contents)) else {"text": contents}
    if not isinstance(contents, dict):
        raise Invalid("an envelope needs contents: an object, a text or the id of a finding")
    tracking_id = fields.pop("tracking_id", None) or data.get("message_id")
    return Envelope(
        tracking_id=_text("tracking_id", tracking_id),
        origin=_text("origin", fields.pop("origin", "")),
        dispatched_at=_text("dispatched_at", fields.pop("dispatched_at", "")),
        speech_act=_speech_act(fields.pop("speech_act", SpeechAct.INFORM)),
        schema_version=_version(fields.pop("schema_version", SCHEMA_VERSION)),
        ttl_seconds=_ttl(fields.pop("ttl_seconds", None)),
        chain_of_custody=_custody(fields.pop("chain_of_custody", None)),
        signature=_optional_text("signature", fields.pop("signature", None)),
        contents=contents,
        unknown=fields,
    )


def write_envelope(envelope: Envelope) -> bytes:
    """The envelope as one JSON object, under the seed's names."""
    custody = [[step.agent, step.action, step.at] for step in envelope.chain_of_custody]
    optional = {"ttl_seconds": envelope.ttl_seconds, "signature": envelope.signature}
    return msgspec.json.encode(
        {
            **envelope.unknown,
            "tracking_id": envelope.tracking_id,
            "origin": envelope.origin,
            "dispatched_at": envelope.dispatched_at,
            "speech_act": envelope.speech_act,
            "schema_version": envelope.schema_version,
            **{name: value for name, value in optional.items() if value is not None},
            "chain_of_custody": custody,
            "contents": envelope.contents,
        }
    )


def json_object(payload: bytes) -> dict[str, Any]:
    """The object that a message is.

    Raises:
        Invalid: it is something else, or no JSON.
    """
    try:
        return msgspec.json.decode(payload, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Invalid(f"this is no JSON object: {error}") from error


def _bare_id(payload: bytes | str) -> str | None:
    text = payload.decode("utf-8", "replace") if isinstance(payload, bytes) else payload
    match = _BARE_ID.fullmatch(text.strip()) if len(text) < 80 else None
    return match[1].lower() if match else None


def _named_finding(data: Mapping[str, Any]) -> str | None:
    """The finding that a message without a cursor is about, as far as it says."""
    inner = data.get("contents", data.get("content"))
    if isinstance(inner, str):
        return _bare_id(inner)
    places: Iterable[Any] = (inner, data.get("finding"), data)
    for place in places:
        if isinstance(place, dict) and isinstance(named := place.get("finding_id"), str):
            return _bare_id(named)
    return None


def _forgot(data: Mapping[str, Any]) -> Forgot | None:
    match data.get("contents"):
        case {"forgotten": {"kind": str(kind), "ids": list(ids)} as told}:
            revoked = told.get("revoked")
            return Forgot(kind, _texts(ids), _texts(revoked if isinstance(revoked, list) else ()))
    return None


def _texts(values: Iterable[Any]) -> tuple[str, ...]:
    return tuple(one for one in values if isinstance(one, str))


def _named(name: str, data: Mapping[str, Any]) -> str:
    meant = _ALIASES.get(name, name)
    return name if meant != name and meant in data else meant


def _sequence(value: str | int) -> int:
    text = str(value)
    if not (text.isascii() and text.isdecimal() and len(text) < 20):
        raise Invalid(f"{text[:40]!r} is no cursor")
    return int(text)


def _text(name: str, value: Any) -> str:
    if not isinstance(value, str):
        raise Invalid(f"an envelope's {name} must be a text")
    return value


def _optional_text(name: str, value: Any) -> str | None:
    return None if value is None else _text(name, value)


def _speech_act(value: Any) -> SpeechAct:
    try:
        return SpeechAct(str(value).lower())
    except ValueError as error:
        known = ", ".join(SpeechAct)
        raise Invalid(f"{str(value)[:40]!r} is no speech act: {known}") from error


def _version(value: Any) -> str:
    if str(value) not in _VERSIONS:
        raise Invalid(f"schema_version {str(value)[:20]!r} is not known here (1.0, 1.1)")
    return str(value)


def _ttl(value: Any) -> int | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= MAX_TTL_SECONDS:
        raise Invalid(f"ttl_seconds must lie between 1 and {MAX_TTL_SECONDS}")
    return value


def _custody(value: Any) -> tuple[Custody, ...]:
    """The steps of a list, or of an object with a lineage and, for its last step, a signature."""
    if value is None:
        return ()
    if isinstance(value, dict):
        value = value.get("transparent_lineage") or []
    if not isinstance(value, list):
        raise Invalid("a chain of custody is a list of steps, or an object with a lineage")
    return tuple(map(_custody_step, value))


def _custody_step(value: Any) -> Custody:
    match value:
        case str():
            return Custody(value, "", "")
        case [str(agent), str(action), at, *_]:
            return Custody(agent, action, str(at))
        case {"agent": str(agent), **rest}:
            at = rest.get("ts", rest.get("timestamp", rest.get("at", "")))
            return Custody(agent, str(rest.get("action", "")), str(at))
        case _:
            raise Invalid("a step of custody is (agent, action, time)")
