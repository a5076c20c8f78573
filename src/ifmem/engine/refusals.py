"""Which refusals become a row of the audit: the first at once, those like it counted for a minute.

The audit is only ever added to, so that a row which was written stays as it is: whoever is refused
a thousand times a second leaves two rows a minute.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

WINDOW_SECONDS = 60.0
MOST_KINDS = 1_000
"""Kinds of refusals that are counted at once; further ones are counted together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """Who was refused what, and why."""

    actor: str
    action: str
    reason: str
    subject: str = "-"

    @property
    def kind(self) -> tuple[str, str, str]:
        """What makes refusals identical."""
        return self.actor, self.action, self.reason


FURTHER = Refusal(actor="-", action="-", reason="further refusals, of too many kinds")


@dataclass(slots=True)
class _Window:
    refusal: Refusal
    since: float
    more: int = 0


class RefusalCounts:
    """The refusals of the last minute."""

    def __init__(self) -> None:
        self._windows: dict[tuple[str, str, str], _Window] = {}

    def __len__(self) -> int:
        """Kinds that are being counted."""
        return len(self._windows)

    def is_first(self, refusal: Refusal, now: float) -> bool:
        """Count a refusal at ``now`` (seconds); whether it is to be written at once."""
        if refusal.kind not in self._windows and len(self._windows) >= MOST_KINDS:
            refusal = FURTHER
        window = self._windows.get(refusal.kind)
        if window is None:
            self._windows[refusal.kind] = _Window(refusal, now)
            return refusal is not FURTHER
        window.more += 1
        return False

    def ended(self, now: float) -> list[Refusal]:
        """What is to be written of the minutes that are over, which are forgotten with that."""
        over = [one for one in self._windows.values() if now - one.since >= WINDOW_SECONDS]
        return self._close(over)

    def all(self) -> list[Refusal]:
        """The same of every minute, whether it is over or not."""
        return self._close(list(self._windows.values()))

    def _close(self, windows: list[_Window]) -> list[Refusal]:
        for window in windows:
            del self._windows[window.refusal.kind]
        return [_counted(one.refusal, one.more) for one in windows if one.more]


def _counted(refusal: Refusal, more: int) -> Refusal:
    times = "once more" if more == 1 else f"{more:,} more times"
    return replace(refusal, reason=f"{refusal.reason} ({times} within a minute)")
