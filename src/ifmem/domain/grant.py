"""A grant: what the holder of an HTTP token may do, where, and until when."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from ifmem.domain.finding import Trust


class Scope(StrEnum):
    """What a caller may do."""

    READ = "read"
    WRITE = "write"
    ADMIN = "admin"


EVERY_SCOPE = frozenset(Scope)


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """One token's grant as stored; the token itself is nowhere."""

    name: str
    """The agent that uses it: the author of its findings, the holder of its tasks."""
    space: str
    scopes: frozenset[Scope]
    roots: tuple[str, ...] = ()
    """Absolute directories whose files it may load and cite."""
    trust: Trust = Trust.AGENT
    """Of what it says: ``agent`` or ``quarantined``."""
    created_at: datetime
    expires_at: datetime | None = None
    revoked_at: datetime | None = None

    def refusal(self, now: datetime) -> str | None:
        """Why it is no longer taken, in a word; None when it is."""
        if self.revoked_at is not None:
            return "revoked"
        if self.expires_at is not None and now >= self.expires_at:
            return "expired"
        return None
