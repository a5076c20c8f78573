"""A vendor's limit per minute: a bucket that fills evenly (docs api/rate-limits of Anthropic)."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import datetime, timedelta
from threading import Lock


class Allowance:
    """So much a minute; None: no limit."""

    def __init__(self, limit: int | None, clock: Callable[[], datetime]) -> None:
        self.limit = limit
        self._clock = clock
        self._lock = Lock()
        self._level = float(limit or 0)
        self._at = clock()

    def wait(self, amount: int) -> int:
        """Whole seconds until so much is there, 0: now; never for more than a minute's worth."""
        if self.limit is None:
            return 0
        with self._lock:
            self._fill()
            lacking = min(amount, self.limit) - self._level
            return max(0, math.ceil(lacking * 60 / self.limit))

    def take(self, amount: int) -> None:
        """Take it, whether or not it is there."""
        with self._lock:
            self._fill()
            self._level -= amount

    @property
    def left(self) -> int:
        with self._lock:
            self._fill()
            return max(0, math.floor(self._level))

    @property
    def full_at(self) -> datetime:
        """When the whole minute's allowance is there again."""
        if self.limit is None:
            return self._clock()
        with self._lock:
            self._fill()
            return self._at + timedelta(seconds=(self.limit - self._level) * 60 / self.limit)

    def _fill(self) -> None:
        if self.limit is None:
            return
        moment = self._clock()
        gained = (moment - self._at).total_seconds() * self.limit / 60
        self._level = min(float(self.limit), self._level + gained)
        self._at = moment
