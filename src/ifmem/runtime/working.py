"""A worker's tasks: claimed up to the free places, worked on, finished; given back at the end.

ready ── claim ──▶ held ── handler returns ──▶ finishing ── accepted ──▶ done
                    │  └── handler raises ───▶ finishing: again while attempts are left
                    │ lease lost: the handler is cancelled
                    └ the worker stops: released, the attempt given back
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import logging
from collections.abc import Callable, Coroutine, Iterable, Iterator
from datetime import timedelta
from typing import Any

from ifmem.bus.task_steps import Accepted, Finish
from ifmem.domain.finding import Finding
from ifmem.domain.task import MAX_REASON_CHARACTERS, Task
from ifmem.engine.masking import mask
from ifmem.errors import IfMemError, NotFound, NotPermitted, OutcomeUnknown, Refused, Unavailable
from ifmem.runtime.beside import Beside
from ifmem.runtime.membership import Membership, OnEvent
from ifmem.runtime.working_claims import Claims
from ifmem.runtime.working_findings import RecentResults, as_result, compose, require_result
from ifmem.runtime.working_finishes import Finisher, Finishing, Outcome
from ifmem.runtime.working_leases import Held, Leases

log = logging.getLogger(__name__)

DEFAULT_LEASE = timedelta(seconds=60)
DEFAULT_CONCURRENCY = 8
DEFAULT_GRACE = timedelta(seconds=10)
_RELEASE_SECONDS = 5.0

Handler = Callable[[Task], object]
"""Returns, or is a coroutine that returns, None, a claim or the fields of a finding."""


class TaskWork:
    """The task side of one member of a space."""

    def __init__(self, member: Membership, *, on_event: OnEvent) -> None:
        self.member = member
        self.leases = Leases(member.bus.tasks, member.name)
        self.finisher = Finisher(member, self.leases)
        self.results = RecentResults(member.bus, member.name)
        self.say = on_event
        self._under_way: set[Claims] = set()
        self._idle = asyncio.Event()
        self._idle.set()

    def background(self) -> list[Coroutine[Any, Any, None]]:
        """What must run while tasks are held."""
        return [
            self.leases.keep(),
            self.finisher.send(),
            self.finisher.confirm(),
            self.results.show(),
        ]

    async def run(
        self,
        handler: Handler,
        *,
        run: str,
        concurrency: int,
        lease: timedelta,
        durable: bool,
        grace: timedelta,
    ) -> None:
        """Work on tasks until ``stop``; then let running handlers end within the grace time.

        What has not ended by then, and everything when this is cancelled, is cancelled and
        released.
        """
        handling = _Handling(self, handler, run=run, durable=durable)
        claims = self.claims(run=run, places=concurrency, lease=lease, begin=handling.begin)
        with self.entered(claims):
            beside = Beside()
            handling.start(beside, claims)
            try:
                async with beside.running():
                    await claims.claim()
                    await handling.wind_up(grace)
            finally:
                await self.release(handling.abandoned)
            await self.finisher.settled()

    def claims(
        self, *, run: str, places: int, lease: timedelta, begin: Callable[[Held], None]
    ) -> Claims:
        """Claims for these leases and completions."""
        return Claims(
            self.member,
            self.leases,
            self.finisher,
            run=run,
            places=places,
            lease=lease,
            begin=begin,
        )

    @contextlib.contextmanager
    def entered(self, claims: Claims) -> Iterator[None]:
        """Count these claims among those that ``stop`` ends."""
        self._under_way.add(claims)
        self._idle.clear()
        try:
            yield
        finally:
            self._under_way.discard(claims)
            if not self._under_way:
                self._idle.set()

    def stop(self) -> None:
        """Claim nothing more."""
        for claims in list(self._under_way):
            claims.stop()

    async def wound_up(self) -> None:
        """Wait until all that was stopped has ended."""
        await self._idle.wait()

    async def release(self, some: Iterable[Held]) -> None:
        """Give tasks back, as far as the bus answers in time; the end of their leases does else."""
        try:
            async with asyncio.timeout(_RELEASE_SECONDS):
                for held in some:
                    if held.lost is None:
                        await self._release(held)
        except (TimeoutError, Unavailable, NotPermitted) as error:
            log.warning("tasks were not given back, their leases will end: %s", error)

    async def _release(self, held: Held) -> None:
        self.leases.drop(held)
        with contextlib.suppress(Refused, NotFound):
            await self.member.bus.tasks.release(
                held.task.task_id, worker=self.member.name, fence=held.fence
            )
            self.say({"event": "released", "task_id": held.task.task_id})

    def failure(self, held: Held, error: Exception) -> Finish:
        """The completion of a task whose handler raised."""
        return Finish(
            task_id=held.task.task_id,
            worker=self.member.name,
            fence=held.fence,
            done=False,
            reason=reason_of(error),
        )

    def success(self, held: Held, finding: Finding | None) -> Finish:
        """The completion of a task, with its finding in the same step."""
        return Finish(
            task_id=held.task.task_id,
            worker=self.member.name,
            fence=held.fence,
            result=None if finding is None else as_result(finding),
        )

    def tell(self, held: Held, finish: Finish, outcome: Outcome, finding: Finding | None) -> None:
        """Say what became of a completion."""
        if isinstance(outcome, Accepted):
            if finding is not None:
                self.results.add(finding)
            self.say(
                {
                    "event": "finished" if finish.done else "failed",
                    "task_id": held.task.task_id,
                    "state": outcome.state,
                    **({"finding_id": finding.finding_id} if finding is not None else {}),
                    **({} if finish.done else {"reason": finish.reason}),
                }
            )
        else:
            log.warning("task %s was not finished: %s", held.task.task_id, outcome.message)
            event = "unknown" if isinstance(outcome, OutcomeUnknown) else "lost"
            self.say({"event": event, "task_id": held.task.task_id, "reason": outcome.message})


class _Handling:
    """The handlers that run now."""

    def __init__(self, work: TaskWork, handler: Handler, *, run: str, durable: bool) -> None:
        self._work = work
        self._handler = handler
        self._run = run
        self._durable = durable
        self._is_async = inspect.iscoroutinefunction(handler) or inspect.iscoroutinefunction(
            getattr(handler, "__call__", None)  # noqa: B004 - of an object, not whether
        )
        self._running: set[Held] = set()
        self._ended = asyncio.Event()
        self._abandoned: list[Held] = []

    @property
    def abandoned(self) -> list[Held]:
        """What was cancelled while it was ours; also before its first step, of which it then knows
        nothing."""
        return [*self._abandoned, *self._running]

    def start(self, beside: Beside, claims: Claims) -> None:
        """Run beside these claims."""
        self._beside = beside
        self._claims = claims

    def begin(self, held: Held) -> None:
        """Work on a task."""
        self._work.say({"event": "started", "task_id": held.task.task_id})
        self._running.add(held)
        self._beside.start(self._perform(held))

    async def wind_up(self, grace: timedelta) -> None:
        """Wait for those that run, as long as the grace time."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(grace.total_seconds()):
                while self._running:
                    self._ended.clear()
                    await self._ended.wait()

    async def _perform(self, held: Held) -> None:
        task = asyncio.current_task()
        assert task is not None
        held.on_lost = task.cancel
        try:
            if held.lost is not None:
                raise asyncio.CancelledError
            finish, finding = await self._outcome(held)
        except asyncio.CancelledError:
            if held.lost is None:
                self._abandoned.append(held)
                raise
            reason = held.lost
            self._work.say({"event": "lost", "task_id": held.task.task_id, "reason": reason})
        else:
            held.on_lost = None

            def told(outcome: Outcome) -> None:
                self._work.tell(held, finish, outcome, finding)
                self._claims.look()

            self._work.finisher.add(Finishing(held, finish, self._durable, told))
        finally:
            self._running.discard(held)
            self._ended.set()
            self._claims.free()

    async def _outcome(self, held: Held) -> tuple[Finish, Finding | None]:
        """Call the handler; the completion that its result, or its failure, makes."""
        try:
            if self._is_async:
                returned = self._handler(held.task)
            else:
                returned = await asyncio.to_thread(self._handler, held.task)
            if inspect.isawaitable(returned):
                returned = await returned
            given = require_result(returned)
            if given is None:
                return self._work.success(held, None), None
            finding = compose(
                given, worker=self._work.member.name, run=self._run, task_id=held.task.task_id
            )
            return self._work.success(held, finding), finding
        except Exception as error:
            log.debug("task %s failed", held.task.task_id, exc_info=True)
            return self._work.failure(held, error), None


def reason_of(error: Exception) -> str:
    """Why a task failed, in the words of the exception, credentials masked."""
    said = error.message if isinstance(error, IfMemError) else str(error)
    named = said if isinstance(error, IfMemError) else f"{type(error).__name__}: {said}"
    return mask(named.rstrip(": ")).text[:MAX_REASON_CHARACTERS]
