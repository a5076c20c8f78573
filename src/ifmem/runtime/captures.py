"""What waits to be captured: bounded, the oldest given up first."""

from __future__ import annotations

import asyncio
import logging
from collections import deque

import msgspec

from ifmem import clock
from ifmem.wire.agent_calls import CaptureCall

log = logging.getLogger(__name__)

MOST_WAITING = 2_000
MOST_BYTES = 64 * 1024 * 1024
"""Of the events that wait, as JSON."""
TOGETHER = 32
"""Events stored by one transaction."""
_TELL_SECONDS = 60.0


class Captures:
    """The events of one space that its daemon has taken and not stored."""

    def __init__(self, *, most: int = MOST_WAITING, most_bytes: int = MOST_BYTES) -> None:
        self.storing = asyncio.Lock()
        """Held while some are stored: what waits here is in nobody's hands while it is free."""
        self.dropped = 0
        """Given up since the start, because more came than was stored."""
        self._most = most
        self._most_bytes = most_bytes
        self._waiting: deque[tuple[CaptureCall, int]] = deque()
        self._bytes = 0
        self._filled = asyncio.Event()
        self._untold = 0
        self._told_at = -_TELL_SECONDS
        self._forgotten = ("~", "")

    def __len__(self) -> int:
        return len(self._waiting)

    def put(self, call: CaptureCall) -> None:
        """Take an event; the oldest goes when there is no room."""
        event = call.event
        size = len(event if isinstance(event, str) else msgspec.json.encode(event))
        self._waiting.append((call, size))
        self._bytes += size
        while len(self._waiting) > self._most or (
            self._bytes > self._most_bytes and len(self._waiting) > 1
        ):
            self._bytes -= self._waiting.popleft()[1]
            self.dropped += 1
            self._untold += 1
        self._tell()
        self._filled.set()

    async def filled(self) -> None:
        """Wait until something waits."""
        await self._filled.wait()

    def take(self, most: int = TOGETHER) -> list[CaptureCall]:
        """The oldest that wait, which now do so no longer."""
        taken: list[CaptureCall] = []
        while self._waiting and len(taken) < most:
            call, size = self._waiting.popleft()
            self._bytes -= size
            taken.append(call)
        if not self._waiting:
            self._filled.clear()
        return taken

    def forget(self, since: str) -> None:
        """Give up what happened from a moment on until now, also when it is only heard of later."""
        self._forgotten = (since, clock.stamp(clock.now()))
        self._waiting = deque(one for one in self._waiting if not self.is_forgotten(one[0]))
        self._bytes = sum(size for _, size in self._waiting)

    def is_forgotten(self, call: CaptureCall) -> bool:
        """Whether somebody had what happened then forgotten."""
        since, until = self._forgotten
        return call.at is not None and since <= call.at <= until

    def _tell(self) -> None:
        now = clock.monotonic()
        if self._untold and now - self._told_at >= _TELL_SECONDS:
            log.warning("%d captured events were given up: too many came at once", self._untold)
            self._untold, self._told_at = 0, now
