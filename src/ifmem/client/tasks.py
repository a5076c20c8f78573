"""The verbs of the task board."""

from __future__ import annotations

import getpass
import socket
from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

from ifmem.client import naming
from ifmem.client.loop import Loop
from ifmem.client.overview import Overview
from ifmem.clock import in_seconds, monotonic, new_id
from ifmem.wire import calls
from ifmem.wire.shapes import Page, TaskShape

_LEASE = timedelta(minutes=10)
_WAIT_S = 20.0
"""The longest wait of one call: one whose caller went away claims no task after that."""
_PAGE = 1_000


def default_worker() -> str:
    """Who claims when nobody says otherwise: the user on this host."""
    return f"{getpass.getuser()}@{socket.gethostname()}"


class TaskVerbs(Overview):
    """A connected memory, as far as work is handed out through it.

    A task belongs to the run that the memory was opened with; tasks of other runs are neither
    claimed nor listed.
    """

    _directory: Path

    async def post(
        self,
        title: str,
        *,
        data: Mapping[str, Any] | None = None,
        priority: int = 5,
        depends_on: Sequence[str] = (),
        idempotency_key: str | None = None,
        max_attempts: int = 3,
        id: str | None = None,
        by: str | None = None,
        durable: bool = True,
    ) -> TaskShape:
        """Post a task; it is durable when this returns.

        Args:
            title: what is to be done, in a line.
            data: a JSON object for whoever does it.
            priority: 0 to 10; 10 is claimed first, equals in the order they were posted.
            depends_on: tasks that must be done before.
            idempotency_key: posting the same key again gives the same task.
            max_attempts: claims that may fail before it is dead.
            id: a uuid; posting it again gives the same task.
            by: who posts it.
            durable: False returns once the bus has it.

        Example:
            task = await memory.post("Read the build log", data={"path": "build.log"})

        Raises:
            Invalid: a field breaks its bound; nothing is posted.
            NotFound: it depends on a task that does not exist.
            OutcomeUnknown: ``error.facts["id"]`` is the id to repeat it with.
        """
        task_id = id or new_id()
        call = calls.TaskPostCall(
            title=title,
            data=dict(data or {}),
            priority=priority,
            depends_on=tuple(depends_on),
            idempotency_key=idempotency_key,
            max_attempts=max_attempts,
            id=task_id,
            run=self.settings.run,
            posted_by=by,
            durable=durable,
        )
        return await self._call("task_post", call, TaskShape, id=task_id)

    async def claim(
        self, worker: str | None = None, *, lease: timedelta = _LEASE, wait: float = 0.0
    ) -> TaskShape | None:
        """Lease the first task there is; None when there is none within ``wait`` seconds.

        Args:
            worker: who claims it; by default the user on this host. Finishing needs the same name.
            lease: how long it is yours; ``renew`` it before.
            wait: seconds to wait for a task.

        Example:
            task = await memory.claim("ada", wait=30)
            if task is not None:
                print(task.title, task.fence)
        """
        deadline = monotonic() + wait
        while True:
            left = max(0.0, deadline - monotonic())
            call = calls.TaskClaimCall(
                worker=worker or default_worker(),
                lease_seconds=in_seconds(lease),
                run=self.settings.run,
                wait_seconds=min(left, _WAIT_S),
            )
            page = await self._call("task_claim", call, Page[TaskShape])
            if page.items or left <= _WAIT_S:
                return page.items[0] if page.items else None

    async def renew(
        self,
        task: TaskShape | str,
        fence: str | None = None,
        *,
        worker: str | None = None,
        lease: timedelta = _LEASE,
    ) -> TaskShape:
        """Let the lease end that much after now; errors as ``finish``.

        Example:
            task = await memory.renew(task)
        """
        task_id, holder, held = _held(task, worker, fence)
        call = calls.TaskRenewCall(task_id, holder, held, in_seconds(lease))
        return await self._call("task_renew", call, TaskShape)

    async def finish(
        self,
        task: TaskShape | str,
        fence: str | None = None,
        *,
        worker: str | None = None,
        outcome: str = "done",
        claim: str | None = None,
        cite: str | Sequence[str] = (),
        citations: Sequence[Mapping[str, Any] | str] = (),
        reason: str = "",
        final: bool = False,
        durable: bool = True,
        **fields: Any,
    ) -> TaskShape:
        """Finish a task that is held; it is durable when this returns.

        Args:
            task: as ``claim`` returned it; or its id, with fence and worker.
            fence: the fence of the claim.
            worker: who claimed it.
            outcome: ``done``, or ``failed``: then it is tried again while attempts are left.
            claim: what was found: a finding, published in the same step.
            cite: ``SOURCE:LINE`` of the claim, as in ``remember``.
            citations: the same as finished values.
            reason: why it failed.
            final: failed for good.
            durable: False returns once the bus has it.
            fields: further fields of the finding: ``confidence``, ``topic`` …

        Example:
            await memory.finish(task, claim="The build needs 4 GB", confidence=0.9)

        Raises:
            Refused: somebody else holds it, the fence is another, or the lease has ended.
            OutcomeUnknown: finish it again with the same fence.
        """
        task_id, holder, held = _held(task, worker, fence)
        cites = (cite,) if isinstance(cite, str) else tuple(cite)
        cited = [naming.citation(text, self._directory) for text in cites]
        if claim is not None and self._run is not None:
            fields.setdefault("session_id", self._run)
        call = calls.TaskFinishCall(
            task_id,
            holder,
            held,
            outcome=outcome,
            claim=claim,
            citations=(*cited, *(dict(c) if isinstance(c, Mapping) else c for c in citations)),
            fields=fields,
            reason=reason,
            final=final,
            durable=durable,
        )
        return await self._call("task_finish", call, TaskShape, id=task_id)

    async def release(
        self,
        task: TaskShape | str,
        fence: str | None = None,
        *,
        worker: str | None = None,
        assist: bool = False,
        reason: str = "",
    ) -> TaskShape:
        """Give a task back unchanged; with ``assist`` somebody else must take it.

        Example:
            await memory.release(task, assist=True, reason="needs the deploy key")

        Raises:
            Refused: it is not held by this worker under this fence.
        """
        task_id, holder, held = _held(task, worker, fence)
        call = calls.TaskReleaseCall(task_id, holder, held, assist=assist, reason=reason)
        return await self._call("task_release", call, TaskShape, id=task_id)

    async def cancel(self, task_id: str, *, by: str | None = None, reason: str = "") -> TaskShape:
        """End an open task without a result; who holds it can no longer finish it.

        Example:
            await memory.cancel(task.task_id, reason="no longer needed")
        """
        call = calls.TaskCancelCall(task_id, by or default_worker(), reason)
        return await self._call("task_cancel", call, TaskShape, id=task_id)

    async def requeue(self, task_id: str, *, by: str | None = None) -> TaskShape:
        """Let a task that is dead, failed, cancelled or waiting for assistance start anew.

        Example:
            await memory.requeue(task.task_id)
        """
        call = calls.TaskRequeueCall(task_id, by or default_worker())
        return await self._call("task_requeue", call, TaskShape, id=task_id)

    async def task(self, task_id: str) -> TaskShape:
        """A task as it stands.

        Example:
            print((await memory.task(task_id)).state)
        """
        return await self._call("task_show", calls.TaskCall(task_id), TaskShape)

    async def tasks(
        self, *, state: str | None = None, after: str = "", limit: int = _PAGE
    ) -> Page[TaskShape]:
        """The run's tasks in the order they were posted, a page at a time.

        Example:
            for task in await memory.tasks(state="dead"):
                print(task.title, task.reasons[-1].reason)
        """
        call = calls.TaskListCall(state=state, run=self.settings.run, after=after, limit=limit)
        return await self._call("task_list", call, Page[TaskShape])


