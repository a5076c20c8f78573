"""Tasks that wait for a person, on a real server: blocked, freed, and put back."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest
import redis
from redis.asyncio import Redis

from ifmem.bus.server_side import ServerSide
from ifmem.bus.tasks import BackOff, Finish, TaskBoard
from ifmem.domain.task import NewTask, Task, TaskState
from ifmem.engine.tasks import Refusal, decide
from ifmem.errors import Refused
from ifmem.wire import task_fields
from ifmem.wire.keys import Keys
from ifmem.wire.log_entries import read_entry

PATIENCE_S = 60
MINUTE = timedelta(minutes=1)
ITEM, OTHER = "item-1", "item-2"
WHY = (ITEM, "two say otherwise")


def name(n: int) -> str:
    return f"00000000-0000-4000-8000-{n:012}"


def with_board(url: str, work: Callable[[TaskBoard], Awaitable[None]]) -> None:
    async def main() -> None:
        client = Redis.from_url(url, protocol=3)
        keys = Keys("default")
        try:
            async with asyncio.timeout(PATIENCE_S):
                await work(TaskBoard(client, keys, ServerSide(client, keys)))
        finally:
            await client.aclose()

    asyncio.run(main())


@pytest.fixture
def bus(plain: redis.Redis) -> redis.Redis:
    plain.hset("ifmem:1:log-state", mapping={"refusing": "", "limit": 100_000, "epoch": 1})
    return plain


def in_the_store(bus: redis.Redis, url: str) -> dict[str, Task]:
    """The tasks as the arbiter makes them of the log; nothing may contradict it."""
    with redis.Redis.from_url(url) as raw:
        entries = raw.xrange("ifmem:1:log")
    tasks: dict[str, Task] = {}
    for one in entries:
        entry = read_entry(*one)
        if entry.kind == "task":
            event = task_fields.read_event(entry)
            outcome = decide(tasks.get(event.task_id), event)
            assert not isinstance(outcome, Refusal), outcome
            tasks[event.task_id] = outcome
    return tasks


def assert_alike(one: Task, other: Task) -> None:
    names = ("state", "attempts", "holder", "not_before_ms", "asked_by", "revision", "event")
    assert [getattr(one, each) for each in names] == [getattr(other, each) for each in names]
    assert [reason.reason for reason in one.reasons] == [reason.reason for reason in other.reasons]


def counts(bus: redis.Redis) -> dict[str, int]:
    found = bus.hgetall("ifmem:1:counters")
    return {k[6:]: int(v) for k, v in found.items() if k.startswith("tasks:") and int(v)}


def test_from_every_open_state_it_waits_and_comes_back_pending(
    bus: redis.Redis, server_url: str
) -> None:
    async def work(board: TaskBoard) -> None:
        for n in range(1, 6):
            await board.post(NewTask(task_id=name(n), title="t"))
        await board.claim("w-1", lease=MINUTE)  # 1 stays leased
        (second,) = (await board.claim("w-1", lease=MINUTE)).tasks
        await board.release(name(2), worker="w-1", fence=second.fence or "", assist=True)
        (third,) = (await board.claim("w-1", lease=MINUTE)).tasks
        failed = Finish(
            task_id=third.task_id,
            worker="w-1",
            fence=third.fence or "",
            done=False,
            reason="no",
            back_off=BackOff(first=MINUTE),
        )
        await board.finish(failed)
        await board.cancel(name(5), actor="ann")
        blocks = [(name(n), *WHY) for n in range(1, 7)]
        assert await board.block(blocks, actor="inbox") == 4
        assert await board.block(blocks, actor="inbox") == 0
        assert counts(bus) == {"blocked": 4, "cancelled": 1}
        assert bus.keys("worker:tasks:*") == [] == bus.keys("ifmem:1:ready:*")
        assert bus.zcard("ifmem:1:leases") == bus.zcard("ifmem:1:delayed") == 0
        for n in range(1, 5):
            shown = await board.show(name(n))
            assert (shown.state, shown.reasons[-1].reason) == (TaskState.BLOCKED, WHY[1])
            assert_alike(shown, in_the_store(bus, server_url)[name(n)])
        assert [(await board.show(name(n))).attempts for n in range(1, 5)] == [0, 0, 1, 0]

        await board.unblock(ITEM, [])
        await board.unblock(ITEM, [name(1)])
        assert counts(bus) == {"pending": 4, "cancelled": 1}
        stored = in_the_store(bus, server_url)
        for n in range(1, 6):
            assert_alike(await board.show(name(n)), stored[name(n)])
        assert bus.exists(f"ifmem:1:dependents:inbox:{ITEM}") == 0
        claimed = await board.claim("w-2", lease=MINUTE, count=4)
        assert {one.task_id for one in claimed.tasks} <= {name(n) for n in range(1, 5)}

    with_board(server_url, work)


def test_every_obstacle_must_be_gone(bus: redis.Redis, server_url: str) -> None:
    async def work(board: TaskBoard) -> None:
        await board.post(NewTask(task_id=name(1), title="first"))
        await board.post(NewTask(task_id=name(2), title="then", depends_on=(name(1),)))
        await board.block([(name(2), *WHY), (name(2), OTHER, "and more")], actor="inbox")
        (first,) = (await board.claim("w-1", lease=MINUTE, count=9)).tasks
        done = Finish(task_id=name(1), worker="w-1", fence=first.fence or "")
        await board.finish(done)
        for item in (ITEM, OTHER):
            assert (await board.show(name(2))).state is TaskState.BLOCKED
            await board.unblock(item, [name(2)])
        assert (await board.show(name(2))).state is TaskState.PENDING
        assert_alike(await board.show(name(2)), in_the_store(bus, server_url)[name(2)])

    with_board(server_url, work)


def test_its_holder_is_refused_with_the_item_and_a_requeue_waits_too(
    bus: redis.Redis, server_url: str
) -> None:
    async def work(board: TaskBoard) -> None:
        await board.post(NewTask(task_id=name(1), title="t", max_attempts=1))
        (task,) = (await board.claim("w-1", lease=MINUTE)).tasks
        await board.block([(name(1), *WHY)], actor="inbox")
        held: dict[str, Any] = {"worker": "w-1", "fence": task.fence or ""}
        for step in (
            board.finish(Finish(task_id=name(1), **held)),
            board.renew(name(1), lease=MINUTE, **held),
            board.release(name(1), **held),
        ):
            with pytest.raises(Refused, match=f"blocked by {ITEM} in the inbox") as refused:
                await step
            assert refused.value.facts["inbox_item"] == ITEM
        await board.cancel(name(1), actor="ann")
        assert (await board.requeue(name(1), actor="ann")).state is TaskState.BLOCKED
        await board.unblock(ITEM, [])
        assert (await board.show(name(1))).state is TaskState.PENDING

    with_board(server_url, work)


def test_put_back_by_a_rebuild_it_waits_for_what_the_store_says(
    bus: redis.Redis, server_url: str
) -> None:
    async def work(board: TaskBoard) -> None:
        await board.post(NewTask(task_id=name(1), title="waits"))
        await board.post(NewTask(task_id=name(2), title="waited"))
        await board.block([(name(1), *WHY), (name(2), *WHY)], actor="inbox")
        stored = in_the_store(bus, server_url)
        bus.delete(*bus.keys("ifmem:1:task:*"), *bus.keys("ifmem:1:dependents:*"))
        waiting = [(stored[name(1)], (task_fields.INBOX + ITEM,)), (stored[name(2)], ())]
        await board.restore(waiting, counts={TaskState.BLOCKED: 2}, last_place=2)
        # The second one's item was decided, and its bus was lost before the store heard of it.
        await board.unblock(None, [name(1), name(2)])
        assert counts(bus) == {"blocked": 1, "pending": 1}
        await board.unblock(ITEM, [])
        assert counts(bus) == {"pending": 2}

    with_board(server_url, work)
