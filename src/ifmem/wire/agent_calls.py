"""What agents need beyond the verbs of the memory: capture, briefs, tokens; calls and answers."""

from __future__ import annotations

from typing import Any

import msgspec


class CaptureCall(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What an agent's hook has seen; what becomes of it is decided in ``engine/capturing.py``."""

    agent: str
    """``claude``, ``codex`` or ``gemini``: whose words ``event`` has."""
    event: dict[str, Any] | str
    """As the agent's hook was given it, large values cut; as JSON when the hook did not read it."""
    root: str
    """The project: nothing outside it is captured."""
    share: bool = False
    """Into the space itself; else into its local space."""
    at: str | None = None
    """When it happened, for events that lay in the spool."""
    wait: bool = False
    """Answer once it is stored; else once it waits in the daemon."""


class Captured(msgspec.Struct, frozen=True):
    """What became of an event."""

    outcome: str
    """``stored``; ``unchanged``; ``taken``, when it waits to be stored; ``skipped``; ``removed``,
    when the file is gone."""
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
    topic: str | None = None
    """Only findings about it."""


class Brief(msgspec.Struct, frozen=True):
    text: str
    """Fenced as data; empty when there is nothing to say."""
    findings: int
    tokens: int
    """o200k tokens of the text."""


class FindingCall(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    id: str


class NewestFindingsCall(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Findings newest first."""

    before: str | None = None
    """A cursor; None: from the newest on."""
    limit: int = 50
    """500 at most."""
    task: str | None = None


class FindingNamesCall(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What somebody may be typing: ids of findings, or topics of the newest."""

    kind: str
    """``id`` or ``topic``."""
    prefix: str = ""
    limit: int = 100


class FindingNames(msgspec.Struct, frozen=True):
    names: list[str]
    more: bool
    """There are others that begin so."""


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
