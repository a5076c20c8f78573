"""One follower of the log of findings: every finding once, in order, whatever was missed.

Live messages are only hints. Each names the finding before it; a follower that holds that one
delivers at once, any other reads the log from its cursor. While a read is under way, live messages
are held, so that a follower at the end of the log goes on live without another read.

live    --message after the one held---> live, delivered
live    --any other, hint, reconnected--> reading
reading --page, more to come-----------> reading, delivered
reading --last page--------------------> live, delivered; or reading when the held have a gap
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import Any

from ifmem.domain.finding import Trust

_HELD = 64
"""Live messages held during a read; more are dropped, and the log is read once more."""


@dataclass(frozen=True, slots=True)
class Row:
    """A finding in its place."""

    sequence: int
    body: bytes


@dataclass(frozen=True, slots=True)
class Live:
    """A finding was published."""

    sequence: int
    previous: int
    """The sequence published before it."""
    body: bytes | None
    """None when it did not ride along and must be read."""


@dataclass(frozen=True, slots=True)
class PageRead:
    """What the log holds after the cursor, in order."""

    rows: tuple[Row, ...]
    more: bool
    """There may be more behind it."""


@dataclass(frozen=True, slots=True)
class Stirred:
    """Messages may have been missed: the connection is new, or somebody said so."""


@dataclass(frozen=True, slots=True)
class Ticked:
    """The newest sequence on the bus, as somebody looked it up."""

    newest: int


@dataclass(frozen=True, slots=True)
class Deliver:
    """Give these to the consumer, in this order."""

    rows: tuple[Row, ...]


@dataclass(frozen=True, slots=True)
class Read:
    """Read the log after this sequence, and answer with a ``PageRead``."""

    after: int


Event = Live | PageRead | Stirred | Ticked
Effect = Deliver | Read


@dataclass(frozen=True, slots=True)
class Following:
    """A follower that has delivered everything up to ``cursor``."""

    cursor: int
    reading: bool = False
    again: bool = False
    """Read once more after this read: it may have come too early."""
    held: tuple[Live, ...] = ()

    def step(self, event: Event) -> tuple[Following, tuple[Effect, ...]]:
        """The next state, and what must now be done, in order."""
        match event:
            case PageRead():
                return self._turned(event)
            case Live(sequence=sequence) if sequence <= self.cursor:
                return self, ()
            case Ticked(newest=newest) if newest <= self.cursor:
                return self, ()
            case Live() if self.reading:
                return self._hold(event), ()
            case _ if self.reading:
                return replace(self, again=True), ()
            case Live():
                return self._live(event)
            case _:
                return replace(self, reading=True), (Read(self.cursor),)

    def _hold(self, message: Live) -> Following:
        if len(self.held) < _HELD:
            return replace(self, held=(*self.held, message))
        return replace(self, held=(), again=True)

    def _live(self, message: Live) -> tuple[Following, tuple[Effect, ...]]:
        if message.previous == self.cursor and message.body is not None:
            row = Row(message.sequence, message.body)
            return replace(self, cursor=message.sequence), (Deliver((row,)),)
        return replace(self, reading=True), (Read(self.cursor),)

    def _turned(self, page: PageRead) -> tuple[Following, tuple[Effect, ...]]:
        state = Following(page.rows[-1].sequence if page.rows else self.cursor)
        done: tuple[Effect, ...] = (Deliver(page.rows),) if page.rows else ()
        # An empty page ends the reading, whatever it says of more: asking for the same again
        # would bring the same.
        if page.more and page.rows:
            return replace(self, cursor=state.cursor), (*done, Read(state.cursor))
        if self.again:
            return replace(state, reading=True), (*done, Read(state.cursor))
        for message in self.held:
            if message.sequence > state.cursor:
                state, effects = state._live(message)
                done += effects
            if state.reading:
                # That read brings what else was held.
                break
        return state, done


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """Which findings a consumer wants; an empty field restricts nothing."""

    topic: str | None = None
    task: str | None = None
    worker: str | None = None
    """The finding's author."""
    tag: str | None = None
    run: str | None = None
    """The session it was found in."""
    since: str | None = None
    """Said at this moment (UTC, ISO-8601) or later."""
    sources: tuple[str, ...] = ()
    """Cites one of these: paths with everything below them, URLs, or patterns with ``*``."""

    def passes(self, finding: Mapping[str, Any]) -> bool:
        """True when the finding is one of those wanted."""
        wanted = (
            ("topic", self.topic),
            ("task_id", self.task),
            ("worker_id", self.worker),
            ("session_id", self.run),
        )
        if any(value is not None and finding.get(name) != value for name, value in wanted):
            return False
        if self.tag is not None and self.tag not in _listed(finding.get("tags")):
            return False
        if self.since is not None and not str(finding.get("timestamp", "")) >= self.since:
            return False
        return not self.sources or any(
            _lies_in(str(cited.get("source")), self.sources)
            for cited in _listed(finding.get("citations"))
            if isinstance(cited, Mapping)
        )


def is_shown(finding: Mapping[str, Any]) -> bool:
    """False for a finding in quarantine, which no follower gets, whoever put it on the bus."""
    return finding.get("trust") != Trust.QUARANTINED


def _listed(value: object) -> Sequence[Any]:
    return value if isinstance(value, list) else ()


def _lies_in(source: str, places: Sequence[str]) -> bool:
    return any(
        source == place or source.startswith(place.rstrip("/") + "/") or fnmatchcase(source, place)
        for place in places
    )
