"""Scenario 26: a server that comes back empty, and a store that cannot write, lose nothing."""

from __future__ import annotations

import asyncio
import json
import os
import resource
import signal
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TypeVar

import pytest

from ifmem import Memory
from ifmem.bus.embedded import find
from ifmem.errors import OutcomeUnknown, Refused, Unavailable

FINDINGS = 1_000
AT_ONCE = 50

Value = TypeVar("Value")


def told(ifmem: Any, act: Callable[[Memory], Coroutine[Any, Any, Value]]) -> Value:
    """What some calls to a memory return."""

    async def run() -> Value:
        async with Memory.open(settings=ifmem.settings) as memory:
            return await act(memory)

    return asyncio.run(run())


async def remember_many(memory: Memory) -> list[str]:
    numbers, ids = iter(range(FINDINGS)), list[str]()

    async def some() -> None:
        for number in numbers:
            claim = f"Crate {number} was weighed."
            ids.append((await memory.remember(claim, topic=f"row {number % 7}")).finding_id)

    async with asyncio.TaskGroup() as group:
        for _ in range(AT_ONCE):
            group.create_task(some())
    return ids


async def tasks_in_all_states(memory: Memory) -> None:
    """One task or more in each state; those to be claimed are claimed in the order of posting."""

    async def claimed(title: str, **options: Any) -> Any:
        await memory.post(title, priority=10, **options)
        task = await memory.claim("ada", lease=timedelta(minutes=30))
        assert task is not None
        assert task.title == title
        return task

    await memory.finish(await claimed("Done"), claim="It is done.", confidence=0.5)
    await memory.finish(await claimed("Failed"), outcome="failed", reason="too heavy", final=True)
    await memory.finish(await claimed("Dead", max_attempts=1), outcome="failed", reason="broken")
    await memory.finish(await claimed("Later"), outcome="failed", reason="not yet")
    await memory.release(await claimed("Assisted"), assist=True, reason="who has the key?")
    await memory.cancel((await claimed("Cancelled")).task_id, reason="no longer needed")
    held = await claimed("Held")
    pending = await memory.post("Pending", data={"n": 1}, idempotency_key="once")
    await memory.post("Blocked", depends_on=[held.task_id, pending.task_id])


async def all_tasks(memory: Memory) -> dict[str, Any]:
    return {task.title: task for task in await memory.tasks()}


def on_bus(bus: Any) -> dict[str, Any]:
    """What the bus shows of findings and tasks, without what a rebuild may change."""
    index = dict(bus.zrange("ifmem:1:findings", 0, -1, withscores=True))
    values = bus.mget([f"finding:{one}" for one in index])
    counters = bus.hgetall("ifmem:1:counters")
    return {
        "index": index,
        "findings": dict(zip(index, values, strict=True)),
        "keys": sorted(bus.scan_iter("finding:*", count=1_000)),
        "count": counters["findings"],
        "active": bus.get("context:active"),
        "tasks": {k: v for k, v in counters.items() if k.startswith("tasks:") and v != "0"},
    }


def lose_everything(ifmem: Any, eventually: Callable[..., Any]) -> None:
    """Kill the server; the one that takes its place finds no data."""
    endpoint = eventually(lambda: find(ifmem.home / "bus"))
    (ifmem.home / "bus" / "data").rename(ifmem.home / "gone")
    os.kill(endpoint.pid, signal.SIGKILL)
    eventually(lambda: (e := find(ifmem.home / "bus")) is not None and e.pid != endpoint.pid)


