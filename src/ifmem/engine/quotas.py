"""Quotas: when a day of calls begins, what is left of it, who may be asked, and for how long not.

A *day* begins at a time of day in a time zone and is known by the moment it began. A time of day
that a zone skips (summer time begins) counts as the moment as long after the skip as it would have
been without: 02:30 becomes 03:30. One that comes twice counts the first time.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, tzinfo
from enum import IntEnum

from ifmem.domain.quota import Denied, Refusal
from ifmem.errors import ConfigError

MINUTE = timedelta(seconds=60)
"""In no span of this length are more than ``per_minute`` calls reserved."""
FIRST_BACK_OFF = timedelta(seconds=5)
LONGEST_BACK_OFF = timedelta(minutes=15)
LONGEST_TOLD = timedelta(days=1)
"""A provider that asks to wait for longer is asked again after it."""


@dataclass(frozen=True, slots=True)
class Day:
    """A day of calls: from the moment it began to the one before ``ends``."""

    begins: datetime
    ends: datetime


def day_of(now: datetime, resets_minute: int, zone: tzinfo) -> Day:
    """The day of calls that holds a moment; both its ends in UTC.

    Args:
        now: the moment.
        resets_minute: the minute of the day, in ``zone``, at which a day begins.
        zone: the time zone.
    """
    now = now.astimezone(UTC)
    around = list(_beginnings(now.astimezone(zone).date(), resets_minute, zone))
    return Day(
        max(moment for moment in around if moment <= now),
        min(moment for moment in around if moment > now),
    )


def _beginnings(around: date, resets_minute: int, zone: tzinfo) -> Iterator[datetime]:
    hour, minute = divmod(resets_minute, 60)
    # A zone may skip a whole date: two on either side are always enough.
    for days in range(-2, 3):
        day = around + timedelta(days=days)
        at = datetime(day.year, day.month, day.day, hour, minute, tzinfo=zone)
        yield at.astimezone(UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class BackOff:
    """A pool whose provider asked to wait."""

    began: datetime
    duration: timedelta
    streak: int
    """Refusals one after the other, those of calls that were under way together counted once."""

    @property
    def until(self) -> datetime:
        return self.began + self.duration


def back_off(
    before: BackOff | None, *, reserved: datetime, now: datetime, told_s: float | None
) -> BackOff:
    """The back-off after a refusal.

    As long as the provider told, up to a day. Else 5 seconds, doubled for each refusal in a row, up
    to 15 minutes. Never shorter than the one before still lasts.

    Args:
        before: the pool's last one, which a served call ends.
        reserved: when the refused call was reserved; one from before the last back-off belongs to
            the same wave of refusals.
        now: the moment.
        told_s: the provider's seconds; None, or nonsense: it told nothing.
    """
    is_new = before is None or reserved >= before.began
    streak = (before.streak if before else 0) + (1 if is_new else 0)
    duration = _told(told_s) or min(LONGEST_BACK_OFF, FIRST_BACK_OFF * 2 ** min(streak - 1, 16))
    if before is not None:
        duration = max(duration, min(before.until - now, before.duration))
    return BackOff(began=now, duration=duration, streak=streak)


def _told(seconds: float | None) -> timedelta | None:
    if seconds is None or not math.isfinite(seconds) or seconds <= 0:
        return None
    return min(LONGEST_TOLD, timedelta(seconds=min(seconds, LONGEST_TOLD.total_seconds())))


@dataclass(frozen=True, slots=True, kw_only=True)
class Use:
    """What was used of a pool, and by one librarian of it, on a day of calls."""

    pool: int = 0
    librarian: int = 0
    minute_until: datetime | None = None
    """When the pool's minute has room; None: it has."""
    back_off: BackOff | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """What bounds the calls of one librarian on a day."""

    pool: int
    librarian: int


def left(bounds: Bounds, use: Use) -> int:
    """Calls that the librarian may still make today; never below 0."""
    return max(0, min(bounds.librarian - use.librarian, bounds.pool - use.pool))


