"""Claiming: as many tasks as there are free places, sleeping on the server while there are none."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from datetime import timedelta

from ifmem import clock
from ifmem.bus.task_steps import Claimed
from ifmem.bus.tasks import MOST_AT_ONCE
from ifmem.domain.task import require_lease, require_run
from ifmem.errors import Invalid, Unavailable
from ifmem.runtime.membership import Membership, Pauses
from ifmem.runtime.working_finishes import Finisher
from ifmem.runtime.working_leases import Held, Leases

log = logging.getLogger(__name__)

_MOST_UNACCEPTED = 512
"""Completions that may wait for the bus before nothing more is claimed."""
_LATEST_WAKE = timedelta(seconds=10)


class Claims:
    """Keeps a number of places filled with tasks of one run, until it is stopped."""

    def __init__(
        self,
        member: Membership,
        leases: Leases,
        finisher: Finisher,
        *,
        run: str,
        places: int,
        lease: timedelta,
        begin: Callable[[Held], None],
    ) -> None:
        """Claims that hand each task to ``begin``, whose place is kept until ``free``.

        Raises:
            Invalid: no such run, lease or number of places may be asked for.
        """
        if not 1 <= places <= MOST_AT_ONCE:
            raise Invalid(f"concurrency is 1 to {MOST_AT_ONCE}; it is {places}")
        self._member = member
        self._leases = leases
        self._finisher = finisher
        self._run = require_run(run)
        self._lease = require_lease(lease)
        self._free = places
        self._begin = begin
        self._stopping = False
        self._room = asyncio.Event()
        self._asleep: asyncio.Task[object] | None = None

    def free(self) -> None:
        """A place is free again."""
        self._free += 1
        self._room.set()

    def look(self) -> None:
        """Completions were accepted: there may be room again."""
        self._room.set()

    def stop(self) -> None:
        """Claim nothing more."""
        self._stopping = True
        self._room.set()
        if self._asleep is not None:
            self._asleep.cancel()

    async def claim(self) -> None:
        """Claim until stopped.

        Raises:
            NotPermitted: the server refuses the user.
        """
        pauses = Pauses()
        request = clock.new_id()
        while not self._stopping:
            if self._free <= 0 or self._finisher.waiting > _MOST_UNACCEPTED:
                self._room.clear()
                await self._room.wait()
                continue
            asked_at = clock.monotonic()
            try:
                claimed = await self._member.bus.tasks.claim(
                    self._member.name,
                    lease=self._lease,
                    run=self._run,
                    count=self._free,
                    request=request,
                )
                if self._took(claimed, asked_at):
                    request = clock.new_id()
                    # What was begun runs before more is claimed: short tasks are done by then.
                    await asyncio.sleep(0)
                else:
                    await self._sleep(claimed.wait_ms)
                pauses = Pauses()
            except Unavailable as error:
                # With the same request: the tasks of an answer that was lost are given again.
                log.info("nothing can be claimed now: %s", error.message)
                await pauses.pause()

    def _took(self, claimed: Claimed, asked_at: float) -> int:
        for task in claimed.tasks:
            self._free -= 1
            self._begin(self._leases.take(task, self._lease, asked_at))
        return len(claimed.tasks)

    async def _sleep(self, wait_ms: int) -> None:
        """Until a task is ready, a lease or back-off ends, or ``stop``."""
        if self._stopping:
            return
        task = asyncio.current_task()
        assert task is not None
        self._asleep = task
        try:
            await self._member.bus.tasks.wait(self._run, wait_ms, at_most=_LATEST_WAKE)
        except asyncio.CancelledError:
            if not self._stopping or task.uncancel():
                raise
        finally:
            self._asleep = None
