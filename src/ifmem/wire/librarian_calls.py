"""What the verbs of the librarians take and answer."""

from __future__ import annotations

from typing import Any

import msgspec


class ArchiveAnswerCall(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The answer to a question that was kept for a quota, or not waited for."""

    query_id: str


class LibrarianClaimCall(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A call of one of these librarians' models, which is made elsewhere."""

    worker: str
    librarians: tuple[int, ...] = ()
    """Their numbers; empty: any that has a model."""
    wait_seconds: float = 0.0


class LibrarianTask(msgspec.Struct, frozen=True):
    """A reserved call: what the model is told, and what it may take."""

    call_id: str
    librarian: int
    model: str
    name: str
    """Of the prompt."""
    version: int
    rules: str
    documents: str
    question: str
    schema: dict[str, Any] | None
    max_output: int
    seconds: float
    """How long its answer is waited for."""


class LibrarianClaimed(msgspec.Struct, frozen=True):
    """What was claimed; ``task`` is None when nothing came in time."""

    task: LibrarianTask | None = None


class SaidByModel(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a model said, and the tokens its provider told."""

    text: str
    stop: str
    model: str
    usage: dict[str, int]
    total_ms: float
    first_token_ms: float | None = None


class LibrarianAnswerCall(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the model said, or the error that it ended with."""

    worker: str
    call_id: str
    said: SaidByModel | None = None
    error: dict[str, Any] | None = None
    """As ``errors.to_wire`` writes it."""


class LibrarianAccepted(msgspec.Struct, frozen=True):
    """What was said elsewhere is taken."""

    call_id: str
