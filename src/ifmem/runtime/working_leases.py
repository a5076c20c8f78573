"""Tasks that a worker holds: their leases renewed in time, and what is lost told at once."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta

from ifmem import clock
from ifmem.bus.tasks import TaskBoard
from ifmem.domain.task import Task
from ifmem.errors import IfMemError, NotFound, Refused

log = logging.getLogger(__name__)

_SHARE = 3
"""Renewals in the time of a lease: two may fail."""
_ANSWER_SECONDS = 2.0
_SHORTEST_PAUSE = 0.02


@dataclass(eq=False, slots=True)
class Held:
    """A task under our lease, until it is given up or lost."""

    task: Task
    lease: timedelta
    ends: float
    """When the lease ends at the latest, by our monotonic clock."""
    due: float
    """When it is to be renewed."""
    finishing: bool = False
    """Its completion is under way: whether it is still ours is then for the bus to say."""
    lost: str | None = None
    """Why it is no longer ours."""
    on_lost: Callable[[], object] | None = field(default=None, repr=False)

    @property
    def fence(self) -> str:
        """The fence of the lease."""
        return self.task.fence or ""


class Leases:
    """What this worker holds.

    Guarantees:
        renewal: each lease is extended when a third of it has passed.
        loss: whoever works on a task is told when the bus says that it is another's, and at the
            latest when the lease ends unrenewed, since others may have it from then on.
    """

    def __init__(self, board: TaskBoard, worker: str) -> None:
        self._board = board
        self._worker = worker
        self._held: dict[str, Held] = {}
        self._sooner = asyncio.Event()
        self._planned = math.inf
        """When the next renewal is due."""

    def __len__(self) -> int:
        return len(self._held)

    def take(self, task: Task, lease: timedelta, asked_at: float) -> Held:
        """Hold a task that was claimed; ``asked_at`` is the moment before the claim was sent."""
        seconds = clock.in_seconds(lease)
        held = Held(task, lease, asked_at + seconds, asked_at + seconds / _SHARE)
        self._held[task.task_id] = held
        if held.due < self._planned:
            self._sooner.set()
        return held

    def drop(self, held: Held) -> None:
        """Hold a task no longer: it was finished, released or lost."""
        if self._held.get(held.task.task_id) is held:
            del self._held[held.task.task_id]

    def lose(self, held: Held, why: str) -> None:
        """Tell whoever works on it that a task is no longer ours."""
        self.drop(held)
        if held.lost is None:
            held.lost = why
            if held.on_lost is not None:
                held.on_lost()

    def all(self) -> list[Held]:
        """Everything that is held."""
        return list(self._held.values())

    async def renew(self, held: Held) -> None:
        """Extend a lease now.

        Raises:
            Refused: the task is no longer ours.
            Unavailable: the bus did not answer.
        """
        asked_at = clock.monotonic()
        try:
            await self._board.renew(
                held.task.task_id, worker=self._worker, fence=held.fence, lease=held.lease
            )
        except (Refused, NotFound) as error:
            if not held.finishing:
                self.lose(held, error.message)
            raise
        seconds = clock.in_seconds(held.lease)
        held.ends, held.due = asked_at + seconds, asked_at + seconds / _SHARE

    async def keep(self) -> None:
        """Renew what is due, for ever."""
        while True:
            now = clock.monotonic()
            for held in [one for one in self._held.values() if one.due <= now]:
                await self._keep(held)
            self._sooner.clear()
            self._planned = min((one.due for one in self._held.values()), default=math.inf)
            with contextlib.suppress(TimeoutError):
                left = self._planned - clock.monotonic()
                async with asyncio.timeout(left if math.isfinite(left) else None):
                    await self._sooner.wait()

    async def _keep(self, held: Held) -> None:
        try:
            # After the end of the lease any answer comes too late; nor may one that does not come
            # hold up the other renewals.
            left = held.ends - clock.monotonic()
            async with asyncio.timeout(min(max(left, 0), _ANSWER_SECONDS)):
                await self.renew(held)
        except (Refused, NotFound) as error:
            if held.finishing:
                # Most likely our own completion came first.
                held.due = math.inf
            else:
                log.warning("%s", error.message)
        except (IfMemError, TimeoutError) as error:
            left = held.ends - clock.monotonic()
            if left <= 0 and not held.finishing:
                self.lose(held, f"its lease ended while the bus was away ({error})")
            else:
                # Soon again, and more often the nearer the end is.
                held.due = clock.monotonic() + max(left / 4, _SHORTEST_PAUSE)
