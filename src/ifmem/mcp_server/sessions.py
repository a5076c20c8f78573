"""How many sessions of the handshake's era each caller has open, so that none takes all of them."""

from __future__ import annotations

MOST_SESSIONS = 64
"""Of one caller."""
IDLE_SECONDS = 15 * 60.0
"""A session that is not used for this long is over."""


class Sessions:
    """The open sessions of every caller, as far as their requests and answers tell."""

    def __init__(self) -> None:
        self._used: dict[str, dict[str, float]] = {}

    def may_open(self, caller: str, now: float) -> bool:
        """Whether a caller may open another one."""
        open_ones = self._used.get(caller, {})
        kept = {name: at for name, at in open_ones.items() if now - at < IDLE_SECONDS}
        if kept:
            self._used[caller] = kept
        else:
            self._used.pop(caller, None)
        return len(kept) < MOST_SESSIONS

    def used(self, caller: str, session: str, now: float) -> None:
        """A session was opened or used."""
        self._used.setdefault(caller, {})[session] = now

    def ended(self, caller: str, session: str) -> None:
        """Its caller has ended it, or it is not there any more."""
        open_ones = self._used.get(caller, {})
        open_ones.pop(session, None)
        if not open_ones:
            self._used.pop(caller, None)
