"""The task board on the bus: each step is one function on the server, its answer a value here."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import timedelta
from typing import Any

from redis.asyncio import Redis

from ifmem.bus.replies import by_the_thousand, text, translated
from ifmem.bus.server_side import ServerSide
from ifmem.bus.task_steps import (
    Accepted,
    BackOff,
    Claimed,
    Finish,
    Result,
    Swept,
    accepted,
    finish_arguments,
    milliseconds,
    raise_unless,
    read_task,
    require_holder,
)
from ifmem.clock import new_id
from ifmem.domain.finding import require_uuid
from ifmem.domain.task import (
    NO_RUN,
    NewTask,
    Task,
    TaskState,
    require_lease,
    require_reason,
    require_run,
    require_worker,
)
from ifmem.errors import IfMemError, Invalid, NotFound
from ifmem.wire import keys as names
from ifmem.wire import task_fields, task_json
from ifmem.wire.keys import Keys

__all__ = [
    "KEPT_ENDED",
    "LONGEST_WAIT",
    "MOST_AT_ONCE",
    "Accepted",
    "BackOff",
    "Claimed",
    "Finish",
    "Result",
    "Swept",
    "TaskBoard",
]

MOST_AT_ONCE = 256
LONGEST_WAIT = timedelta(seconds=10)
"""A wake-up that was lost with its receiver costs no more than this."""
KEPT_ENDED = 10_000
_RESTORED_AT_ONCE = 200


class TaskBoard:
    """The tasks of one space.

    Guarantees:
        atomic:   a step changes task, indexes, counters and log together, or nothing.
        one of:   a task has one holder; only it, with the fence of its lease and before its end
                  by the server's clock, may renew, finish or release.
        repeated: every method may be called again when its answer was lost. A step that the task
                  took last is answered as taken; a claim is recognised by its ``request``.

    Raises:
        NotFound: the bus has no task of that id; long ended ones are in the store.
        Refused: the step does not fit the task; the facts tell its state and holder.
        Unavailable: the bus does not answer, or takes no writes now: the fact ``outcome`` is
            then ``busy`` or ``refusing``.
    """

    def __init__(self, client: Redis, keys: Keys, server: ServerSide) -> None:
        self._client = client
        self._keys = keys
        self._server = server

    async def post(self, task: NewTask, *, known_done: Collection[str] = ()) -> Accepted:
        """Post a task; its id again changes nothing.

        Args:
            known_done: dependencies that are off the bus and that the store knows to be done.

        Raises:
            NotFound: it depends on a task that is not there.
        """
        reply = await self._call(
            "post_task",
            task.task_id,
            task.run,
            task.priority,
            task.max_attempts,
            task_json.body_of(task),
            task.posted_by or "",
            " ".join(task.depends_on),
            " ".join(known_done),
        )
        if reply[0] == "unknown-dependency":
            other = text(reply[1]) or ""
            raise NotFound(
                f"task {other}, which this one depends on, is not in run {task.run}: post it "
                "first, or remove it from depends_on",
                task_id=task.task_id,
                dependency=other,
            )
        return accepted(task.task_id, reply, "post", "")

    async def claim(
        self,
        worker: str,
        *,
        lease: timedelta,
        run: str = NO_RUN,
        count: int = 1,
        request: str | None = None,
    ) -> Claimed:
        """Lease the first tasks that this worker may have, highest priority and oldest first.

        A task that was tried before comes alone. When a claim was sent and its answer lost, the
        same ``request`` gives the same tasks for as long as their leases last: a lease can be
        hours, too long to wait for a lost answer.
        """
        require_worker(worker)
        require_run(run)
        require_lease(lease)
        if not 1 <= count <= MOST_AT_ONCE:
            raise Invalid(f"1 to {MOST_AT_ONCE} tasks can be claimed at once; {count} was asked")
        reply = await self._call(
            "claim_tasks", worker, run, milliseconds(lease), count, request or new_id()
        )
        if reply[0] == "none":
            return Claimed(wait_ms=int(reply[1]))
        raise_unless(reply, "claimed", f"run {run}", "claim", "")
        return Claimed(tasks=tuple(read_task(row) for row in reply[2]), entry=text(reply[1]))

    async def wait(self, run: str, wait_ms: int, *, at_most: timedelta = LONGEST_WAIT) -> bool:
        """Sleep until a task of the run became ready, or the time a claim told has passed.

        True when it was woken. Claim again in any case.
        """
        patience = min(at_most, LONGEST_WAIT)
        if wait_ms >= 0:
            patience = min(patience, timedelta(milliseconds=wait_ms))
        # Zero would wait for ever.
        seconds = max(patience.total_seconds(), 0.005)
        async with translated():
            woken = await self._client.blpop([self._keys.of(names.WAKE, run=run)], timeout=seconds)
        return woken is not None

    async def renew(self, task_id: str, *, worker: str, fence: str, lease: timedelta) -> int:
        """Let the lease end that much after now; its end in ms by the server's clock."""
        require_holder(task_id, worker, fence)
        require_lease(lease)
        reply = await self._call("renew_task", task_id, worker, fence, milliseconds(lease))
        raise_unless(reply, "ok", task_id, "renew", fence)
        return int(reply[1])

    async def finish(self, finish: Finish) -> Accepted:
        """Finish a task that is held: done, or failed with a reason."""
        reply = await self._call("finish_task", *finish_arguments(finish))
        return accepted(finish.task_id, reply, "finish", finish.fence)

    async def finish_many(self, many: Sequence[Finish]) -> list[Accepted | IfMemError]:
        """Finish tasks in one round trip: for each what ``finish`` returns, or its error."""
        async with translated():
            replies = await self._server.call_many(
                "finish_task", [finish_arguments(one) for one in many]
            )
        outcomes: list[Accepted | IfMemError] = []
        for one, reply in zip(many, replies, strict=True):
            try:
                outcomes.append(accepted(one.task_id, reply, "finish", one.fence))
            except IfMemError as error:
                outcomes.append(error)
        return outcomes

    async def release(
        self, task_id: str, *, worker: str, fence: str, assist: bool = False, reason: str = ""
    ) -> Accepted:
        """Give a task back unchanged; with ``assist`` to anyone but this worker."""
        require_holder(task_id, worker, fence)
        flag = "1" if assist else "0"
        reply = await self._call(
            "release_task", task_id, worker, fence, flag, require_reason(reason)
        )
        return accepted(task_id, reply, "release", fence)

    async def release_all(self, worker: str) -> tuple[int, str]:
        """Give back all that a worker holds, as it stops: how many, and the log entry."""
        reply = await self._call("release_all", require_worker(worker))
        raise_unless(reply, "ok", worker, "release", "")
        return int(reply[2]), text(reply[1]) or ""

    async def cancel(self, task_id: str, *, actor: str, reason: str = "") -> Accepted:
        """End an open task without result; who holds it can no longer finish it."""
        reply = await self._call(
            "cancel_task", require_uuid(task_id), require_worker(actor), require_reason(reason)
        )
        return accepted(task_id, reply, "cancel", "")

    async def requeue(self, task_id: str, *, actor: str) -> Accepted:
        """Let a task that is dead, failed, cancelled or waiting for assistance start anew."""
        reply = await self._call("requeue_task", require_uuid(task_id), require_worker(actor))
        return accepted(task_id, reply, "requeue", "")

    async def show(self, task_id: str) -> Task:
        """The task as the bus has it."""
        reply = await self._call("show_task", require_uuid(task_id))
        raise_unless(reply, "ok", task_id, "show", "")
        return read_task(reply[1])

    async def sweep(self, *, limit: int = 1_000, keep: int = KEPT_ENDED) -> Swept:
        """Do what time has done: end leases and back-offs, take ended tasks beyond ``keep`` off."""
        reply = await self._call("sweep_tasks", limit, keep)
        raise_unless(reply, "ok", "all", "sweep", "")
        return Swept(reaped=int(reply[1]), trimmed=int(reply[2]), wait_ms=int(reply[3]))

    async def correct(self, tasks: Sequence[tuple[Task, Collection[str]]]) -> None:
        """Put tasks on the bus as the store has them, each with what it still waits for."""
        for first in range(0, len(tasks), _RESTORED_AT_ONCE):
            arguments: list[str | bytes] = []
            for task, unmet in tasks[first : first + _RESTORED_AT_ONCE]:
                arguments += [task.task_id, *task_fields.to_fields(task, unmet)]
            await self._call("restore_tasks", *arguments)

    async def block(self, blocks: Sequence[tuple[str, str, str]], *, actor: str) -> int:
        """Have open tasks wait for items of the inbox; how many that changed.

        Whoever holds one holds it no longer; what it waits for besides stays. Also while the log
        takes nothing new: a rebuild is not over before this is done.

        Args:
            blocks: for each the task, the item and a reason that is kept with the task.
            actor: who is named with the reason.
        """
        changed = 0
        for first in range(0, len(blocks), _RESTORED_AT_ONCE):
            arguments = [
                part
                for task_id, item, reason in blocks[first : first + _RESTORED_AT_ONCE]
                for part in (task_id, task_fields.INBOX + item, reason)
            ]
            changed += int((await self._call("block_tasks", actor, *arguments))[1])
        return changed

    async def unblock(self, item: str | None, task_ids: Collection[str]) -> None:
        """Have tasks not wait for an item of the inbox any longer; may be repeated.

        Args:
            item: that is decided; None to look only whether the tasks wait for anything at all.
            task_ids: that may be blocked by nothing else.
        """
        name = "" if item is None else task_fields.INBOX + item
        await self._call("unblock_tasks", name, *task_ids)

    async def drop(self, task_ids: Sequence[str]) -> int:
        """Take tasks off the bus that the store does not know; how many were there."""
        dropped = 0
        for some in by_the_thousand(task_ids):
            dropped += int((await self._call("drop_tasks", *some))[1])
        return dropped

    async def restore(
        self,
        tasks: Sequence[tuple[Task, Collection[str]]],
        *,
        counts: Mapping[TaskState, int],
        last_place: int,
    ) -> None:
        """Build all task keys anew from the store; call it while the bus refuses writes.

        Args:
            tasks: the open ones and the newest ended ones, each with what it still waits for.
            counts: of all tasks in the store.
            last_place: of the task posted last.
        """
        while int((await self._call("clear_tasks", 1_000))[1]):
            pass
        await self._set_counts(dict.fromkeys(TaskState, 0), last_place)
        for some in by_the_thousand(tasks):
            await self.correct(some)
        await self._set_counts(counts, last_place)

    async def _set_counts(self, counts: Mapping[TaskState, int], last_place: int) -> None:
        pairs = [part for state in TaskState for part in (str(state), counts.get(state, 0))]
        await self._call("set_task_counts", last_place, *pairs)

    async def _call(self, name: str, *args: str | bytes | int) -> list[Any]:
        async with translated():
            return await self._server.call(name, *args)
