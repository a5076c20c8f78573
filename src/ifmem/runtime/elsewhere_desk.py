"""Librarians whose models are called by other processes: who waits for a call, who has one."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

from ifmem import clock
from ifmem.domain.model import Completion
from ifmem.wire.librarian_calls import LibrarianTask

RETURNS_SECONDS = 15.0
"""A process that was here so lately comes back for the next call."""


@dataclass(eq=False, slots=True)
class Hand:
    """A process that waits for a call."""

    worker: str
    librarians: Sequence[int]
    """Whose calls it makes; empty: anybody's."""
    given: asyncio.Future[LibrarianTask]

    def serves(self, number: int) -> bool:
        """Whether it makes that librarian's calls."""
        return not self.librarians or number in self.librarians


@dataclass(eq=False, slots=True)
class Lent:
    """A call that is made elsewhere."""

    worker: str
    librarian: int
    said: asyncio.Future[Completion]


@dataclass(slots=True)
class ElsewhereDesk:
    """Who waits, and what is lent; gone with the process, as the calls are for the caller."""

    hands: list[Hand] = field(default_factory=list)
    lent: dict[str, Lent] = field(default_factory=dict)
    """By the call's id."""
    seen: dict[tuple[str, tuple[int, ...]], float] = field(default_factory=dict)
    """When a process was here last, by ``clock.monotonic``."""
    came: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when somebody begins to wait."""

    def has_been_here(self, number: int) -> bool:
        """A process that makes that librarian's calls waits, or has done so lately."""
        if any(hand.serves(number) for hand in self.hands):
            return True
        oldest = clock.monotonic() - RETURNS_SECONDS
        return any(
            at >= oldest and (not librarians or number in librarians)
            for (_, librarians), at in self.seen.items()
        )

    def take(self, number: int) -> Hand | None:
        """The one that waits longest for that librarian's calls; it waits no more."""
        for hand in self.hands:
            if hand.serves(number) and not hand.given.done():
                self.hands.remove(hand)
                return hand
        return None
