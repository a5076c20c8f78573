"""What the verbs of the inbox and of conflicts take and answer."""

from __future__ import annotations

from typing import Any

import msgspec

MOST_LISTED = 1_000
"""Items of one page."""


class InboxCall(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What waits for a person, oldest first within each kind."""

    kind: str | None = None
    """Only those of this kind; None: of every kind."""
    all: bool = False
    """Also what was decided; only of what the inbox itself keeps."""
    after: str = ""
    limit: int = 100


class InboxItemCall(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    item: str
    """Its id, or that of the finding, task or question it is about."""


class InboxResolveCall(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A person's decision: exactly one of ``keep``, ``both`` and ``dismiss``."""

    item: str
    actor: str
    keep: tuple[str, ...] = ()
    """The sides that stand; the others are superseded."""
    both: bool = False
    """All sides stand."""
    dismiss: bool = False
    """There is nothing to decide."""
    reason: str = ""


class ConflictsCall(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What disagrees, oldest first."""

    all: bool = False
    """Also what was resolved."""
    topic: str | None = None
    after: str = ""
    limit: int = 100


class SideShape(msgspec.Struct, frozen=True):
    """A finding that an item is about."""

    finding_id: str
    claim: str
    value: float | None
    unit: str | None
    confidence: float
    worker_id: str
    timestamp: str
    trust: str
    citations: list[Any]
    task_id: str | None = None
    topic: str | None = None
    kept: bool | None = None
    """Set when a conflict was resolved."""
    superseded_by: str | None = None
    """The newer finding; empty when that was forgotten."""


class InboxItem(msgspec.Struct, frozen=True):
    """Something that waits for a person, or was decided."""

    item: str
    kind: str
    """``conflict``, ``low_confidence``, ``single_source``, ``duplicate``; ``escalate``,
    ``request``, ``hold`` when an agent said so itself; ``quarantined``, ``dead``,
    ``needs_assist``, ``archive_query`` for what waits elsewhere."""
    act: str
    """``escalate``, ``request`` or ``hold``."""
    subject: str
    """The conflict, finding, task or question it is about."""
    rationale: str
    opened_at: str
    next: str
    """What a person can do, as a command."""
    tasks: list[str] = []
    """That are blocked until it is decided, or were; or that it belongs to."""
    findings: list[SideShape] = []
    """At most ten in a list, a hundred when one item is shown."""
    findings_count: int = 0
    outcome: str | None = None
    """``kept``, ``both`` or ``dismissed``; None while it is open."""
    closed_at: str | None = None
    closed_by: str | None = None
    reason: str | None = None


class ConflictShape(msgspec.Struct, frozen=True):
    """Findings that disagree."""

    conflict_id: str
    """Of its item in the inbox as well."""
    kind: str
    """``value`` or ``text``."""
    topic: str
    unit: str
    opened_at: str
    rationale: str
    sides: list[SideShape]
    """At most a hundred."""
    sides_count: int
    tasks: list[str] = []
    """That are blocked until it is resolved, or were."""
    outcome: str | None = None
    resolved_at: str | None = None
    resolved_by: str | None = None
    reason: str | None = None
