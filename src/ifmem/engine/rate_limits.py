"""How often one caller may call, how many of its calls run at once, and how many streams it has."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, replace

MOST_STREAMS = 16
"""Streams that one caller may listen to at once."""
_BURST_SECONDS = 30.0
"""Half a minute's calls may come at once."""
_SWEEP_SECONDS = 60.0
_A_MOMENT_SECONDS = 1.0
"""When to try again while too much runs: how long that will take is not known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """What one caller may use."""

    calls_per_minute: int
    at_once: int
    streams: int = MOST_STREAMS

    @property
    def per_second(self) -> float:
        return self.calls_per_minute / 60

    @property
    def burst(self) -> float:
        return max(1.0, self.per_second * _BURST_SECONDS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Use:
    """What one caller has left, as of a moment."""

    calls: float
    """Calls that may come at once."""
    at: float
    """Seconds of the clock that ``now`` is read from."""
    running: int = 0
    streams: int = 0

    def after(self, limit: Limit, now: float) -> Use:
        """The same at a later moment; a clock that stands still gives nothing."""
        gained = max(0.0, now - self.at) * limit.per_second
        return replace(self, calls=min(limit.burst, self.calls + gained), at=max(now, self.at))


@dataclass(frozen=True, slots=True)
class Denied:
    """The call is refused."""

    retry_after_seconds: float
    reason: str
    """Which limit, for a person."""


def begin_call(use: Use, limit: Limit, now: float) -> Use | Denied:
    """Take one call out of the bucket, and count it as running."""
    use = use.after(limit, now)
    if use.running >= limit.at_once:
        return Denied(_A_MOMENT_SECONDS, f"{limit.at_once:,} calls of yours run at once")
    if use.calls < 1:
        return _too_often(use, limit)
    return replace(use, calls=use.calls - 1, running=use.running + 1)


def begin_stream(use: Use, limit: Limit, now: float) -> Use | Denied:
    """The same for a stream, which runs for long and is no running call."""
    use = use.after(limit, now)
    if use.streams >= limit.streams:
        return Denied(_A_MOMENT_SECONDS, f"you listen to {limit.streams:,} streams at once")
    if use.calls < 1:
        return _too_often(use, limit)
    return replace(use, calls=use.calls - 1, streams=use.streams + 1)


def _too_often(use: Use, limit: Limit) -> Denied:
    wait = (1 - use.calls) / limit.per_second
    return Denied(wait, f"more than {limit.calls_per_minute:,} calls a minute")


class Callers:
    """What every caller uses. One that has been quiet for long enough is forgotten."""

    def __init__(self, limit: Limit) -> None:
        self._limit = limit
        self._uses: dict[Hashable, Use] = {}
        self._swept = 0.0

    def __len__(self) -> int:
        """Callers that are remembered."""
        return len(self._uses)

    def begin_call(self, caller: Hashable, now: float) -> Denied | None:
        """Begin a call, which ``end_call`` ends; ``Denied`` when it may not begin."""
        return self._keep(caller, begin_call(self._use(caller, now), self._limit, now))

    def end_call(self, caller: Hashable) -> None:
        use = self._uses[caller]
        self._uses[caller] = replace(use, running=use.running - 1)

    def begin_stream(self, caller: Hashable, now: float) -> Denied | None:
        """Begin a stream, which ``end_stream`` ends; ``Denied`` when it may not begin."""
        return self._keep(caller, begin_stream(self._use(caller, now), self._limit, now))

    def end_stream(self, caller: Hashable) -> None:
        use = self._uses[caller]
        self._uses[caller] = replace(use, streams=use.streams - 1)

    def _use(self, caller: Hashable, now: float) -> Use:
        if now - self._swept >= _SWEEP_SECONDS:
            self._swept = now
            self._uses = {
                one: use for one, use in self._uses.items() if not self._is_idle(use, now)
            }
        return self._uses.get(caller) or Use(calls=self._limit.burst, at=now)

    def _is_idle(self, use: Use, now: float) -> bool:
        """Whether it has all of its limit back: forgetting it changes nothing."""
        full = use.after(self._limit, now).calls >= self._limit.burst
        return full and not use.running and not use.streams

    def _keep(self, caller: Hashable, outcome: Use | Denied) -> Denied | None:
        if isinstance(outcome, Denied):
            return outcome
        self._uses[caller] = outcome
        return None
