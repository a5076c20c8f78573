"""The audit on the wire: what asks for its rows, its chain and its checkpoints, and the answers."""

from __future__ import annotations

import msgspec


class AuditCall(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Asks for rows, the newest first; a filter that is None lets all through."""

    agent: str | None = None
    """Who did it, or tried to."""
    task: str | None = None
    since: str | None = None
    """As the store writes moments; this one belongs to it."""
    until: str | None = None
    """This one does not belong to it."""
    type: str | None = None
    """``write``, ``refusal``, ``grant`` or ``decision``."""
    severity: str | None = None
    """``info``, ``warning`` or ``critical``."""
    action: str | None = None
    subject: str | None = None
    after: str = ""
    """``next`` of the page before."""
    limit: int = 100


class AuditLine(msgspec.Struct, frozen=True):
    """One row of the audit."""

    row: int
    at: str
    type: str
    severity: str
    action: str
    actor: str
    subject: str
    reason: str
    task_id: str | None
    seal: str | None


class AuditCheck(msgspec.Struct, frozen=True):
    """Whether the chain of the audit holds."""

    rows: int
    """That are there."""
    intact: bool
    first_broken: int | None
    """The first row that is not as it was written, is missing, or cannot be vouched for."""
    why: str = ""
    """One sentence when it is not intact."""
    accepted: int = 0
    """Breaks that a person has looked into and accepted."""


class AcceptBreakCall(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A person has looked into why rows are missing: from now on the chain holds beside them."""

    reason: str
    by: str = "user"


class Checkpoint(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The last row of an audit at a moment; signed, when ``signature`` is there."""

    space: str
    store_id: str
    rows: int
    """The number of the last row."""
    head: str
    """Its seal."""
    at: str
    public_key: str = ""
    """Ed25519, 32 bytes in hex."""
    signature: str = ""
    """Over the fields before it, in hex."""


class CheckpointCheck(msgspec.Struct, frozen=True):
    """Whether the audit still has the row that a checkpoint names."""

    rows: int
    holds: bool
    why: str = ""
    """One sentence when it does not hold."""
