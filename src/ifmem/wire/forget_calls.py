"""Forgetting over the daemon's socket: what is asked for, and what became of it."""

from __future__ import annotations

import msgspec


class ForgetMatchingCall(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Removes all that fits; what is given is all to hold. At least one must be given."""

    source: tuple[str, ...] = ()
    """Absolute paths (with everything below them), URLs, chats, or patterns with ``*``."""
    session: str | None = None
    """What was stored in it."""
    before: str | None = None
    """Documents loaded, and findings said, before this moment."""
    everything: bool = False
    """The whole space, with its tasks, messages and questions; alone."""
    dry_run: bool = False
    """Only tell what would go."""


class LiftCall(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Lets what was forgotten be stored again; one of the three."""

    id: str | None = None
    """Of a finding or passage, a source, or the sha256 of a text's bytes."""
    session: str | None = None
    everything: bool = False


class ForgottenCall(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Findings that were forgotten, in that order."""

    since: str = ""
    """A moment: only those forgotten then or later."""
    limit: int = 1_000
    """10,000 at most."""


class Unreachable(msgspec.Struct, frozen=True):
    """Where the forgotten may still be, which nobody here can change."""

    what: str
    until: str | None = None
    """When it ends by itself, at the latest."""
    why: str = ""


class ForgottenReport(msgspec.Struct, frozen=True):
    """What was forgotten, or with ``dry_run`` would be."""

    findings: int = 0
    documents: int = 0
    passages: int = 0
    """Those of the documents, and those that were named."""
    tasks: int = 0
    messages: int = 0
    tombstones: int = 0
    """What is now refused when it is offered again."""
    revoked: list[str] = []
    """Findings that lost a quote of what was forgotten: the first 100."""
    revoked_count: int = 0
    examples: list[str] = []
    """Of what goes: the first 100 sources and ids of findings, with ``dry_run`` only."""
    unreachable: list[Unreachable] = []
    dry_run: bool = False


class Lifted(msgspec.Struct, frozen=True):
    tombstones: int
    """How many were taken away."""


class ForgottenFinding(msgspec.Struct, frozen=True):
    id: str
    at: str


class ForgottenNotice(msgspec.Struct, frozen=True):
    """Something was forgotten just now: who keeps a copy should not."""

    kind: str
    """``finding``, ``document`` or ``passage``."""
    ids: list[str]
    """Of findings or passages, or sources."""
    revoked: list[str] = []
    """Findings that lost their quotes of it: read them again."""
