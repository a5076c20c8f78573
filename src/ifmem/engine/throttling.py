"""When a provider's next call may go: by configured limits, and by what the provider has said.

A limit holds in every window of a minute, not only on average: a bucket that is refilled as it is
emptied would let twice the limit through in the minute after a pause. Times are seconds of a clock
that never goes back.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from ifmem.domain.model import RateLimits

WINDOW_S = 60.0
_UNTOLD_S = 1.0
"""How long a provider is left alone that asks to wait and does not say for how long."""


@dataclass(frozen=True, slots=True)
class Grant:
    """A call that was let go."""

    number: int
    at: float
    tokens: int


@dataclass(frozen=True, slots=True)
class _Told:
    """What a provider said is left, less what was let go since; until it is filled up."""

    requests: int | None
    tokens: int | None
    until: float

    def allows(self, tokens: int) -> bool:
        if self.requests is not None and self.requests < 1:
            return False
        return self.tokens is None or self.tokens >= tokens

    def after(self, tokens: int) -> _Told:
        return replace(
            self,
            requests=None if self.requests is None else max(self.requests - 1, 0),
            tokens=None if self.tokens is None else max(self.tokens - tokens, 0),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Allowance:
    """What a provider's calls may still use; 0 leaves a limit to what the provider says."""

    requests_per_minute: int = 0
    tokens_per_minute: int = 0
    grants: tuple[Grant, ...] = ()
    """Of the last minute, oldest first."""
    closed_until: float = float("-inf")
    told: _Told | None = None
    calls: int = 0
    """Let go so far; numbers the next."""

    def wait(self, at: float, tokens: int) -> float:
        """Seconds until a call with so many prompt tokens may go; 0 for now.

        A call larger than a whole limit goes when nothing else did for a minute: the provider is
        the one to refuse it.
        """
        return max(
            self.closed_until - at,
            self._told_wait(at, tokens),
            self._own_wait(at, tokens),
            0.0,
        )

    def grant(self, at: float, tokens: int) -> tuple[Allowance, Grant]:
        """Let a call go now: what is left, and the call's grant."""
        grant = Grant(self.calls, at, tokens)
        told = self.told.after(tokens) if self.told is not None and at < self.told.until else None
        kept = tuple(one for one in self.grants if one.at > at - WINDOW_S)
        return replace(self, grants=(*kept, grant), told=told, calls=self.calls + 1), grant

    def corrected(self, grant: Grant, tokens: int) -> Allowance:
        """The call counted so many tokens, once the provider has told."""
        return replace(
            self,
            grants=tuple(
                replace(one, tokens=tokens) if one.number == grant.number else one
                for one in self.grants
            ),
        )

    def heard(self, at: float, limits: RateLimits | None) -> Allowance:
        """What an answer's headers said."""
        if limits is None or (limits.requests_left is None and limits.tokens_left is None):
            return self
        seconds = WINDOW_S if limits.resets_in is None else limits.resets_in.total_seconds()
        return replace(self, told=_Told(limits.requests_left, limits.tokens_left, at + seconds))

    def refused(self, at: float, retry_after_s: float | None) -> Allowance:
        """The provider asked to wait: nothing goes until then."""
        until = at + (_UNTOLD_S if retry_after_s is None else max(retry_after_s, 0.0))
        return replace(self, closed_until=max(self.closed_until, until))

    def _told_wait(self, at: float, tokens: int) -> float:
        told = self.told
        return 0.0 if told is None or told.allows(tokens) else told.until - at

    def _own_wait(self, at: float, tokens: int) -> float:
        """Until enough of the grants of the last minute are older than that."""
        requests = self.requests_per_minute or len(self.grants) + 1
        room = max(self.tokens_per_minute - tokens, 0) if self.tokens_per_minute else None
        recent = [one for one in self.grants if one.at > at - WINDOW_S]
        used = sum(one.tokens for one in recent)
        for passed, one in enumerate(recent):
            if len(recent) - passed < requests and (room is None or used <= room):
                return 0.0 if not passed else recent[passed - 1].at + WINDOW_S - at
            used -= one.tokens
        return recent[-1].at + WINDOW_S - at if recent else 0.0
