"""A follower of the findings: an async iterator that performs what ``engine.following`` decides."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

import msgspec

from ifmem.engine.following import (
    Deliver,
    Event,
    Filter,
    Following,
    Live,
    PageRead,
    Read,
    Row,
    Stirred,
    Ticked,
    is_shown,
)
from ifmem.errors import Unavailable
from ifmem.wire.shapes import FindingLine

log = logging.getLogger(__name__)

PAGE = 200
"""Findings read at once."""
_WAITING = 256
"""Messages kept for a follower that is busy; with more it reads the log instead."""

_object = msgspec.json.Decoder(dict[str, Any])


class Source(Protocol):
    """The feed, as far as its followers know it."""

    closed: bool

    def leave(self, follower: Follower) -> None:
        """Forget a follower."""
        ...


class Follower:
    """Findings in order, each with its cursor; ends when the feed does.

    It works only while its consumer asks for the next one: a slow consumer costs nothing but the
    bounded number of messages kept for it. A step that was cancelled is taken up again.
    """

    def __init__(
        self,
        cursor: int,
        wanted: Filter,
        *,
        read: Callable[[int], Awaitable[PageRead]],
        feed: Source,
    ) -> None:
        self._state = Following(cursor)
        self._wanted = wanted
        self._read_page = read
        self._feed = feed
        self._inbox: deque[Event] = deque([Stirred()])
        self._ready: deque[Row] = deque()
        self._due: int | None = None
        self._woken = asyncio.Event()
        self.cursor = cursor
        """Up to here everything was delivered, or passed over as not wanted."""

    def __aiter__(self) -> Follower:
        return self

    async def __anext__(self) -> FindingLine:
        while True:
            while self._ready:
                row = self._ready.popleft()
                self.cursor = row.sequence
                if (line := self._line(row)) is not None:
                    return line
            if self._feed.closed:
                raise StopAsyncIteration
            if self._due is not None:
                # Asked again when this is cancelled: it is due until the page is there.
                try:
                    page = await self._read_page(self._due)
                except Unavailable:
                    raise StopAsyncIteration from None
                self._due = None
                self._step(page)
            elif self._inbox:
                self._step(self._inbox.popleft())
            else:
                self._woken.clear()
                await self._woken.wait()

    def tell(self, event: Live | Stirred | Ticked) -> None:
        """Take note of what happened on the bus."""
        if len(self._inbox) >= _WAITING:
            self._inbox.clear()
            event = Stirred()
        if not (isinstance(event, Stirred) and self._inbox and self._inbox[-1] == event):
            self._inbox.append(event)
        self._woken.set()

    def wake(self) -> None:
        """Look at once whether the feed has ended."""
        self._woken.set()

    def close(self) -> None:
        """Follow no longer."""
        self._feed.leave(self)

    def _step(self, event: Event) -> None:
        self._state, effects = self._state.step(event)
        for effect in effects:
            match effect:
                case Deliver(rows):
                    self._ready.extend(rows)
                case Read(after):
                    self._due = after

    def _line(self, row: Row) -> FindingLine | None:
        try:
            finding = _object.decode(row.body)
        except msgspec.DecodeError:
            log.warning("the finding at %d is no JSON object: passed over", row.sequence)
            return None
        if not (is_shown(finding) and self._wanted.passes(finding)):
            return None
        return FindingLine(str(row.sequence), finding)
