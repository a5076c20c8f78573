"""Verifying on the wire: what asks for citations to be checked again, and what was found."""

from __future__ import annotations

from typing import Any

import msgspec

from ifmem.wire.audit_calls import AuditCheck, CheckpointCheck
from ifmem.wire.citation_records import CitationRecord


class VerifyCall(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Checks the citations of a page of findings, in the order of the log."""

    since: str = "0"
    limit: int = 1_000
    """Findings at most; a page ends sooner when they cite much."""
    source: tuple[str, ...] = ()
    """Only citations of these, or of what lies below them."""
    finding: str | None = None
    """Only those of this finding."""
    problems_only: bool = False
    """Those that are verified are counted and not listed."""
    records: bool = False
    """As Citation v1.0 records as well, signed."""
    total: bool = False
    """Also how many findings there are to go through."""


class VerifyAuditCall(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    checkpoint: dict[str, Any] | None = None
    """As ``ifmem audit checkpoint`` printed it; the audit must still have its row."""
    public_key: str = ""
    """That it must be signed with; empty for the one it names."""


class CheckedCitation(msgspec.Struct, frozen=True):
    """A citation, and what was found when its source was looked at again."""

    finding_id: str
    source: str
    lines: tuple[int, int] | None
    """Where the quote stands now; where it stood when it is not verified."""
    status: str
    """``verified``, ``stale``, ``missing``, ``disputed``, ``unverified`` or ``revoked``."""
    lines_before: tuple[int, int] | None = None
    """Where it stood, when it has moved."""
    why: str = ""


class Counts(msgspec.Struct, frozen=True):
    """Citations by status."""

    verified: int = 0
    stale: int = 0
    missing: int = 0
    disputed: int = 0
    unverified: int = 0
    revoked: int = 0

    def __add__(self, other: Counts) -> Counts:
        return Counts(
            *(getattr(self, name) + getattr(other, name) for name in self.__struct_fields__)
        )


class VerifyPage(msgspec.Struct, frozen=True):
    """The citations of some findings, checked."""

    items: list[CheckedCitation]
    counts: Counts
    findings: int
    """That were looked at."""
    next: str | None
    """The cursor to go on from; None at the end."""
    total: int | None = None
    records: list[CitationRecord] = []


class AuditVerdict(msgspec.Struct, frozen=True):
    audit: AuditCheck
    checkpoint: CheckpointCheck | None = None


class Verification(msgspec.Struct, frozen=True):
    """Everything that ``ifmem verify`` found."""

    citations: list[CheckedCitation]
    verified: int
    stale: int
    missing: int
    disputed: int
    unverified: int
    revoked: int
    findings: int
    """That cite something."""
    audit: AuditCheck
    checkpoint: CheckpointCheck | None = None

    def holds(self, *, strict: bool = False) -> bool:
        """Whether the audit is intact and no evidence is disputed or missing.

        Args:
            strict: and none is stale.
        """
        checked = self.checkpoint is None or self.checkpoint.holds
        lost = self.missing + self.disputed + (self.stale if strict else 0)
        return self.audit.intact and checked and not lost
