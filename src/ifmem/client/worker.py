"""A worker: any process that joins a space by the bus's URL alone, without a store."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec

from ifmem import tokens
from ifmem.bus.task_steps import Accepted
from ifmem.client import naming
from ifmem.client.leased_task import LeasedTask
from ifmem.client.memory import settings_for
from ifmem.client.task_stream import stream_of
from ifmem.clock import in_seconds, monotonic, new_id
from ifmem.domain.finding import require_uuid
from ifmem.domain.task import NewTask, Task
from ifmem.engine.following import Filter
from ifmem.engine.harmless import require_harmless
from ifmem.engine.masking import mask, mask_values
from ifmem.errors import Invalid
from ifmem.runtime.beside import Beside
from ifmem.runtime.holding import Holding, Shards
from ifmem.runtime.membership import Membership, OnEvent, reach
from ifmem.runtime.working import (
    DEFAULT_CONCURRENCY,
    DEFAULT_GRACE,
    DEFAULT_LEASE,
    Handler,
    TaskWork,
)
from ifmem.runtime.working_findings import compose
from ifmem.settings import Settings
from ifmem.wire import envelopes, finding_json, task_json
from ifmem.wire.shapes import FindingLine, Remembered


class Worker:
    """A member of a space that takes tasks, says what it found, and may hold shards.

    Example:
        async with Worker.join("redis://bus:6379", space="acme") as worker:
            await worker.run(handler, concurrency=8)

    Every verb that writes returns once the store has committed it, unless ``durable=False`` says
    that the bus's acceptance is enough. It raises ``Unavailable`` when the bus was away for too
    long or takes nothing new, ``Refused`` when the store would not have it, and ``OutcomeUnknown``
    when the commit did not come in time: then repeat it with the same id.
    """

    def __init__(
        self, member: Membership, work: TaskWork, holding: Holding, beside: Beside, run: str
    ) -> None:
        self.name = member.name
        self.space = member.bus.keys.space
        self.run_name = run
        self._member = member
        self._work = work
        self._holding = holding
        self._beside = beside

    @classmethod
    @contextlib.asynccontextmanager
    async def join(
        cls,
        redis: str | None = None,
        space: str | None = None,
        *,
        run: str | None = None,
        name: str | None = None,
        shards: Shards = None,
        capacity: int | None = None,
        wait: bool = False,
        grace: timedelta = DEFAULT_GRACE,
        on_event: OnEvent | None = None,
        settings: Settings | None = None,
    ) -> AsyncIterator[Worker]:
        """A worker that is a member until the context ends; then it gives back what it holds.

        Args:
            redis: the bus's URL, by default what the settings say.
            space: by default what the settings say.
            run: take only the tasks of this run.
            name: who it is on the bus; by default one of its own. Two live processes must not
                have the same.
            shards: numbers of shards to hold, ``"any"`` for those that no other worker holds, or
                none.
            capacity: tokens of the shards that ``"any"`` may take together.
            wait: for the bus and the space's bridge, instead of refusing to join.
            grace: how long running handlers may take to end when it leaves.
            on_event: is told what happens, as JSON-compatible objects with an ``event``; it must
                neither block nor raise.
            settings: all settings, instead of reading them; ``redis``, ``space`` and ``run`` are
                then ignored.

        Raises:
            ConfigError: a setting is wrong, or no URL is given.
            NotPermitted: the server refuses the user.
            Unavailable: there is no server, or no bridge has opened the space.
        """
        if settings is None:
            settings = settings_for(Path.cwd(), space=space, redis=redis)
            settings = msgspec.structs.replace(settings, run=run or settings.run)
        require_harmless(settings.run, "run")
        # Before anything is claimed: the first finding is as quick as the others.
        await asyncio.to_thread(tokens.read_vocabulary)
        say = on_event or (lambda _: None)
        async with reach(settings, name=name, wait=wait, on_event=say) as member:
            work = TaskWork(member, on_event=say)
            holding = Holding(member, shards=shards, capacity=capacity, on_event=say)
            beside = Beside(*member.background(), *work.background(), *holding.background())
            worker = cls(member, work, holding, beside, settings.run)
            await member.insist(member.beat)
            say({"event": "joined", "worker_id": member.name, "space": worker.space})
            try:
                async with beside.running():
                    try:
                        await member.connected()
                        yield worker
                    finally:
                        await worker._wind_up(grace)
            finally:
                await member.leave()
                say({"event": "left", "worker_id": member.name})

    async def remember(
        self,
        claim: str,
        *,
        citations: Sequence[Mapping[str, Any] | str] = (),
        confidence: float = 1.0,
        topic: str | None = None,
        tags: Sequence[str] = (),
        id: str | None = None,
        durable: bool = True,
        **fields: Any,
    ) -> Remembered:
        """Say what was found. It is trusted as an agent's at most, its quotes as unverified.

        Args:
            claim: in a sentence.
            citations: fields of citations, ``SOURCE:LINE``, ``finding:<uuid>`` or URLs.
            confidence: 0 to 1.
            topic: what it is about.
            tags: for people and filters.
            id: a uuid; repeating the call with it stores the finding once.
            durable: return once the store has committed it; else once the bus has it.
            fields: further fields of a finding: ``value``, ``unit``, ``supersedes`` …

        Raises:
            Invalid: a field breaks its rule; nothing is published.
        """
        given: dict[str, Any] = {
            **fields,
            "finding_id": require_uuid(id) if id is not None else new_id(),
            "claim": claim,
            "confidence": confidence,
            "citations": [_citation(one) for one in citations],
            "tags": list(tags),
        }
        if topic is not None:
            given["topic"] = topic
        finding = compose(given, worker=self.name, run=self.run_name)
        body, head = finding_json.to_json(finding), envelopes.head(finding)
        published = await self._member.commit(
            lambda: self._member.bus.findings.publish(
                finding.finding_id, body, head, hidden=finding.is_quarantined
            ),
            durable=durable,
            id=finding.finding_id,
        )
        outcome = "stored" if durable else "accepted"
        return Remembered(
            finding.finding_id,
            str(published.sequence),
            outcome if published.is_new else "known",
        )

    async def follow(
        self,
        since: str | None = None,
        *,
        topic: str | None = None,
        task: str | None = None,
        worker: str | None = None,
        tag: str | None = None,
        run: str | None = None,
    ) -> AsyncGenerator[FindingLine, None]:
        """Findings in order as they come, without end, across every loss of the connection.

        Args:
            since: a cursor, ``"0"`` for the beginning; by default only what comes from now on.
            topic: only findings of this topic.
            task: only those of this task.
            worker: only those of this author.
            tag: only those with this tag.
            run: only those of this run.
        """
        feed = self._member.feed
        cursor = await self._member.insist(feed.now) if since is None else _cursor(since)
        wanted = Filter(topic=topic, task=task, worker=worker, tag=tag, run=run)
        follower = feed.follow(cursor, wanted)
        try:
            async for line in follower:
                yield line
        finally:
            follower.close()

    async def post(
        self,
        title: str,
        data: Mapping[str, Any] | None = None,
        *,
        priority: int = 5,
        depends_on: Sequence[str] = (),
        idempotency_key: str | None = None,
        max_attempts: int = 3,
        id: str | None = None,
        durable: bool = True,
    ) -> Accepted:
        """Post a task to the run; its ``task_id`` is in the answer.

        Args:
            title: what is to be done, in a line.
            data: what the handler needs, as JSON-compatible values.
            priority: 0 to 10; 10 is claimed first.
            depends_on: ids of tasks of the run that must be done before.
            idempotency_key: posting with the same key again is posting the same task.
            max_attempts: failures after which it is dead.
            id: a uuid, instead of the key.
            durable: return once the store has committed it; else once the bus has it.

        Raises:
            Invalid: a field breaks its bound.
            NotFound: it depends on a task that is not there.
        """
        if idempotency_key is not None:
            require_harmless(idempotency_key, "idempotency_key")
        masked, _ = mask_values(dict(data or {}))
        task = NewTask(
            task_id=self._task_id(id, idempotency_key),
            title=mask(title).text,
            data=masked if isinstance(masked, dict) else {},
            run=self.run_name,
            priority=priority,
            max_attempts=max_attempts,
            depends_on=tuple(depends_on),
            idempotency_key=idempotency_key,
            posted_by=self.name,
        )
        return await self._member.commit(
            lambda: self._member.bus.tasks.post(task),
            durable=durable,
            id=task.task_id,
        )

    async def run(
        self,
        handler: Handler,
        *,
        concurrency: int = DEFAULT_CONCURRENCY,
        lease: timedelta = DEFAULT_LEASE,
        durable: bool = True,
        grace: timedelta = DEFAULT_GRACE,
    ) -> None:
        """Have a handler work on tasks until ``stop``.

        The handler, a coroutine function or a plain one that runs in a thread, is given the task.
        What it returns, a claim or the fields of a finding, is published with the completion in
        one step. What it raises fails the task, which is tried again while attempts are left.
        Leases are renewed while it runs. A handler whose task was lost is cancelled.

        Args:
            handler: works on one task.
            concurrency: tasks at once, 1 to 256.
            lease: how long a task stays with a worker that died.
            durable: tell of a completion (``on_event``) once the store has committed it.
            grace: how long running handlers may take to end after ``stop``.
        """
        await self._work.run(
            handler,
            run=self.run_name,
            concurrency=concurrency,
            lease=lease,
            durable=durable,
            grace=grace,
        )

    def stop(self) -> None:
        """Claim nothing more; ``run`` and ``tasks`` end when what they have begun has."""
        self._work.stop()

    async def tasks(
        self, *, concurrency: int = 1, lease: timedelta = DEFAULT_LEASE
    ) -> AsyncGenerator[LeasedTask, None]:
        """Tasks as they can be claimed, each held until it is finished, failed or released.

        Leases are renewed meanwhile. What is still held when the loop is left is released.

        Args:
            concurrency: how many may be held at once; more than one for who works on them beside.
            lease: how long a task stays with a worker that died.

        Example:
            async for task in worker.tasks():
                await task.finish(await look_into(task.data))
        """
        stream = stream_of(
            self._work, self._beside, run=self.run_name, concurrency=concurrency, lease=lease
        )
        async with contextlib.aclosing(stream) as tasks:
            async for task in tasks:
                yield task

    async def claim(
        self,
        *,
        count: int = 1,
        lease: timedelta = DEFAULT_LEASE,
        wait: timedelta | None = None,
    ) -> list[LeasedTask]:
        """Claim tasks now, or wait a while for the first; fewer, or none, when there are no more.

        Their leases are renewed until each is finished, failed or released.
        """
        deadline = monotonic() + (in_seconds(wait) if wait is not None else 0)
        while True:
            request, asked_at = new_id(), monotonic()
            claimed = await self._member.insist(
                lambda request=request: self._member.bus.tasks.claim(  # type: ignore[misc]
                    self.name, lease=lease, run=self.run_name, count=count, request=request
                )
            )
            left = deadline - monotonic()
            if claimed.tasks or left <= 0:
                return [
                    LeasedTask(
                        self._work, self._work.leases.take(one, lease, asked_at), run=self.run_name
                    )
                    for one in claimed.tasks
                ]
            await self._member.insist(
                lambda wait_ms=claimed.wait_ms, left=left: self._member.bus.tasks.wait(  # type: ignore[misc]
                    self.run_name, wait_ms, at_most=timedelta(seconds=left)
                )
            )

    async def show(self, task_id: str) -> Task:
        """A task as the bus has it.

        Raises:
            NotFound: it is not on the bus; long ended ones are in the store.
        """
        return await self._member.insist(lambda: self._member.bus.tasks.show(task_id))

    @property
    def shards(self) -> Mapping[int, int]:
        """The shards it holds, ready to answer, and their tokens."""
        return self._holding.ready

    async def held(self, *numbers: int) -> None:
        """Wait until these shards, or any, are held and ready."""
        await self._holding.wait_for(numbers)

    def _task_id(self, given: str | None, key: str | None) -> str:
        if given is not None and key is not None:
            raise Invalid("an id or an idempotency_key names a task: give one of them")
        if key is not None:
            return task_json.keyed_id(self.space, self.run_name, key)
        return require_uuid(given) if given is not None else new_id()

    async def _wind_up(self, grace: timedelta) -> None:
        """Let what runs end, then give everything back."""
        self._work.stop()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(in_seconds(grace) + 1):
                await self._work.wound_up()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._member.settings.bus.commit_seconds):
                await self._work.finisher.settled()
        await self._work.release(self._work.leases.all())
        await self._holding.give_back()


def _citation(given: Mapping[str, Any] | str) -> dict[str, Any] | str:
    return naming.citation(given, Path.cwd()) if isinstance(given, str) else dict(given)


def _cursor(text: str) -> int:
    try:
        return int(text)
    except ValueError as error:
        raise Invalid(
            f"{text[:60]!r} is no cursor: give one that a finding came with, or 0"
        ) from error