def test_a_server_that_comes_back_empty_shows_again_what_it_showed(
    ifmem: Any, writer: Any, eventually: Callable[..., Any]
) -> None:
    ifmem.write("notes/page.md", writer(26).prose(60))
    ifmem("load", "notes")
    ids = told(ifmem, remember_many)
    told(ifmem, tasks_in_all_states)
    tasks = told(ifmem, all_tasks)
    assert len(ids) == FINDINGS
    assert {one.state for one in tasks.values()} == {
        *("pending", "leased", "needs_assist", "blocked", "done", "failed", "cancelled", "dead")
    }
    lines = ifmem("findings", "--json").lines
    cursor = lines[FINDINGS // 2]["cursor"]
    with ifmem.bus() as bus:
        before = on_bus(bus)
        assert set(before["index"]) == {*ids, tasks["Done"].result_finding_id}
        lose_everything(ifmem, eventually)
        eventually(lambda: ifmem.status()["health"] == "healthy")
        after = on_bus(bus)
    was_leased = int(before["tasks"].pop("tasks:leased"))
    assert int(after["tasks"].pop("tasks:pending")) == was_leased + int(
        before["tasks"].pop("tasks:pending")
    )
    assert after == before
    assert int(after["active"]) > 0
    assert ifmem("findings", "--json").lines == lines
    later = ifmem("findings", "--json", "--since", cursor).lines
    assert later == lines[FINDINGS // 2 + 1 :]
    assert_tasks_are_as_before(ifmem, tasks)


def assert_tasks_are_as_before(ifmem: Any, before: dict[str, Any]) -> None:
    after = told(ifmem, all_tasks)
    held, given_back = before.pop("Held"), after.pop("Held")
    assert after == before
    assert (given_back.state, given_back.attempts) == ("pending", held.attempts)
    assert given_back.reasons[-1].reason == "the bus was lost"

    async def go_on(memory: Memory) -> None:
        with pytest.raises(Refused):
            await memory.finish(held)
        same = await memory.post("Pending", idempotency_key="once")
        assert same.task_id == before["Pending"].task_id
        claimed = {}
        while (task := await memory.claim("bob")) is not None:
            claimed[task.title] = task
        again = claimed["Held"]
        assert again.attempts == held.attempts + 1
        assert epoch_of(again) > epoch_of(held)
        for task in claimed.values():
            await memory.finish(task)
        assert (await memory.task(before["Blocked"].task_id)).state == "pending"

    told(ifmem, go_on)


def epoch_of(task: Any) -> int:
    return int(task.fence.split("-")[0])


@contextmanager
def no_file_may_grow(pid: int) -> Iterator[None]:
    """What a full disk does: the process cannot write beyond what its files have."""
    before = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (1, before[1]))
    try:
        yield
    finally:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, before)


def test_a_store_that_cannot_write_acknowledges_nothing_and_goes_on_when_it_can(
    ifmem: Any, eventually: Callable[..., Any]
) -> None:
    ifmem("remember", "The scale is level.")
    kept = "00000000-0000-4000-8000-000000000026"
    refused = "00000000-0000-4000-8000-000000000027"
    acknowledged: list[str] = []
    with ifmem.bus() as bus, no_file_may_grow(ifmem.daemon_pid()):
        run = ifmem("remember", "It tips.", "--id", kept, "--json", code=4)
        assert "repeat it with the same id" in run.told()
        assert kept in json.dumps(run.json)
        assert bus.hget("ifmem:1:log-state", "refusing")

        async def write_on(memory: Memory) -> None:
            for number in range(20):
                try:
                    acknowledged.append((await memory.remember(f"Try {number}.")).finding_id)
                except OutcomeUnknown:
                    continue
                except Unavailable as error:
                    assert error.facts["outcome"] == "refusing"
                else:
                    raise AssertionError("acknowledged while the store could not write")

        told(ifmem, write_on)
        assert "nothing was stored" in ifmem("remember", "No.", "--id", refused, code=4).told()
        assert "nothing was stored" in ifmem("tasks", "post", "Weigh", code=4).told()
        assert ifmem.status()["health"].startswith("degraded")
        assert ifmem.status()["findings"] == 1
    eventually(lambda: ifmem.status()["health"] == "healthy")
    again = ifmem("remember", "It tips.", "--id", kept, "--json").json
    assert again["outcome"] == "known"
    lines = ifmem("findings", "--json").lines
    assert [line["finding_id"] for line in lines].count(kept) == 1
    assert refused not in [line["finding_id"] for line in lines]
    assert len(lines) == ifmem.status()["findings"]
    assert acknowledged == []