def denied(bounds: Bounds, use: Use, *, now: datetime, day_ends: datetime) -> Denied | None:
    """Why the next call would be refused, and until when; None when it may be made.

    Of several reasons, the one that lasts longest: before its end no call may be made.
    """
    reasons = []
    if use.minute_until is not None and use.minute_until > now:
        reasons.append(Denied(Refusal.MINUTE, use.minute_until))
    if use.back_off is not None and use.back_off.until > now:
        reasons.append(Denied(Refusal.BACKING_OFF, use.back_off.until))
    if not left(bounds, use):
        reasons.append(Denied(Refusal.EXHAUSTED, day_ends))
    return max(reasons, key=lambda one: one.until, default=None)


def shares(name: str, daily: int, stated: Mapping[int, int | None]) -> dict[int, int]:
    """How many calls a day each librarian holds of a pool.

    Those that state none share equally what the others leave; what does not divide goes to the
    lowest numbers.

    Args:
        name: of the quota, for the message.
        daily: calls of the pool.
        stated: by the librarian's number.

    Raises:
        ConfigError: they add up to more than the pool has, or some are left with none.
    """
    open_ones = sorted(number for number, calls in stated.items() if calls is None)
    rest = daily - sum(calls for calls in stated.values() if calls is not None)
    if rest < len(open_ones):
        raise ConfigError(
            f"the quota {name!r} has {daily:,} calls a day and its librarians "
            f"{_numbers(stated)} want {daily - rest + len(open_ones):,} at least: lower `daily` in "
            f"[[librarians]], or correct it in [[quotas]]",
            setting="librarians",
            quota=name,
        )
    part, more = divmod(rest, len(open_ones)) if open_ones else (0, 0)
    equal = {number: part + (i < more) for i, number in enumerate(open_ones)}
    return {number: equal[number] if c is None else c for number, c in sorted(stated.items())}


def _numbers(numbers: Iterable[int]) -> str:
    return ", ".join(str(number) for number in sorted(numbers))


class Tier(IntEnum):
    """Whom to ask first."""

    VENDOR = 0
    LOCAL = 1
    EXTRACTIVE = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A librarian that may be asked."""

    librarian: int
    tier: Tier
    calls: int
    """Left today."""
    denied: Denied | None = None
    offline: str | None = None
    """Why it cannot be asked at all, such as a key that is not there."""


@dataclass(frozen=True, slots=True)
class PassedOver:
    """A librarian that is not asked."""

    librarian: int
    reason: str
    """For a person."""
    denied: Denied | None


@dataclass(frozen=True, slots=True)
class Order:
    """Whom to ask, first to last, and who is not asked."""

    ask: tuple[int, ...]
    passed_over: tuple[PassedOver, ...]


def in_order(candidates: Sequence[Candidate], *, hint: int | None) -> Order:
    """Whom to ask for a question.

    The hinted one; vendors' models by most calls left; local ones; extractive ones; equals by their
    number. Who may not be asked now is passed over, hinted or not.
    """
    free = [one for one in candidates if one.denied is None and one.offline is None]
    chosen = sorted(
        free, key=lambda one: (one.librarian != hint, one.tier, _most_calls(one), one.librarian)
    )
    return Order(
        tuple(one.librarian for one in chosen),
        tuple(
            PassedOver(one.librarian, reason(one.denied, one.offline), one.denied)
            for one in sorted(candidates, key=lambda one: one.librarian)
            if one not in free
        ),
    )


def _most_calls(one: Candidate) -> int:
    return -one.calls if one.tier is Tier.VENDOR else 0


def reason(denied: Denied | None, offline: str | None = None) -> str:
    """Why a librarian is passed over, for a person; empty when it is not."""
    if offline is not None:
        return offline
    if denied is None:
        return ""
    until = denied.until.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    said = {
        Refusal.EXHAUSTED: "its calls of today are used",
        Refusal.MINUTE: "the calls of this minute are used",
        Refusal.BACKING_OFF: "its provider asked to wait",
    }
    return f"{said[denied.refusal]}: again at {until}"
