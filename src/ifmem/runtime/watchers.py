"""Who watches a space: told in this process of what was committed, published and forgotten."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field

MOST_FORGOTTEN = 10_000
"""Findings that may be forgotten while one watcher does not look."""


@dataclass(eq=False, slots=True)
class Noted:
    """What one watcher has not looked at yet: bounded, however long it does not look."""

    stirred: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when something happened; cleared by the watcher, before it looks."""
    shards: set[int] = field(default_factory=set)
    forgotten: dict[str, int] = field(default_factory=dict)
    """Sequences by finding id."""
    overflowed: bool = False
    """More was forgotten than is kept here."""


class Watchers:
    """Notes for each watcher what it should look at.

    Guarantees:
        nothing missed: what happens after ``watching`` was entered is noted, also when nobody
            awaits the event at that moment.
    """

    def __init__(self) -> None:
        self._noted: set[Noted] = set()

    @contextlib.contextmanager
    def watching(self) -> Iterator[Noted]:
        """The notes of one watcher; clear the event before looking, then await it."""
        noted = Noted()
        self._noted.add(noted)
        try:
            yield noted
        finally:
            self._noted.discard(noted)

    def on_committed(self) -> None:
        """The store has committed findings."""
        for noted in self._noted:
            noted.stirred.set()

    def on_forgotten(self, finding_id: str, sequence: int) -> None:
        """A finding was removed."""
        for noted in self._noted:
            if len(noted.forgotten) < MOST_FORGOTTEN:
                noted.forgotten[finding_id] = sequence
            else:
                noted.overflowed = True
            noted.stirred.set()

    def on_published(self, shard: int) -> None:
        """A shard was published as it now is."""
        for noted in self._noted:
            noted.shards.add(shard)
            noted.stirred.set()
