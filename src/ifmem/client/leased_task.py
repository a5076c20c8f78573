"""A task that a worker holds: finished, failed or given back by whoever works on it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

from ifmem.bus.task_steps import Accepted, Finish
from ifmem.domain.finding import Finding
from ifmem.domain.task import Task, require_reason
from ifmem.errors import IfMemError, Refused
from ifmem.runtime.working import TaskWork
from ifmem.runtime.working_findings import compose
from ifmem.runtime.working_leases import Held


class LeasedTask:
    """A task that this worker holds."""

    def __init__(
        self,
        work: TaskWork,
        held: Held,
        *,
        run: str,
        freed: Callable[[LeasedTask], None] | None = None,
    ) -> None:
        self.held = held
        self.is_closed = False
        """It was finished, failed, released or lost."""
        self.was_lost = asyncio.Event()
        """Set when it is no longer ours; what is done for it from then on is done in vain."""
        self._work = work
        self._run = run
        self._freed = freed
        held.on_lost = self._lose

    @property
    def task(self) -> Task:
        """The task as it was claimed."""
        return self.held.task

    @property
    def task_id(self) -> str:
        return self.held.task.task_id

    @property
    def title(self) -> str:
        return self.held.task.title

    @property
    def data(self) -> Mapping[str, Any]:
        return self.held.task.data

    @property
    def lost(self) -> str | None:
        """Why it is no longer ours."""
        return self.held.lost

    async def finish(
        self, result: str | Mapping[str, Any] | None = None, *, durable: bool = True
    ) -> Accepted:
        """Complete it, with a claim or the fields of a finding as its result in the same step.

        Raises:
            Invalid: the result breaks a rule of findings; the task stays held.
            Refused: the task is no longer ours.
        """
        finding: Finding | None = None
        if result is not None:
            finding = compose(
                result, worker=self._work.member.name, run=self._run, task_id=self.task_id
            )
        finish = self._work.success(self.held, finding)
        accepted = await self._end(finish, durable=durable)
        if finding is not None:
            self._work.results.add(finding)
        return accepted

    async def fail(self, reason: str, *, final: bool = False, durable: bool = True) -> Accepted:
        """End the attempt without success; ``final`` leaves no further ones.

        Raises:
            Refused: the task is no longer ours.
        """
        finish = Finish(
            task_id=self.task_id,
            worker=self._work.member.name,
            fence=self.held.fence,
            done=False,
            reason=require_reason(reason),
            final=final,
        )
        return await self._end(finish, durable=durable)

    async def release(self, *, assist: bool = False, reason: str = "") -> Accepted:
        """Give it back as it was; with ``assist`` to anyone but this worker.

        Raises:
            Refused: the task is no longer ours.
        """
        member = self._work.member
        accepted = await member.insist(
            lambda: member.bus.tasks.release(
                self.task_id,
                worker=member.name,
                fence=self.held.fence,
                assist=assist,
                reason=reason,
            )
        )
        self._work.leases.drop(self.held)
        self._close()
        return accepted

    async def renew(self) -> None:
        """Extend the lease now; that is done by itself as well.

        Raises:
            Refused: the task is no longer ours.
        """
        await self._work.member.insist(lambda: self._work.leases.renew(self.held))

    async def _end(self, finish: Finish, *, durable: bool) -> Accepted:
        if self.held.lost is not None:
            raise Refused(self.held.lost, task_id=self.task_id)
        try:
            accepted = await self._work.finisher.finish(self.held, finish, durable=durable)
        except IfMemError as error:
            if isinstance(error, Refused):
                self._close()
            raise
        self._close()
        return accepted

    def _lose(self) -> None:
        self.was_lost.set()
        self._close()

    def _close(self) -> None:
        if not self.is_closed:
            self.is_closed = True
            if self._freed is not None:
                self._freed(self)
