"""A worker on a real bus, beside a store that commits when the test says so."""

from __future__ import annotations

import asyncio
import json
import math
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from ifmem import Invalid, LeasedTask, OutcomeUnknown, Refused, Task, Unavailable, Worker
from ifmem.bus.address import read_url
from ifmem.bus.bus import Bus
from ifmem.bus.client import open_client
from ifmem.bus.embedded import attach, stop
from ifmem.bus.log import Committed
from ifmem.bus.ownership import Lease
from ifmem.clock import monotonic, new_id, now, stamp
from ifmem.domain.shard import Shard, Speciality
from ifmem.domain.task import TaskState
from ifmem.runtime.holding import hold_orphans
from ifmem.runtime.insisting import REBUILDING
from ifmem.settings import BusSettings, RedisSettings, Settings, WorkerSettings
from ifmem.wire import blob, keys
from ifmem.wire.keys import Keys
from ifmem.wire.log_entries import Verdict
from ifmem.wire.queries import Query, Response, read_response

PATIENCE_S = 60.0
SHORT = timedelta(seconds=2)
BRIDGE = "the-bridge"


class Store:
    """A bridge whose store commits what, and when, a test wants."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.client = open_client(read_url(url), True, None)
        self.bus = Bus(self.client, Keys("acme"))
        self.lease = Lease("", 0)

    @property
    def settings(self) -> Settings:
        return Settings(
            space="acme",
            redis=RedisSettings(url=self.url),
            bus=BusSettings(commit_seconds=PATIENCE_S, outage_seconds=PATIENCE_S),
            worker=WorkerSettings(heartbeat_seconds=0.1, expiry_seconds=60),
        )

    async def open(self, epoch: int = 1) -> None:
        self.lease = await self.bus.ownership.claim(
            "store", bridge="bridge", name=BRIDGE, duration=timedelta(minutes=5), adopt=False
        )
        await self.bus.log.refuse(self.lease, REBUILDING)
        await self.bus.beat(BRIDGE, expiry_seconds=60)
        await self.bus.log.set_position(
            self.lease, epoch=epoch, drained="0-0", limit=10_000, last=0, skipped=0
        )

    async def commit(self, verdicts: dict[str, Verdict] | None = None) -> None:
        """Everything in the log."""
        entries = await self.bus.log.read("0-0", count=10_000)
        if entries:
            committed = Committed(entries[-1][0].decode(), [], verdicts or {}, 0)
            await self.bus.log.drained(self.lease, committed, window=1_000)

    async def commit_for_ever(self) -> None:
        while True:
            await self.commit()
            await asyncio.sleep(0.005)

    async def entries(self) -> list[str]:
        return [entry.decode() for entry, _ in await self.bus.log.read("0-0", count=10_000)]

    async def put_shard(self, number: int, text: str) -> int:
        """A shard that holds one document of one passage; its tokens."""
        words = len(text.split())
        passage = blob.BlobPassage(len(text), 0, 1, text.count("\n") + 1, words, "")
        part = blob.BlobPart(
            f"/notes/{number}.md", f"{hash(text) % 2**64:064x}", "prose", words, (passage,)
        )
        entry, data = blob.encode([part], text)
        shard = Shard(
            number=number,
            speciality=Speciality.FILES_GIT,
            capacity=8_000,
            tokens=words,
            documents=1,
        )
        manifest = blob.Manifest(shard=number, generation=0, tokens=words, blobs=(entry,))
        await self.bus.put_shard(
            shard, bridge=BRIDGE, manifest=manifest, new_blobs={entry.sha256: data}, replaced=[]
        )
        return words

    async def holder(self, number: int) -> tuple[str | None, bool]:
        _, states = await self.bus.shards()
        (state,) = [one for one in states if one.number == number]
        return state.worker, state.active

    async def is_consistent(self) -> bool:
        """Whether ``context:active`` is the sum over the active shards."""
        total, states = await self.bus.shards()
        return total == sum(one.tokens for one in states if one.active)


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    directory: Path = tmp_path_factory.mktemp("bus")
    yield attach(directory, idle=timedelta(seconds=20)).url
    stop(directory)


Story = Callable[[Store], Awaitable[None]]


@pytest.fixture
def play(url: str) -> Callable[[Story], None]:
    """Runs a story on an empty bus."""

    def run(story: Story) -> None:
        async def main() -> None:
            store = Store(url)
            await store.client.flushall()
            try:
                async with asyncio.timeout(PATIENCE_S):
                    await story(store)
            finally:
                await store.client.aclose()

        asyncio.run(main())

    return run


@asynccontextmanager
async def joined(store: Store, *, commits: bool = True, **options: Any) -> AsyncIterator[Worker]:
    """A worker in an open space, beside a store that commits at once."""
    await store.open()
    async with asyncio.TaskGroup() as group:
        committing = group.create_task(store.commit_for_ever()) if commits else None
        async with Worker.join(settings=store.settings, **options) as worker:
            yield worker
        if committing is not None:
            committing.cancel()


async def until(question: Callable[[], Awaitable[Any]]) -> Any:
    while not (answer := await question()):  # noqa: ASYNC110 - the answer is on a server
        await asyncio.sleep(0.01)
    return answer


async def state_of(store: Store, task_id: str) -> TaskState:
    return (await store.bus.tasks.show(task_id)).state


def test_a_space_that_nobody_opened_is_not_joined(play: Any) -> None:
    async def story(store: Store) -> None:
        with pytest.raises(Unavailable, match=r"no bridge has opened space 'acme'.*ifmem up"):
            async with Worker.join(settings=store.settings):
                pass

    play(story)


def test_a_worker_that_is_to_wait_joins_once_the_space_is_open(play: Any) -> None:
    async def story(store: Store) -> None:
        async def join() -> str:
            async with Worker.join(settings=store.settings, wait=True, name="ada") as worker:
                return worker.name

        async with asyncio.TaskGroup() as group:
            joining = group.create_task(join())
            await until(lambda: store.client.info("clients"))
            assert not joining.done()
            await store.open()
            assert await joining == "ada"

    play(story)


def test_a_member_is_seen_and_is_gone_when_it_left(play: Any) -> None:
    async def story(store: Store) -> None:
        async with joined(store, name="ada"):
            assert {one.worker_id for one in await store.bus.workers() if one.alive} >= {"ada"}
        assert {one.worker_id for one in await store.bus.workers()} == {BRIDGE}

    play(story)


def test_remember_returns_when_the_store_has_committed_and_not_before(play: Any) -> None:
    async def story(store: Store) -> None:
        async with joined(store, commits=False) as worker, asyncio.TaskGroup() as group:
            remembering = group.create_task(worker.remember("The tide is out.", topic="tide"))
            await until(store.entries)
            accepted = await worker.remember("The tide turns.", durable=False)
            assert accepted.outcome == "accepted"
            assert not remembering.done()
            await store.commit()
            assert (await remembering).outcome == "stored"

    play(story)


def test_what_a_worker_says_is_an_agents_and_its_quotes_are_unverified(play: Any) -> None:
    async def story(store: Store) -> None:
        async with joined(store, name="ada") as worker:
            quote = {"source": "/notes/a.md", "quote": "so it is", "status": "verified"}
            said = await worker.remember("So it is.", citations=[quote], trust="user")
            body = await store.client.get(store.bus.keys.of(keys.FINDING, uuid=said.finding_id))
            finding = json.loads(body)
            assert finding["worker_id"] == "ada"
            assert finding["trust"] == "agent"
            assert [one["status"] for one in finding["citations"]] == ["unverified"]

    play(story)


def test_what_the_store_refuses_is_refused(play: Any) -> None:
    async def story(store: Store) -> None:
        async with joined(store, commits=False) as worker, asyncio.TaskGroup() as group:

            async def remember() -> None:
                with pytest.raises(Refused, match="forgotten") as told:
                    await worker.remember("Old news.")
                assert told.value.facts["id"]

            group.create_task(remember())
            (entry,) = await until(store.entries)
            await store.commit({entry: Verdict("refused", "it was forgotten")})

    play(story)


def test_what_was_said_before_is_not_refused_for_the_sake_of_another(play: Any) -> None:
    async def story(store: Store) -> None:
        async with joined(store, commits=False) as worker, asyncio.TaskGroup() as group:
            first = await worker.remember("Said once.", durable=False)
            await worker.remember("Something else.", durable=False)
            again = group.create_task(worker.remember("Said once.", id=first.finding_id))
            _, other = await store.entries()
            await until(lambda: _waits(worker))
            await store.commit({other: Verdict("refused", "it was forgotten")})
            assert (await again).outcome == "known"

    play(story)


async def _waits(worker: Worker) -> bool:
    return bool(worker._member.commitments._waiting)


def test_completions_that_the_store_does_not_commit_are_unknown_and_all_after_one_wait(
    play: Any,
) -> None:
    async def story(store: Store) -> None:
        events: list[Any] = []
        await store.open()
        impatient = msgspec.structs.replace(
            store.settings, bus=BusSettings(commit_seconds=0.3, outage_seconds=PATIENCE_S)
        )
        async with Worker.join(settings=impatient, on_event=events.append) as worker:
            posted = [await worker.post(f"{number}", durable=False) for number in range(20)]

            async def handle(task: Task) -> None:
                pass

            began = monotonic()
            async with asyncio.TaskGroup() as group:
                group.create_task(worker.run(handle))
                await until(lambda: _all_unknown(events, len(posted)))
                assert monotonic() - began < 0.3 * len(posted) / 2
                worker.stop()
            assert await state_of(store, posted[0].task_id) is TaskState.DONE

    play(story)


async def _all_unknown(events: list[Any], count: int) -> bool:
    return len(await _named(events, "unknown")) == count


def test_a_store_that_cannot_write_is_told_to_who_waits(play: Any) -> None:
    async def story(store: Store) -> None:
        async with joined(store, commits=False) as worker, asyncio.TaskGroup() as group:

            async def remember() -> None:
                with pytest.raises(OutcomeUnknown, match="disk full"):
                    await worker.remember("Is it kept?")

            group.create_task(remember())
            await until(store.entries)
            await store.bus.log.refuse(store.lease, "disk full")

    play(story)


def test_a_commit_whose_message_was_lost_is_seen_all_the_same(play: Any) -> None:
    async def story(store: Store) -> None:
        async with joined(store, commits=False) as worker, asyncio.TaskGroup() as group:
            remembering = group.create_task(worker.remember("Nobody told."))
            (entry,) = await until(store.entries)
            await store.client.hset(store.bus.keys.of(keys.LOG_STATE), "drained", entry)
            assert (await remembering).outcome == "stored"

    play(story)


def test_what_a_lost_server_had_accepted_is_said_again_and_never_taken_for_committed(
    play: Any,
) -> None:
    async def story(store: Store) -> None:
        async with joined(store, commits=False) as worker, asyncio.TaskGroup() as group:
            remembering = group.create_task(worker.remember("Before the loss.", id=new_id()))
            await until(store.entries)
            await store.client.flushall()
            await store.open(epoch=2)
            await worker.remember("After the loss.", durable=False)
            # It is told of a commit beyond its entry, and says itself again instead: now, or
            # before this commit where it has seen the loss by itself.
            committing = group.create_task(store.commit_for_ever())
            said = await remembering
            committing.cancel()
            name = store.bus.keys.of(keys.FINDING, uuid=said.finding_id)
            assert b"Before the loss." in await store.client.get(name)

    play(story)


def test_completions_that_were_lost_with_the_server_are_never_told_as_finished(play: Any) -> None:
    async def story(store: Store) -> None:
        events: list[Any] = []
        async with (
            joined(store, commits=False, on_event=events.append) as worker,
            asyncio.TaskGroup() as group,
        ):
            posted = [await worker.post(f"{number}", durable=False) for number in range(3)]

            async def handle(task: Task) -> None:
                pass

            group.create_task(worker.run(handle))
            for one in posted:
                await until(lambda one=one: _is(store, one.task_id, TaskState.DONE))
            await store.client.flushall()
            await store.open(epoch=2)
            await worker.remember("After the loss.", durable=False)
            await store.commit()
            lost = await until(lambda: _so_many_named(events, "lost", 3))
            assert {one["task_id"] for one in lost} == {one.task_id for one in posted}
            assert await _named(events, "finished") == []
            worker.stop()

    play(story)


async def _so_many_named(events: list[Any], name: str, count: int) -> list[Any]:
    found = await _named(events, name)
    return found if len(found) == count else []


def test_an_idle_worker_stops_at_once_and_its_run_returns(play: Any) -> None:
    async def story(store: Store) -> None:
        async with joined(store) as worker:

            async def stop_when_idle() -> None:
                await until(lambda: _sleeps(store))
                worker.stop()

            async with asyncio.TaskGroup() as group:
                group.create_task(stop_when_idle())
                began = monotonic()
                await worker.run(lambda task: None)
                assert monotonic() - began < 5

    play(story)


async def _sleeps(store: Store) -> bool:
    return bool((await store.client.info("clients"))["blocked_clients"])


def test_what_the_body_raises_comes_out_as_it_is_after_leaving(play: Any) -> None:
    async def story(store: Store) -> None:
        with pytest.raises(ValueError, match="my own"):
            async with joined_alone(store) as worker:
                raise ValueError(f"my own, {worker.name}")
        assert {one.worker_id for one in await store.bus.workers()} == {BRIDGE}

    play(story)


@asynccontextmanager
async def joined_alone(store: Store) -> AsyncIterator[Worker]:
    await store.open()
    async with Worker.join(settings=store.settings) as worker:
        yield worker


def test_what_a_handler_returns_is_published_with_the_completion(play: Any) -> None:
    async def story(store: Store) -> None:
        events: list[Any] = []
        async with (
            joined(store, name="ada", on_event=events.append) as worker,
            asyncio.TaskGroup() as group,
        ):
            posted = await worker.post("count the gulls", {"where": "pier"})

            async def count(task: Task) -> dict[str, Any]:
                return {"claim": f"Nine gulls at the {task.data['where']}.", "value": 9}

            group.create_task(worker.run(count))
            await until(lambda: _named(events, "finished"))
            worker.stop()
            task = await worker.show(posted.task_id)
            assert task.state is TaskState.DONE
            name = store.bus.keys.of(keys.FINDING, uuid=task.result_finding_id)
            finding = json.loads(await store.client.get(name))
            assert (finding["task_id"], finding["worker_id"]) == (posted.task_id, "ada")
            assert (finding["claim"], finding["value"]) == ("Nine gulls at the pier.", 9)
            shown = store.bus.keys.of(keys.WORKER_CONTEXT, id="ada")
            cached = json.loads(await until(lambda: store.client.get(shown)))
            assert [one["claim"] for one in cached["results"]] == ["Nine gulls at the pier."]
            assert 0 < await store.client.ttl(shown) <= 3_600

    play(story)


async def _named(events: list[Any], name: str) -> list[Any]:
    return [one for one in events if one["event"] == name]


def test_the_cached_results_are_the_newest_that_fit(play: Any) -> None:
    async def story(store: Store) -> None:
        async with joined(store, name="ada") as worker:
            for number in range(25):
                await worker.post(f"{number}", max_attempts=1, durable=False)
            count = 0
            async for task in worker.tasks():
                size = 30_000 if count > 20 else 10
                await task.finish(f"{count} " + "x " * (size // 2), durable=False)
                count += 1
                if count == 25:
                    break
            shown = store.bus.keys.of(keys.WORKER_CONTEXT, id="ada")

            async def newest() -> Any:
                body = await store.client.get(shown)
                results = json.loads(body)["results"] if body else []
                return body if results and results[-1]["claim"].startswith("24 ") else None

            body = await until(newest)
            assert len(body) <= 64 * 1024
            assert len(json.loads(body)["results"]) == 2

    play(story)


def test_a_handler_that_raises_fails_the_task_in_its_words_without_credentials(play: Any) -> None:
    async def story(store: Store) -> None:
        fake = "gh" + "p_" + "A1b2" * 9
        async with joined(store) as worker, asyncio.TaskGroup() as group:
            posted = await worker.post("read it", max_attempts=1)

            def read(task: Task) -> None:
                raise ValueError(f"refused with {fake}")

            group.create_task(worker.run(read))
            await until(lambda: _is(store, posted.task_id, TaskState.DEAD))
            worker.stop()
            (reason,) = (await worker.show(posted.task_id)).reasons
            assert reason.reason.startswith("ValueError: refused with [masked:")
            assert fake not in reason.reason

    play(story)


async def _is(store: Store, task_id: str, state: TaskState) -> bool:
    return await state_of(store, task_id) is state


def test_a_result_that_is_no_finding_fails_the_task(play: Any) -> None:
    async def story(store: Store) -> None:
        async with joined(store) as worker, asyncio.TaskGroup() as group:
            posted = await worker.post("guess", max_attempts=1)

            async def guess(task: Task) -> Any:
                return {"claim": "Sure.", "confidence": 7}

            group.create_task(worker.run(guess))
            await until(lambda: _is(store, posted.task_id, TaskState.DEAD))
            worker.stop()
            (reason,) = (await worker.show(posted.task_id)).reasons
            assert "confidence must lie between 0 and 1" in reason.reason

    play(story)


def test_a_task_that_takes_longer_than_its_lease_stays_the_workers(play: Any) -> None:
    async def story(store: Store) -> None:
        async with joined(store) as worker, asyncio.TaskGroup() as group:
            posted = await worker.post("watch the tide")
            handled = 0

            async def watch(task: Task) -> None:
                nonlocal handled
                handled += 1

                async def is_over() -> bool:
                    seconds, micros = await store.client.time()
                    return seconds * 1000 + micros / 1000 > (task.lease_until_ms or math.inf) + 300

                await until(is_over)

            group.create_task(worker.run(watch, lease=SHORT, concurrency=2))
            await until(lambda: _is(store, posted.task_id, TaskState.DONE))
            worker.stop()
            assert handled == 1

    play(story)


def test_a_handler_whose_task_is_no_longer_the_workers_is_cancelled(play: Any) -> None:
    async def story(store: Store) -> None:
        events: list[Any] = []
        async with (
            joined(store, on_event=events.append) as worker,
            asyncio.TaskGroup() as group,
        ):
            first, started = await worker.post("wait"), asyncio.Event()

            async def wait(task: Task) -> None:
                started.set()
                if task.title == "wait":
                    await asyncio.Event().wait()

            group.create_task(worker.run(wait, lease=SHORT, concurrency=1))
            await started.wait()
            await store.bus.tasks.cancel(first.task_id, actor="somebody")
            (lost,) = await until(lambda: _named(events, "lost"))
            assert lost["task_id"] == first.task_id
            # Its place is free again.
            second = await worker.post("go on")
            await until(lambda: _is(store, second.task_id, TaskState.DONE))
            worker.stop()

    play(story)


def test_stopping_lets_handlers_end_and_gives_back_what_does_not(play: Any) -> None:
    async def story(store: Store) -> None:
        async with joined(store) as worker:
            quick, slow = await worker.post("quick"), await worker.post("slow")
            may_end, begun = asyncio.Event(), Counter[str]()

            async def handle(task: Task) -> None:
                begun[task.title] += 1
                await (may_end if task.title == "quick" else asyncio.Event()).wait()

            async with asyncio.TaskGroup() as group:
                group.create_task(
                    worker.run(handle, concurrency=2, grace=timedelta(milliseconds=200))
                )
                await until(lambda: _both(begun))
                await worker.post("too late")
                worker.stop()
                may_end.set()
            assert await state_of(store, quick.task_id) is TaskState.DONE
            given_back = await worker.show(slow.task_id)
            assert (given_back.state, given_back.attempts) == (TaskState.PENDING, 0)
            assert begun["too late"] == 0

    play(story)


async def _both(begun: Counter[str]) -> bool:
    return len(begun) == 2


def test_leaving_gives_back_what_a_worker_holds(play: Any) -> None:
    async def story(store: Store) -> None:
        async with joined(store) as worker:
            posted = await worker.post("mend the net")
            (held,) = await worker.claim()
            assert held.task_id == posted.task_id
        task = await store.bus.tasks.show(posted.task_id)
        assert (task.state, task.attempts) == (TaskState.PENDING, 0)

    play(story)


def test_a_loop_that_is_left_gives_back_what_it_holds(play: Any) -> None:
    async def story(store: Store) -> None:
        async with joined(store) as worker:
            posted = [await worker.post(f"{number}") for number in range(3)]
            async for task in worker.tasks(concurrency=2):
                await task.finish()
                break

            async def states() -> Any:
                found = [await state_of(store, one.task_id) for one in posted]
                return TaskState.LEASED not in found and found

            first, *others = await until(states)
            assert first is TaskState.DONE
            assert others == [TaskState.PENDING] * 2

    play(story)


def test_a_task_can_be_finished_failed_or_handed_to_somebody_else(play: Any) -> None:
    async def story(store: Store) -> None:
        async with joined(store, name="ada") as worker:
            for title in ("one", "two", "three"):
                await worker.post(title)
            tasks: list[LeasedTask] = await worker.claim(count=3)
            one, two, three = tasks
            with pytest.raises(Invalid):
                await one.finish({"claim": ""})
            await one.finish("One is done.")
            assert (await two.fail("no boat", final=True)).state is TaskState.FAILED
            assert (await three.release(assist=True)).state is TaskState.NEEDS_ASSIST
            assert await worker.claim(wait=timedelta(milliseconds=50)) == []
            with pytest.raises(Refused):
                await three.finish()

    play(story)


def test_each_of_many_tasks_is_worked_on_once_and_never_more_at_once_than_wanted(
    play: Any,
) -> None:
    async def story(store: Store) -> None:
        async with joined(store) as worker, asyncio.TaskGroup() as group:
            async with asyncio.TaskGroup() as posting:
                for number in range(300):
                    posting.create_task(worker.post(f"{number}", durable=False))
            done: Counter[str] = Counter()
            at_once, most = 0, 0

            async def handle(task: Task) -> str:
                nonlocal at_once, most
                at_once += 1
                most = max(most, at_once)
                await asyncio.sleep(0)
                at_once -= 1
                done[task.title] += 1
                return f"{task.title} is done"

            group.create_task(worker.run(handle, concurrency=7))
            await until(lambda: _so_many(done, 300))
            worker.stop()
            assert set(done.values()) == {1}
            assert most == 7

    play(story)


async def _so_many(done: Counter[str], count: int) -> bool:
    return done.total() >= count


def test_only_the_tasks_of_the_workers_run_are_taken(play: Any) -> None:
    async def story(store: Store) -> None:
        settings = store.settings
        async with joined(store) as worker:
            await worker.post("of no run")
            evening = Settings(space="acme", run="evening", redis=settings.redis, bus=settings.bus)
            async with Worker.join(settings=evening) as other:
                mine = await other.post("of the evening")
                (held,) = await other.claim(count=10)
                assert held.task_id == mine.task_id
                await held.finish("Seen.")
                shown = await other.show(mine.task_id)
                name = store.bus.keys.of(keys.FINDING, uuid=shown.result_finding_id)
                assert json.loads(await store.client.get(name))["session_id"] == "evening"

    play(story)


def test_findings_are_followed_in_order(play: Any) -> None:
    async def story(store: Store) -> None:
        async with joined(store) as worker:
            for number in range(3):
                await worker.remember(f"Wave {number}.", durable=False)
            claims = []
            async for line in worker.follow("0"):
                claims.append(line.finding["claim"])
                if len(claims) == 3:
                    break
            assert claims == ["Wave 0.", "Wave 1.", "Wave 2."]

    play(story)


def test_shards_are_taken_from_the_bridge_and_given_back_to_it(play: Any) -> None:
    async def story(store: Store) -> None:
        await store.open()
        tokens = await store.put_shard(1, "The lamp is lit at dusk.")
        await store.put_shard(2, "The buoy is red.")
        assert await store.holder(1) == (BRIDGE, True)
        async with joined(store, name="ada", shards=[1]) as worker:
            await worker.held(1)
            assert worker.shards == {1: tokens}
            assert await store.holder(1) == ("ada", True)
            assert await store.holder(2) == (BRIDGE, True)
            assert await store.is_consistent()
        assert await store.holder(1) == (BRIDGE, True)
        assert await store.is_consistent()

    play(story)


def test_a_shard_without_a_live_bridge_is_given_back_to_nobody(play: Any) -> None:
    async def story(store: Store) -> None:
        await store.open()
        await store.put_shard(1, "The lamp is lit at dusk.")
        async with joined(store, name="ada", shards="any") as worker:
            await worker.held(1)
            await store.bus.leave(BRIDGE)
        assert await store.holder(1) == ("", False)
        assert await store.is_consistent()

    play(story)


def test_a_live_workers_shard_stays_its_own_and_a_dead_ones_is_taken_over(play: Any) -> None:
    async def story(store: Store) -> None:
        await store.open()
        await store.put_shard(1, "The lamp is lit at dusk.")
        await store.put_shard(2, "The buoy is red.")
        await store.bus.beat("bob", expiry_seconds=60)
        assert await store.bus.take_shard(1, "bob", over=BRIDGE) is None
        assert await store.bus.set_ready(1, "bob", active=True)
        async with joined(store, name="ada", shards="any") as worker:
            await worker.held(2)
            assert await store.holder(1) == ("bob", True)
            await store.client.delete(store.bus.keys.of(keys.WORKER_STATUS, id="bob"))
            await worker.held(1)
            assert await store.holder(1) == ("ada", True)
            assert await store.is_consistent()

    play(story)


def test_a_worker_takes_no_more_than_its_capacity(play: Any) -> None:
    async def story(store: Store) -> None:
        await store.open()
        await store.put_shard(1, "one two three")
        await store.put_shard(2, "four five six")
        async with joined(store, name="ada", shards="any", capacity=5) as worker:
            await worker.held()
            first = await _heartbeat(store, "ada")
            await until(lambda: _later(store, "ada", first))
            second = await _heartbeat(store, "ada")
            await until(lambda: _later(store, "ada", second))
            assert len(worker.shards) == 1

    play(story)


async def _heartbeat(store: Store, worker: str) -> str:
    (stamped,) = [one.heartbeat for one in await store.bus.workers() if one.worker_id == worker]
    return stamped or ""


async def _later(store: Store, worker: str, than: str) -> bool:
    return await _heartbeat(store, worker) > than


def test_the_bridge_holds_what_a_dead_worker_held(play: Any) -> None:
    async def story(store: Store) -> None:
        await store.open()
        await store.put_shard(1, "The lamp is lit at dusk.")
        await store.put_shard(2, "The buoy is red.")
        await store.bus.beat("bob", expiry_seconds=60)
        for number in (1, 2):
            await store.bus.take_shard(number, "bob", over=BRIDGE)
        await store.bus.set_ready(1, "bob", active=True)

        class AsSpace:
            bus = store.bus
            worker_id = BRIDGE

        assert await hold_orphans(AsSpace()) == []  # type: ignore[arg-type]
        await store.client.delete(store.bus.keys.of(keys.WORKER_STATUS, id="bob"))
        assert await hold_orphans(AsSpace()) == [1, 2]  # type: ignore[arg-type]
        assert await store.holder(1) == await store.holder(2) == (BRIDGE, True)
        assert await store.is_consistent()

    play(story)


def test_a_query_is_answered_from_the_held_context_as_it_is_now(play: Any) -> None:
    async def story(store: Store) -> None:
        await store.open()
        await store.put_shard(1, "The lamp is lit at dusk.\nThe keeper is Marta Quill.")
        async with joined(store, name="ada", shards=[1]) as worker:
            await worker.held(1)
            told = await _asked(store, "Who is the keeper?")
            assert told.found
            assert "Marta Quill" in told.answer
            assert told.sources == ("/notes/1.md:2-2",)
            missing = await _asked(store, "Who is Zebulon Quist?")
            assert (missing.found, missing.sources) == (False, ())
            await store.put_shard(1, "The lamp is out.\nThe keeper is Olga Brandt.")
            assert "Olga Brandt" in (await _asked(store, "Who is the keeper?")).answer

    play(story)


async def _asked(store: Store, question: str) -> Response:
    """What shard 1 answers on the channel."""
    query = Query(
        query_id=new_id(), timestamp=stamp(now()), sender="me", question=question, shard_hint=1
    )
    async with store.client.pubsub() as pubsub:
        await pubsub.subscribe(store.bus.keys.of(keys.CHANNEL_RESPONSES))
        await store.client.publish(
            store.bus.keys.of(keys.CHANNEL_QUERIES), msgspec.json.encode(query)
        )
        async for message in pubsub.listen():
            if message["type"] == "message":
                response = read_response(message["data"])
                if response.query_id == query.query_id:
                    return response
    raise AssertionError("unreachable")
