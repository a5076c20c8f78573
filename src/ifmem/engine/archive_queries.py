"""The life of a question to the archive: who may have it, until when, and what ends it.

waiting ─▶ leased ─▶ answered
   ▲          ├────▶ kept (until quotas reset) ─▶ leased …
   └──────────┤  a lease that ends, or is given back
              └────▶ failed after too many; expired when too old
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

MOST_OPEN = 1_000
"""Questions of a space that may wait at once: more are refused, and come again if they matter."""


class QueryState(StrEnum):
    """Where a question stands."""

    WAITING = "waiting"
    LEASED = "leased"
    KEPT = "kept"
    """Every librarian's quota was used: it waits for a reset."""
    ANSWERED = "answered"
    EXPIRED = "expired"
    FAILED = "failed"


ENDED = frozenset({QueryState.ANSWERED, QueryState.EXPIRED, QueryState.FAILED})


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """Where one question stands; every step makes a new one."""

    state: QueryState
    expires_at: datetime
    """Answered to nobody from then on."""
    attempts: int = 0
    """Leases that did not end with an answer or with a quota used up."""
    fence: int = 0
    """Of the newest lease; grows with each."""
    holder: str | None = None
    lease_until: datetime | None = None
    not_before: datetime | None = None
    """Of a kept one: when a quota resets."""
    reason: str | None = None
    """Why it failed or is kept, or was lost last."""

    @property
    def has_ended(self) -> bool:
        """Nothing changes it any more."""
        return self.state in ENDED

    def is_claimable(self, now: datetime) -> bool:
        """Somebody may take it now."""
        if now >= self.expires_at:
            return False
        match self.state:
            case QueryState.WAITING:
                return True
            case QueryState.LEASED:
                return self.lease_until is not None and now >= self.lease_until
            case QueryState.KEPT:
                return self.not_before is not None and now >= self.not_before
            case _:
                return False

    def is_held(self, fence: int) -> bool:
        """That lease is the newest, and nothing has ended it."""
        return self.state is QueryState.LEASED and self.fence == fence


def claimed(
    standing: Standing, holder: str, now: datetime, lease: timedelta, *, attempts: int
) -> Standing:
    """The question in somebody's hands; one lost too often has failed, one that may not be taken
    stays as it is.

    Args:
        attempts: librarians that it may be lost by.
    """
    ready = swept(standing, now, attempts=attempts)
    if not ready.is_claimable(now):
        return ready
    return replace(
        ready,
        state=QueryState.LEASED,
        fence=ready.fence + 1,
        holder=holder,
        # Nobody holds it for longer than its answer is wanted.
        lease_until=min(now + lease, ready.expires_at),
        not_before=None,
    )


def renewed(standing: Standing, fence: int, now: datetime, lease: timedelta) -> Standing:
    """The lease from now on; as it is when it is not that one's any more."""
    if not standing.is_held(fence):
        return standing
    return replace(standing, lease_until=min(now + lease, standing.expires_at))


def answered(standing: Standing, fence: int, now: datetime) -> Standing | None:
    """The question answered; None when the answer comes too late, or another has come first."""
    if not standing.is_held(fence) or now >= standing.expires_at:
        return None
    return replace(standing, state=QueryState.ANSWERED, lease_until=None, reason=None)


def kept(
    standing: Standing, fence: int, *, until: datetime, expires_at: datetime, reason: str
) -> Standing | None:
    """The question kept until quotas reset; None when it is not held by that lease.

    Args:
        until: when the first quota resets.
        expires_at: how long it may wait for that.
        reason: what was tried.
    """
    if not standing.is_held(fence):
        return None
    return replace(
        standing,
        state=QueryState.KEPT,
        holder=None,
        lease_until=None,
        not_before=until,
        expires_at=max(expires_at, standing.expires_at),
        reason=reason,
    )


def given_back(standing: Standing, fence: int, *, reason: str, attempts: int) -> Standing | None:
    """The question waiting again, or failed when this was the last attempt; None when it is not
    held by that lease."""
    if not standing.is_held(fence):
        return None
    lost = standing.attempts + 1
    told = replace(standing, reason=_reasons(standing.reason, reason))
    if lost >= attempts:
        return _failed(told, lost)
    return replace(told, state=QueryState.WAITING, attempts=lost, holder=None, lease_until=None)


def swept(standing: Standing, now: datetime, *, attempts: int) -> Standing:
    """What time alone has made of a question."""
    if standing.has_ended:
        return standing
    is_worked_on = standing.state is QueryState.LEASED and (
        standing.lease_until is not None and now < standing.lease_until
    )
    if is_worked_on:
        return standing
    if now >= standing.expires_at:
        reason = "it waited too long" if standing.reason is None else standing.reason
        return replace(
            standing, state=QueryState.EXPIRED, holder=None, lease_until=None, reason=reason
        )
    if standing.state is not QueryState.LEASED:
        return standing
    lost = standing.attempts + 1
    told = replace(standing, reason=_reasons(standing.reason, _silence(standing)))
    if lost >= attempts:
        return _failed(told, lost)
    return replace(told, state=QueryState.WAITING, attempts=lost, holder=None, lease_until=None)


def due_at(standing: Standing) -> datetime | None:
    """When time changes the question next; None when it never does."""
    if standing.has_ended:
        return None
    moments = {
        QueryState.LEASED: standing.lease_until,
        QueryState.KEPT: standing.not_before,
    }
    return min(moments.get(standing.state) or standing.expires_at, standing.expires_at)


def _failed(standing: Standing, lost: int) -> Standing:
    reason = standing.reason or _silence(standing)
    return replace(
        standing,
        state=QueryState.FAILED,
        attempts=lost,
        holder=None,
        lease_until=None,
        not_before=None,
        reason=reason,
    )


def _silence(standing: Standing) -> str:
    return f"{standing.holder or 'whoever had it'} did not answer in time"


def _reasons(before: str | None, reason: str) -> str:
    return reason if before is None else f"{before}; {reason}"
