"""Completions on their way: those ready at the same moment travel together."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from ifmem import clock
from ifmem.bus.task_steps import Accepted, Finish
from ifmem.domain.finding import Finding
from ifmem.errors import IfMemError, NotPermitted, OutcomeUnknown, Refused, Unavailable
from ifmem.runtime.insisting import passes
from ifmem.runtime.membership import Membership, Pauses
from ifmem.runtime.working_leases import Held, Leases

log = logging.getLogger(__name__)

TOGETHER = 128
"""Completions in one round trip."""

Outcome = Accepted | IfMemError


@dataclass(eq=False, slots=True)
class Finishing:
    """A completion that somebody asked for."""

    held: Held
    finish: Finish
    durable: bool
    told: Callable[[Outcome], None]
    """Is given what became of it, once that is sure."""
    finding: Finding | None = None
    insists: bool = True
    """Tried until the bus has an answer; else for as long as any step of the caller's."""
    asked_at: float = field(default_factory=clock.monotonic)
    losses: int = 0
    accepted: Accepted | None = None
    accepted_at: float = 0.0


class Finisher:
    """Sends completions, and waits for their commit where that is wanted.

    A task stays held, and its lease renewed, until its completion is accepted.
    """

    def __init__(self, member: Membership, leases: Leases) -> None:
        self._member = member
        self._leases = leases
        self._queue: deque[Finishing] = deque()
        self._queued = asyncio.Event()
        self._unsure: deque[Finishing] = deque()
        self._accepted = asyncio.Event()
        self._open = 0
        self._settled = asyncio.Event()
        self._settled.set()

    def __len__(self) -> int:
        """How many are not sure yet."""
        return self._open

    @property
    def waiting(self) -> int:
        """How many are not accepted yet."""
        return len(self._queue)

    def add(self, finishing: Finishing) -> None:
        """Send a completion with the next round trip."""
        self._open += 1
        self._settled.clear()
        finishing.held.finishing = True
        self._queue.append(finishing)
        self._queued.set()

    async def finish(self, held: Held, finish: Finish, *, durable: bool) -> Accepted:
        """The same, for a caller who waits.

        Raises:
            Refused: the task is no longer ours, or the store would not have it.
            OutcomeUnknown: the store has not committed it in time.
            Unavailable: the bus was away for too long, or takes nothing new.
        """
        future: asyncio.Future[Accepted] = asyncio.get_running_loop().create_future()

        def tell(outcome: Outcome) -> None:
            if future.done():
                return
            if isinstance(outcome, Accepted):
                future.set_result(outcome)
            else:
                future.set_exception(outcome)

        self.add(Finishing(held, finish, durable, tell, insists=False))
        return await future

    async def settled(self) -> None:
        """Wait until nothing is under way."""
        await self._settled.wait()

    async def send(self) -> None:
        """Send what is queued, for ever."""
        pauses = Pauses()
        while True:
            if not self._queue:
                self._queued.clear()
                await self._queued.wait()
            batch = [self._queue.popleft() for _ in range(min(len(self._queue), TOGETHER))]
            if again := await self._send(batch):
                self._queue.extendleft(reversed(again))
                await pauses.pause()
            else:
                pauses = Pauses()

    async def confirm(self) -> None:
        """Wait for the commits of what was accepted, for ever."""
        while True:
            if not self._unsure:
                self._accepted.clear()
                await self._accepted.wait()
            one = self._unsure.popleft()
            assert one.accepted is not None
            commitments = self._member.commitments
            # Each from its own beginning: a store that stands still holds them all up at once.
            left = one.accepted_at + self._member.settings.bus.commit_seconds - clock.monotonic()
            try:
                async with asyncio.timeout(max(left, 0)):
                    if one.losses == commitments.losses:
                        await self._member.committed(one.accepted, task_id=one.held.task.task_id)
                        self._end(one, one.accepted)
                        continue
            except (OutcomeUnknown, TimeoutError) as error:
                if one.losses == commitments.losses:
                    self._end(one, _unknown(one, error))
                    continue
            except Refused as error:
                self._end(one, error)
                continue
            # What the lost server had accepted is said again to the one in its place.
            one.accepted = None
            self._queue.append(one)
            self._queued.set()

    async def _send(self, batch: list[Finishing]) -> list[Finishing]:
        """Send a batch; those of it that are to be sent again."""
        losses = self._member.commitments.losses
        outcomes: list[Accepted | IfMemError]
        try:
            outcomes = await self._member.bus.tasks.finish_many([one.finish for one in batch])
        except (Unavailable, NotPermitted) as error:
            outcomes = [error] * len(batch)
        again = []
        for one, outcome in zip(batch, outcomes, strict=True):
            if isinstance(outcome, Accepted):
                one.losses, one.accepted = losses, outcome
                one.accepted_at = clock.monotonic()
                self._leases.drop(one.held)
                if one.durable:
                    self._unsure.append(one)
                    self._accepted.set()
                else:
                    self._end(one, outcome)
            elif isinstance(outcome, Unavailable) and self._is_to_be_repeated(one, outcome):
                again.append(one)
            else:
                if not isinstance(outcome, Unavailable):
                    self._leases.lose(one.held, outcome.message)
                self._end(one, outcome)
        return again

    def _is_to_be_repeated(self, one: Finishing, error: Unavailable) -> bool:
        if one.insists:
            return True
        waited = clock.monotonic() - one.asked_at
        return passes(error) and waited < self._member.settings.bus.outage_seconds

    def _end(self, one: Finishing, outcome: Outcome) -> None:
        one.held.finishing = False
        self._open -= 1
        if not self._open:
            self._settled.set()
        one.told(outcome)


def _unknown(one: Finishing, error: OutcomeUnknown | TimeoutError) -> OutcomeUnknown:
    if isinstance(error, OutcomeUnknown):
        return error
    return OutcomeUnknown(
        f"the store has not committed the completion of task {one.held.task.task_id} in time; the "
        "bus has it",
        task_id=one.held.task.task_id,
    )
