"""Watching a space: what changes is told as it happens, also to a caller that is slow."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from ifmem.domain.model import EXTRACTIVE
from ifmem.errors import Unavailable
from ifmem.model_settings import ModelSettings
from ifmem.runtime import watchers, watching
from ifmem.runtime.watching import watch
from ifmem.wire.agent_calls import WatchCall

PATIENCE_S = 60.0


@pytest.fixture(autouse=True)
def never_looks_unasked(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is told is told because it happened, not because somebody happened to look."""
    monkeypatch.setattr(watching, "LOOK_SECONDS", 3_600.0)


@dataclass
class Caller:
    """Takes events; one that is busy makes whoever sends wait."""

    events: asyncio.Queue[dict[str, Any]] = field(default_factory=asyncio.Queue)
    reads: asyncio.Event = field(default_factory=asyncio.Event)
    waited_for: asyncio.Event = field(default_factory=asyncio.Event)
    gone: bool = False

    def __call__(self, event: dict[str, Any]) -> None:
        self.events.put_nowait(event)

    async def drained(self) -> None:
        if self.gone:
            raise ConnectionResetError
        if not self.reads.is_set():
            self.waited_for.set()
            await self.reads.wait()

    async def next(self) -> Any:
        """The next event that is no start."""
        async with asyncio.timeout(PATIENCE_S):
            event = await self.events.get()
        return event.get("changed", event)


@asynccontextmanager
async def watched(desk: Any) -> AsyncIterator[Caller]:
    caller = Caller()
    caller.reads.set()
    async with asyncio.TaskGroup() as group:
        task = group.create_task(watch(desk.space, WatchCall(), caller))
        assert await caller.next() == {"watching": {}}
        yield caller
        task.cancel()


def run(desk: Callable[..., Any], story: Callable[[Any], Coroutine[Any, Any, None]]) -> None:
    async def opened() -> None:
        # Shards that a model bounds would be cut to its size while the story goes on.
        async with desk(ModelSettings(default=EXTRACTIVE, keep_hot="off")) as one:
            await story(one)

    asyncio.run(opened())


async def remember(desk: Any, claim: str, **more: Any) -> Any:
    return await desk.call("remember", finding={"claim": claim}, **{"trust": "agent", **more})


def test_each_finding_is_told_in_order_with_its_cursor(desk: Callable[..., Any]) -> None:
    async def story(desk: Any) -> None:
        await remember(desk, "Before.")
        async with watched(desk) as caller:
            for number in range(5):
                stored = await remember(desk, f"Fact {number}.")
                expected = {"finding": stored.finding_id, "cursor": stored.cursor}
                assert await caller.next() == expected

    run(desk, story)


def test_a_finding_is_told_when_the_store_has_it(desk: Callable[..., Any]) -> None:
    async def story(desk: Any) -> None:
        async with watched(desk) as caller:
            accepted = await remember(desk, "In haste.", durable=False)
            assert (await caller.next())["finding"] == accepted.finding_id
            page = await desk.call("findings")
            assert [line.finding["finding_id"] for line in page] == [accepted.finding_id]

    run(desk, story)


def test_a_forgotten_finding_is_told_and_a_quarantined_one_is_not(desk: Callable[..., Any]) -> None:
    async def story(desk: Any) -> None:
        async with watched(desk) as caller:
            await remember(desk, "Psst.", trust="quarantined")
            stored = await remember(desk, "Never mind.")
            await desk.call("forget", id=stored.finding_id)
            expected = {"finding": stored.finding_id, "cursor": stored.cursor}
            assert [await caller.next(), await caller.next()] == [expected, expected]

    run(desk, story)


def test_a_load_and_a_document_that_went_away_tell_of_the_shard_and_of_the_total(
    desk: Callable[..., Any],
) -> None:
    async def story(desk: Any) -> None:
        async with watched(desk) as caller:
            await desk.load({"two/oil.md": "Oil is poured at noon.\n"})
            shards = await desk.call("shards")
            total = sum(one.tokens for one in shards)
            assert total > 0
            assert [await caller.next(), await caller.next()] == [{"shard": 2}, {"context": total}]
            (desk.folder / "two/oil.md").unlink()
            await desk.load({})
            assert [await caller.next(), await caller.next()] == [{"shard": 2}, {"context": 0}]

    run(desk, story)


def test_what_workers_elsewhere_do_is_seen_at_the_next_look(
    desk: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "LOOK_SECONDS", 0.05)

    async def story(desk: Any) -> None:
        await desk.load({"one/wick.md": "The wick is cotton.\n"})
        async with watched(desk) as caller:
            bus = desk.space.bus
            await bus.beat("elsewhere", expiry_seconds=60)
            await bus.take_shard(1, "elsewhere", over=desk.space.worker_id)
            assert await caller.next() == {"shard": 1}
            assert await caller.next() == {"context": 0}

    run(desk, story)


def test_a_slow_caller_misses_no_finding_and_gets_one_event_for_a_shard(
    desk: Callable[..., Any],
) -> None:
    async def story(desk: Any) -> None:
        async with watched(desk) as caller:
            caller.reads.clear()
            said = [(await remember(desk, "The first.")).finding_id]
            await caller.waited_for.wait()
            said += [(await remember(desk, f"Fact {n}.")).finding_id for n in range(300)]
            for number in range(3):
                await desk.load({f"one/{number}.md": f"Wick {number} is cotton.\n"})
            caller.reads.set()
            events = [await caller.next() for _ in range(len(said) + 2)]
            assert [one["finding"] for one in events[:-2]] == said
            assert [set(one) for one in events[-2:]] == [{"shard"}, {"context"}]

    run(desk, story)


def test_a_caller_that_has_gone_ends_it(desk: Callable[..., Any]) -> None:
    async def story(desk: Any) -> None:
        caller = Caller()
        caller.reads.set()
        async with asyncio.timeout(PATIENCE_S), asyncio.TaskGroup() as group:
            task = group.create_task(watch(desk.space, WatchCall(), caller))
            assert await caller.next() == {"watching": {}}
            caller.gone = True
            await remember(desk, "Nobody hears it.")
            assert await task == {}

    run(desk, story)


def test_whoever_ends_the_daemon_has_the_caller_told(desk: Callable[..., Any]) -> None:
    async def story(desk: Any) -> None:
        async with watched(desk) as caller:
            pass
        assert await caller.next() == {"ending": {}}

    run(desk, story)


def test_more_forgotten_than_is_kept_ends_the_watch_instead_of_losing_some(
    desk: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watchers, "MOST_FORGOTTEN", 2)

    async def story(desk: Any) -> None:
        caller = Caller()
        with pytest.raises(Unavailable, match="watch again"):
            async with asyncio.timeout(PATIENCE_S):
                # Nothing is looked at between the first and the last: no step of these waits.
                task = asyncio.ensure_future(watch(desk.space, WatchCall(), caller))
                assert await caller.next() == {"watching": {}}
                for number in range(3):
                    desk.space.watchers.on_forgotten(f"id {number}", number)
                caller.reads.set()
                await task

    run(desk, story)