def _held(task: TaskShape | str, worker: str | None, fence: str | None) -> tuple[str, str, str]:
    """Id, holder and fence of a task that somebody holds."""
    if isinstance(task, str):
        return task, worker or default_worker(), fence or ""
    return task.task_id, worker or task.holder or "", fence or task.fence or ""


class BlockingTasks:
    """The same verbs, each waiting for its result."""

    _memory: TaskVerbs
    _loop: Loop

    def post(
        self,
        title: str,
        *,
        data: Mapping[str, Any] | None = None,
        priority: int = 5,
        depends_on: Sequence[str] = (),
        idempotency_key: str | None = None,
        max_attempts: int = 3,
        id: str | None = None,
        by: str | None = None,
        durable: bool = True,
    ) -> TaskShape:
        """Post a task; it is durable when this returns."""
        verb = self._memory.post(
            title,
            data=data,
            priority=priority,
            depends_on=depends_on,
            idempotency_key=idempotency_key,
            max_attempts=max_attempts,
            id=id,
            by=by,
            durable=durable,
        )
        return self._loop.run(verb)

    def claim(
        self, worker: str | None = None, *, lease: timedelta = _LEASE, wait: float = 0.0
    ) -> TaskShape | None:
        """Lease the first task there is; None when there is none within ``wait`` seconds."""
        return self._loop.run(self._memory.claim(worker, lease=lease, wait=wait))

    def renew(
        self,
        task: TaskShape | str,
        fence: str | None = None,
        *,
        worker: str | None = None,
        lease: timedelta = _LEASE,
    ) -> TaskShape:
        """Let the lease end that much after now."""
        return self._loop.run(self._memory.renew(task, fence, worker=worker, lease=lease))

    def finish(
        self,
        task: TaskShape | str,
        fence: str | None = None,
        *,
        worker: str | None = None,
        outcome: str = "done",
        claim: str | None = None,
        cite: str | Sequence[str] = (),
        citations: Sequence[Mapping[str, Any] | str] = (),
        reason: str = "",
        final: bool = False,
        durable: bool = True,
        **fields: Any,
    ) -> TaskShape:
        """Finish a task that is held; it is durable when this returns."""
        verb = self._memory.finish(
            task,
            fence,
            worker=worker,
            outcome=outcome,
            claim=claim,
            cite=cite,
            citations=citations,
            reason=reason,
            final=final,
            durable=durable,
            **fields,
        )
        return self._loop.run(verb)

    def release(
        self,
        task: TaskShape | str,
        fence: str | None = None,
        *,
        worker: str | None = None,
        assist: bool = False,
        reason: str = "",
    ) -> TaskShape:
        """Give a task back unchanged; with ``assist`` somebody else must take it."""
        verb = self._memory.release(task, fence, worker=worker, assist=assist, reason=reason)
        return self._loop.run(verb)

    def cancel(self, task_id: str, *, by: str | None = None, reason: str = "") -> TaskShape:
        """End an open task without a result."""
        return self._loop.run(self._memory.cancel(task_id, by=by, reason=reason))

    def requeue(self, task_id: str, *, by: str | None = None) -> TaskShape:
        """Let a task that ended without success, or waits for assistance, start anew."""
        return self._loop.run(self._memory.requeue(task_id, by=by))

    def task(self, task_id: str) -> TaskShape:
        """A task as it stands."""
        return self._loop.run(self._memory.task(task_id))

    def tasks(
        self, *, state: str | None = None, after: str = "", limit: int = _PAGE
    ) -> Page[TaskShape]:
        """The run's tasks in the order they were posted, a page at a time."""
        return self._loop.run(self._memory.tasks(state=state, after=after, limit=limit))
