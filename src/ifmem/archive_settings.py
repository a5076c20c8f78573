"""Settings of the archive: sessions, librarians, their quotas, and what is believed."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from ifmem.domain.model import EXTRACTIVE

Positive = Annotated[int, msgspec.Meta(ge=1)]
Share = Annotated[float, msgspec.Meta(ge=0, le=1)]
Seconds = Annotated[float, msgspec.Meta(gt=0, le=366 * 86_400)]
TimeOfDay = Annotated[str, msgspec.Meta(pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9]$")]
ArchiveMode = Literal["never", "auto", "always"]


class SessionSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    idle_seconds: Seconds = 86_400.0
    """A session in which nothing was stored for this long has ended."""


class ArchiveSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    mode: ArchiveMode = "auto"
    """When `ask` and `recall` reach the archive: `auto` when what is live holds no sentence with
    more than half of what is asked."""
    librarians: Annotated[int, msgspec.Meta(ge=1, le=64)] = 5
    """How many there are; those that no `[[librarians]]` names are extractive."""
    query_seconds: Seconds = 300.0
    """An older question is answered to nobody, unless it is kept for a quota."""
    kept_seconds: Seconds = 7 * 86_400.0
    """How long a question waits for a quota, and an answer for who asked."""
    lease_seconds: Seconds = 60.0
    """A librarian that is silent for this long loses its question to another."""
    attempts: Positive = 3
    """Librarians that a question may be lost by before it has failed."""


class LibrarianEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One librarian."""

    number: Positive
    model: str = EXTRACTIVE
    """`extractive`, `local` or `PROVIDER:MODEL`."""
    quota: str = ""
    """The `[[quotas]]` it draws from. Empty: the one of its model's provider."""
    daily: Positive | None = None
    """Its own calls a day. None: an equal part of its quota; unmetered ones show 1,500."""
    capacity: Annotated[int, msgspec.Meta(ge=512)] = 200_000
    """o200k tokens of the archive it holds, or reads for a question."""


class QuotaEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What one key of one provider may be asked; use keys that you rightfully have."""

    name: str
    provider: str
    daily: Positive = 1_500
    per_minute: Positive = 15
    resets: TimeOfDay = "00:00"
    """The time of day at which a new day of calls begins."""
    zone: str = "UTC"
    """The time zone of `resets`, such as `America/Los_Angeles`."""


class TrustSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    tolerance: Share = 0.2
    """Values of one topic that differ by more than this part of the larger are a conflict."""
    low_confidence: Share = 0.2
    """A finding below it is put before a person."""
    sources: Positive = 1
    """A finding that cites fewer different sources is asked for more; 1 asks for none."""
    judge: str = ""
    """The model that judges whether claims of one topic contradict. Empty: only values are
    compared."""
