"""What agents need beyond the verbs of the memory: capture, briefs, tokens; calls and answers."""

from __future__ import annotations

from typing import Any

import msgspec


class CaptureCall(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What an agent's hook has seen; what becomes of it is decided in ``engine/capturing.py``."""

    agent: str
    """``claude``, ``codex`` or ``gemini``: whose words ``event`` has."""
    event: dict[str, Any]
    """As the agent's hook was given it, large values cut."""
    root: str
    """The project: nothing outside it is captured."""
    share: bool = False
    """Into the space itself; else into its local space."""
    at: str | None = None
    """When it happened, for events that lay in the spool."""


class Captured(msgspec.Struct, frozen=True):
    """What became of an event."""

    outcome: str
    """``stored``, ``unchanged`` or ``skipped``."""
    reason: str = ""
    """Why it was skipped."""
    source: str | None = None
    sha256: str | None = None
    """Of a file that is unchanged since it was stored, rehashed now."""
    shard: int | None = None


class ForgetCapturedCall(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Removes what was captured, here and in the local space."""

    since: str | None = None
    """Only what was captured at or after this moment; None: everything."""


class ForgottenCaptured(msgspec.Struct, frozen=True):
    documents: int


class BriefCall(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What an agent should know of a project before it begins."""

    root: str | None = None
    """Findings that cite nothing outside it; None: the whole space."""
    max_tokens: int = 1_000


class Brief(msgspec.Struct, frozen=True):
    text: str
    """Fenced as data; empty when there is nothing to say."""
    findings: int
    tokens: int
    """o200k tokens of the text."""


class FindingCall(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    id: str


class ReleaseCall(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Takes a finding out of quarantine."""

    id: str


class WatchCall(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Events ``{"changed": {"finding": id, "cursor": c}}``, ``{"changed": {"shard": n}}`` and
    ``{"changed": {"context": total}}`` as they happen, after ``{"watching": {}}``."""


class TokenCreateCall(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: str
    scopes: tuple[str, ...] = ("read", "write")
    roots: tuple[str, ...] = ()
    expires_seconds: float | None = None
    """None: it does not expire."""
    quarantine: bool = False
    """What its holder says waits until somebody releases it."""


class TokenRevokeCall(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: str


class TokenCheckCall(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Who holds the token of this digest; refusals are audited."""

    sha256: str


class RefusalCall(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Notes in the audit that a caller was refused before any verb was reached."""

    actor: str
    action: str
    reason: str
    subject: str = "-"


class TokenShape(msgspec.Struct, frozen=True):
    name: str
    space: str
    scopes: list[str]
    roots: list[str]
    trust: str
    state: str
    """``active``, ``expired`` or ``revoked``."""
    created_at: str
    expires_at: str | None = None
    revoked_at: str | None = None
    token: str | None = None
    """Only in the answer that creates it."""
