"""What the verbs take: one line of JSON on the daemon's socket for each call.

A call is ``{"id", "method", "space", "params"}``. The daemon answers with any number of
``{"id", "event"}`` and one ``{"id", "result"}`` or ``{"id", "error"}``, in any order among calls.
"""

from __future__ import annotations

from typing import Any

import msgspec

from ifmem.settings import IngestSettings, PlacementEntry

PROTOCOL = 1
MAX_LINE_BYTES = 64 * 1024 * 1024
"""A longer line is refused: text of that size is loaded from a file."""
MAX_QUESTION_CHARACTERS = 16_000


class Filters(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Restricts a search or a list; an empty field restricts nothing."""

    source: tuple[str, ...] = ()
    """Absolute paths (with everything below them), URLs, or patterns with ``*``."""
    group: str | None = None
    author: str | None = None
    since: str | None = None
    until: str | None = None
    root: str | None = None
    """The project's directory: documents below it, and the space's findings."""


class LoadCall(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    paths: tuple[str, ...] = ()
    ingest: IngestSettings = IngestSettings()
    placement: tuple[PlacementEntry, ...] = ()
    """Empty: the daemon's own table."""


class LoadTextCall(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    text: str
    source: str
    group: str | None = None


class Row(msgspec.Struct, frozen=True):
    """One row of a labelled set, loaded as a passage of its group's document."""

    id: str
    text: str
    title: str = ""
    speaker: str | None = None
    timestamp: str | None = None
    path: str | None = None


class LoadRowsCall(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    source: str
    rows: tuple[Row, ...]
    group: str | None = None


class AskCall(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    question: str
    shard: int | None = None
    model: str = "extractive"
    deadline_seconds: float = 10.0
    filters: Filters = Filters()


class RecallCall(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    query: str
    max_tokens: int = 2_000
    limit: int = 50
    filters: Filters = Filters()


class RememberCall(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    finding: dict[str, Any]
    """The finding's fields; those the author left out are filled in."""
    trust: str = "user"


class FindingsCall(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    since: str = "0"
    limit: int = 1_000
    task: str | None = None
    filters: Filters = Filters()


class ForgetCall(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    id: str


class SourcesCall(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    after: str = ""
    limit: int = 1_000
    filters: Filters = Filters()


class DoctorCall(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    repair: bool = False


class StatusCall(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    show_secrets: bool = False


class UpCall(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    adopt: bool = False


class Nothing(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A call without parameters."""


class Request(msgspec.Struct, frozen=True):
    id: int
    method: str
    space: str
    params: msgspec.Raw = msgspec.Raw(b"{}")


class Reply(msgspec.Struct, frozen=True, omit_defaults=True):
    """Exactly one of ``result``, ``error`` and ``event`` is there."""

    id: int
    result: msgspec.Raw = msgspec.Raw()
    error: dict[str, Any] | None = None
    event: dict[str, Any] | None = None
