"""What the librarians of one space have in memory: whom they serve, and what they have read."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

from ifmem import clock
from ifmem.errors import IfMemError
from ifmem.runtime.elsewhere_desk import ElsewhereDesk

HOLDER = "bridge:"
"""Begins the names of holders that are daemons: what one left behind, the next one takes."""


@dataclass
class ArchiveDesk:
    """The librarians' place in an open space; empty at every start, since the queue is durable."""

    now: Callable[[], datetime] = clock.now
    started: asyncio.Event = field(default_factory=asyncio.Event)
    """Set while questions are taken."""
    due: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when a question may be waiting."""
    backlog: bool = False
    """Questions wait until others have ended."""
    held: dict[str, int] = field(default_factory=dict)
    """Fences of the questions that are worked on in this process, by id."""
    running: dict[str, asyncio.Task[IfMemError | None]] = field(default_factory=dict)
    """The work on them, and why one had no answer."""
    group: asyncio.TaskGroup | None = None
    """Where it runs; None while the bridge is not there."""
    whole: tuple[object, object] | None = None
    """The archive as it was last read whole, after what it was read from."""
    loaded: dict[int, int] = field(default_factory=dict)
    """o200k tokens that each librarian read last."""
    elsewhere: ElsewhereDesk = field(default_factory=ElsewhereDesk)
    """Librarians whose models are called by other processes."""
