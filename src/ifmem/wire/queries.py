"""Questions to the archive and their answers, as the channels carry them.

Strict in what is written, liberal in what is read: bare or in an envelope, under the seed's names
and those of earlier tools.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final, Literal, TypeVar

import msgspec

from ifmem.errors import Invalid
from ifmem.wire.envelopes import json_object

NOT_IN_ARCHIVE = "NOT IN ARCHIVE"
"""The answer by which earlier tools say that they found nothing."""

Reach = Literal["never", "auto", "always", "only"]
ONLY: Final = "only"

_LIBRARIAN_HINT = re.compile(r"\s*librarian\b", re.IGNORECASE)
_LAST_NUMBER = re.compile(r"(\d+)\D*$")

Shape = TypeVar("Shape", bound=msgspec.Struct)


class Query(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A question to the archive."""

    query_id: str
    timestamp: str
    sender: str = msgspec.field(name="from")
    question: str
    shard_hint: int | None = None
    max_tokens: int = 500
    archive: Reach | None = None
    """Whether the librarians answer: ``never``, ``auto`` (when no shard does), ``always``, or
    ``only`` they. None: as the space is set."""
    librarian: int | None = None
    """The librarian that is meant."""


class Response(msgspec.Struct, frozen=True, kw_only=True):
    """A shard's answer to a query."""

    query_id: str
    shard_id: int
    timestamp: str
    answer: str
    confidence: float
    sources: tuple[str, ...] = ()
    """``path:line-line``; empty when nothing supports an answer."""
    tokens_used: int = 0
    context_size: int = 0
    found: bool = True
    """False for an answer that says the archive has none."""
    librarian: str | None = None
    """``librarian-2`` when it was one that answered, and ``shard_id`` is its number."""


class Ready(msgspec.Struct, frozen=True, kw_only=True):
    """A shard says that it has loaded its context."""

    shard_id: int
    status: str = "ready"
    tokens_loaded: int = 0


def read_query(payload: bytes) -> Query:
    """A query, bare or in an envelope.

    Raises:
        Invalid: it asks nothing, or a field is of the wrong type.
    """
    fields = _unwrapped(payload, "question", "query")
    _rename(fields, "query_id", "id", "request_id", "tracking_id")
    _rename(fields, "question", "query", "text")
    _rename(fields, "from", "requester", "sender", "origin")
    _rename(fields, "timestamp", "asked_at", "dispatched_at")
    _rename(fields, "shard_hint", "shard", "target_shard")
    hint = fields.pop("shard_hint", None)
    _rename(fields, "librarian", "librarian_hint")
    if isinstance(hint, str) and _LIBRARIAN_HINT.match(hint):
        fields |= {"archive": ONLY, "librarian": hint}
        hint = None
    meant = _shard_number(fields.pop("librarian", None))
    if meant is not None:
        fields["librarian"] = meant
    if (number := _shard_number(hint)) is not None:
        fields["shard_hint"] = number
    query = _shaped({"timestamp": "", "from": "", **fields}, Query, "query")
    if not query.query_id or not query.question.strip():
        raise Invalid("a query needs a query_id and a question")
    if query.max_tokens < 1:
        raise Invalid(f"a query allows at least one token; max_tokens is {query.max_tokens}")
    return query


def read_response(payload: bytes) -> Response:
    """A response, bare or in an envelope; one that says ``NOT IN ARCHIVE`` is not found.

    Raises:
        Invalid: it answers no query, or a field is of the wrong type or out of range.
    """
    fields = _unwrapped(payload, "answer", "response", "query_id")
    _rename(fields, "query_id", "request_id", "correlation_id")
    _rename(fields, "answer", "response", "text")
    _rename(fields, "shard_id", "shard", "shard_number")
    _rename(fields, "timestamp", "answered_at", "dispatched_at")
    _rename(fields, "sources", "citations")
    _rename(fields, "tokens_used", "tokens")
    number = _shard_number(fields.pop("shard_id", None))
    given = {"timestamp": "", "confidence": 1.0, **fields, "shard_id": number or 0}
    given["answer"] = given.get("answer") or ""
    response = _shaped(given, Response, "response")
    if not 0 <= response.confidence <= 1:
        raise Invalid(f"confidence must lie between 0 and 1; it is {response.confidence}")
    if not response.query_id:
        raise Invalid("a response needs the query_id that it answers")
    empty = not response.answer.strip() or NOT_IN_ARCHIVE in response.answer.upper()
    if not response.found or empty:
        return msgspec.structs.replace(response, found=False, sources=())
    return response


def read_ready(payload: bytes) -> Ready:
    """The record by which a shard says that it is ready.

    Raises:
        Invalid: it names no shard.
    """
    fields = _unwrapped(payload, "shard_id")
    number = _shard_number(fields.get("shard_id"))
    if number is None:
        raise Invalid("a ready record needs a shard_id")
    return _shaped({**fields, "shard_id": number}, Ready, "ready record")


def _unwrapped(payload: bytes, *telling: str) -> dict[str, Any]:
    """The fields of a message: its own, or in an envelope those of its contents before them."""
    data = json_object(payload)
    if any(name in data for name in telling):
        return data
    for name in ("contents", "content"):
        inner = data.get(name)
        if isinstance(inner, dict):
            outer = {
                k: v for k, v in data.items() if k in ("origin", "dispatched_at", "request_id")
            }
            return {**outer, **inner}
    return data


def _rename(fields: dict[str, Any], meant: str, *aliases: str) -> None:
    for alias in aliases:
        value = fields.pop(alias, None)
        if value is not None:
            fields.setdefault(meant, value)


def _shaped(fields: Mapping[str, Any], shape: type[Shape], name: str) -> Shape:
    try:
        return msgspec.convert(fields, shape, strict=False)
    except msgspec.ValidationError as error:
        raise Invalid(f"this is no {name}: {error}") from error


def _shard_number(value: Any) -> int | None:
    """``2``, ``"2"``, ``"shard2"`` or ``"librarian-2"``."""
    if isinstance(value, bool) or value is None:
        return None
    if isinstance(value, int):
        return value
    match = _LAST_NUMBER.search(value) if isinstance(value, str) else None
    return int(match[1]) if match and len(match[1]) < 10 else None
