"""Quotas: how often a provider's key may be used, and what a librarian holds of it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

UNMETERED_CALLS = 1_500
"""What an unmetered librarian shows as its number of calls: the seed's default of a day."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Quota:
    """The calls of one pool: one key of one provider."""

    name: str
    provider: str
    daily: int
    per_minute: int
    resets_minute: int = 0
    """The minute of the day, in ``zone``, at which a new day of calls begins."""
    zone: str = "UTC"
    key: str = ""
    """Where its key is read; pools with the same key are one."""

    @property
    def pool(self) -> str:
        """What its calls are counted under, whatever the entry is named."""
        return self.key or f"provider:{self.provider}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Allowance:
    """What one librarian may take: of which pool, and how many calls a day."""

    space: str
    librarian: int
    quota: Quota | None
    """None: unmetered."""
    daily: int


class Refusal(StrEnum):
    """Why a call may not be made now."""

    EXHAUSTED = "exhausted"
    """The day's calls are used: of the librarian, or of its pool."""
    MINUTE = "minute"
    """The pool's calls of this minute are used."""
    BACKING_OFF = "backing_off"
    """The provider asked to wait."""


@dataclass(frozen=True, slots=True)
class Reservation:
    """A call that may be made; charged unless it is refunded."""

    reservation_id: str
    allowance: Allowance
    day: str
    """The day of calls it is charged to: the moment it began, ISO-8601 UTC. Empty: unmetered."""


@dataclass(frozen=True, slots=True)
class Denied:
    """No call may be made before a moment."""

    refusal: Refusal
    until: datetime


@dataclass(frozen=True, slots=True)
class Remaining:
    """What a librarian may still do."""

    librarian: int
    calls: int
    """Left today, never below 0; as configured for an unmetered one."""
    resets_at: datetime | None
    """None: unmetered."""
    denied: Denied | None
    """Why the next call would be refused now."""


@dataclass(frozen=True, slots=True)
class Reset:
    """A new day of calls that a pool has begun."""

    pool: str
    day: str
    """The moment it began, ISO-8601 UTC."""
    at: str
    """When it was noticed."""
    used: int
    """Calls charged to the day before."""
