"""Following the findings of a real server: nothing lost, whatever happens to the connection."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
import redis

from ifmem.bus.address import read_url
from ifmem.bus.client import open_client
from ifmem.bus.feed import Feed
from ifmem.bus.findings import Findings
from ifmem.bus.follower import Follower
from ifmem.bus.server_side import ServerSide, library
from ifmem.clock import new_id
from ifmem.domain.finding import Finding
from ifmem.engine.following import Filter, Row
from ifmem.errors import Invalid
from ifmem.wire import keys
from ifmem.wire.envelopes import Hint, head
from ifmem.wire.finding_json import to_json
from ifmem.wire.keys import Keys

PATIENCE_S = 20.0
TICK_S = 0.2


class Space:
    """One space on the server, as its processes see it."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.keys = Keys()
        self.client = open_client(read_url(url), True, None)
        self.findings = Findings(self.client, self.keys, ServerSide(self.client, self.keys))
        self.published: list[tuple[int, bytes]] = []

    def finding(self, claim: str, **fields: Any) -> Finding:
        return Finding(
            finding_id=new_id(),
            worker_id="ada",
            timestamp="2026-01-02T03:04:05.000Z",
            claim=claim,
            durable=False,
            **fields,
        )

    async def publish(self, claim: str = "The retry budget is three.", **fields: Any) -> str:
        finding = self.finding(claim, **fields)
        body = to_json(finding)
        done = await self.findings.publish(finding.finding_id, body, head(finding))
        self.published.append((done.sequence, body))
        return finding.finding_id

    async def publish_many(self, count: int) -> list[str]:
        return [await self.publish(f"Finding {number}.") for number in range(count)]

    async def trim(self, keep: int) -> None:
        """What the bridge does once the store has them."""
        names: Any = await self.client.zrange(self.keys.of(keys.FINDINGS), 0, -1)
        for name in names[: len(names) - keep]:
            await self.client.zrem(self.keys.of(keys.FINDINGS), name)
            await self.client.delete(self.keys.of(keys.FINDING, uuid=name.decode()))

    async def read_older(self, after: int, limit: int) -> Sequence[Row]:
        """The store's side: it has all."""
        rows = [Row(sequence, body) for sequence, body in self.published if sequence > after]
        return rows[:limit]

    @asynccontextmanager
    async def feed(self, **options: Any) -> AsyncIterator[Feed]:
        subscriber = open_client(read_url(self.url), True, None)
        feed = Feed(
            self.client,
            self.findings,
            subscriber,
            **{"tick_seconds": TICK_S, **options},
        )
        async with asyncio.TaskGroup() as group:
            running = group.create_task(feed.run())
            async with asyncio.timeout(PATIENCE_S):
                await feed.connected()
            yield feed
            running.cancel()
        await subscriber.aclose()


@pytest.fixture
def run(server_url: str, plain: redis.Redis) -> Callable[[Callable[[Space], Awaitable[Any]]], Any]:
    """Runs a story on an empty server."""

    def run(story: Callable[[Space], Awaitable[Any]]) -> Any:
        async def main() -> Any:
            space = Space(server_url)
            # Nothing is taken before a bridge has said where the store is.
            await space.client.hset(
                space.keys.of(keys.LOG_STATE), mapping={"epoch": "1", "refusing": ""}
            )
            try:
                async with asyncio.timeout(PATIENCE_S):
                    return await story(space)
            finally:
                await space.client.aclose()

        return asyncio.run(main())

    return run


Run = Callable[[Callable[[Space], Awaitable[Any]]], Any]


async def take(follower: Follower, count: int) -> list[str]:
    """The ids of so many findings."""
    return [(await anext(follower)).finding["finding_id"] for _ in range(count)]


async def at_rest(follower: Follower) -> None:
    """Wait until a follower that somebody awaits has nothing left to look at."""
    while follower._inbox or follower._due is not None or follower._woken.is_set():  # noqa: ASYNC110
        await asyncio.sleep(0)


async def nothing_more(follower: Follower, space: Space) -> bool:
    """Whether the next thing that comes is what is published now."""
    last = await space.publish("This is the last.")
    return await take(follower, 1) == [last]


async def cut_subscriptions(space: Space) -> int:
    """Kill every subscribed connection, as the server's operator could."""
    return int(await space.client.client_kill_filter(_type="pubsub"))


def test_a_follower_sees_what_was_there_and_then_what_comes(run: Run) -> None:
    async def story(space: Space) -> None:
        before = await space.publish_many(3)
        async with space.feed() as feed:
            follower = feed.follow(0)
            assert await take(follower, 3) == before
            line_due = asyncio.ensure_future(anext(follower))
            later = await space.publish("The port is 6379.", topic="ports")
            line = await line_due
            assert line.finding["finding_id"] == later
            assert line.finding["topic"] == "ports"
            assert line.finding["durable"] is False
            assert line.cursor == str(space.published[-1][0])

    run(story)


def test_from_now_on_means_nothing_of_before(run: Run) -> None:
    async def story(space: Space) -> None:
        await space.publish_many(3)
        async with space.feed() as feed:
            follower = feed.follow(await feed.now())
            assert await nothing_more(follower, space)

    run(story)


def test_a_large_finding_that_does_not_ride_along_is_read(run: Run) -> None:
    async def story(space: Space) -> None:
        async with space.feed() as feed:
            follower = feed.follow(0)
            ids = [await space.publish("long " * 4_000), await space.publish("short")]
            assert await take(follower, 2) == ids

    run(story)


def test_a_hundred_findings_while_the_connection_was_away_come_once_and_in_order(run: Run) -> None:
    async def story(space: Space) -> None:
        async with space.feed(tick_seconds=60) as feed:
            follower = feed.follow(0)
            first = await space.publish_many(1)
            assert await take(follower, 1) == first
            made = [space.finding(f"Finding {number}.") for number in range(100)]
            # In one step, so that not one of them is published on a new subscription.
            async with space.client.pipeline(transaction=True) as pipe:
                pipe.client_kill_filter(_type="pubsub")
                for one in made:
                    args = (space.keys.prefix, one.finding_id, to_json(one), head(one))
                    pipe.fcall(f"{library()}_publish", 1, space.keys.slot, *args)
                killed, *_ = await pipe.execute()
            assert killed == 1
            assert await take(follower, 100) == [one.finding_id for one in made]
            assert await nothing_more(follower, space)

    run(story)


def test_an_idle_follower_does_not_ask_the_store(run: Run) -> None:
    async def story(space: Space) -> None:
        asked: list[int] = []

        async def read_older(after: int, limit: int) -> Sequence[Row]:
            asked.append(after)
            return []

        await space.publish_many(2)
        async with space.feed(read_older=read_older, tick_seconds=60) as feed:
            follower = feed.follow(0)
            taking = asyncio.ensure_future(take(follower, 3))
            await at_rest(follower)
            heard = asyncio.Event()
            feed.listen(keys.CHANNEL_FINDINGS, lambda payload: heard.set())
            await space.client.publish("channel:findings", new_id())
            await heard.wait()
            await at_rest(follower)
            await space.publish()
            assert len(await taking) == 3
            assert asked == []

    run(story)


def test_connections_killed_again_and_again_while_findings_come_lose_none(run: Run) -> None:
    async def story(space: Space) -> None:
        async with space.feed(tick_seconds=60) as feed:
            followers = [feed.follow(0) for _ in range(4)]

            async def publish() -> list[str]:
                ids = []
                for number in range(400):
                    ids.append(await space.publish(f"Finding {number}."))
                    if number % 40 == 20:
                        await cut_subscriptions(space)
                return ids

            async with asyncio.TaskGroup() as group:
                publishing = group.create_task(publish())
                taking = [group.create_task(take(one, 400)) for one in followers]
            for one in taking:
                assert one.result() == publishing.result()

    run(story)


def test_a_server_that_stands_still_for_a_while_loses_nothing(run: Run) -> None:
    async def story(space: Space) -> None:
        async with space.feed() as feed:
            follower = feed.follow(0)
            taking = asyncio.ensure_future(take(follower, 20))
            ids = await space.publish_many(10)
            await space.client.client_pause(300)
            ids += await space.publish_many(10)
            assert await taking == ids

    run(story)


def test_a_subscription_that_nothing_comes_on_is_kept(run: Run) -> None:
    async def story(space: Space) -> None:
        connections = 0

        def count() -> None:
            nonlocal connections
            connections += 1

        async with space.feed(tick_seconds=0.02) as feed:
            feed.on_connected(count)
            follower = feed.follow(0)
            with suppress(TimeoutError):
                async with asyncio.timeout(0.4):
                    await anext(follower)
            assert connections == 0
            assert await nothing_more(follower, space)

    run(story)


def test_what_the_channel_never_carried_is_found_by_the_tick(run: Run) -> None:
    async def story(space: Space) -> None:
        async with space.feed() as feed:
            follower = feed.follow(0)
            first = await space.publish()
            assert await take(follower, 1) == [first]
            silent = new_id()
            await space.client.set(f"finding:{silent}", json.dumps({"finding_id": silent}))
            await space.client.zadd("ifmem:1:findings", {silent: 50})
            assert await take(follower, 1) == [silent]

    run(story)


def test_a_slow_follower_reads_the_index_and_holds_little_meanwhile(run: Run) -> None:
    async def story(space: Space) -> None:
        async with space.feed() as feed:
            slow, quick = feed.follow(0), feed.follow(0)
            taking = asyncio.ensure_future(take(quick, 1_500))
            ids = await space.publish_many(1_500)
            assert await taking == ids
            assert len(slow._inbox) <= 256
            assert await take(slow, 1_500) == ids
            assert await nothing_more(slow, space)

    run(story)


def test_what_was_trimmed_before_it_was_read_comes_from_the_store(run: Run) -> None:
    async def story(space: Space) -> None:
        ids = await space.publish_many(700)
        await space.trim(keep=100)
        async with space.feed(read_older=space.read_older) as feed:
            assert await take(feed.follow(0), 700) == ids
            assert await take(feed.follow(650), 50) == ids[650:]

    run(story)


def test_a_window_that_is_trimmed_between_two_pages_loses_nothing(run: Run) -> None:
    async def story(space: Space) -> None:
        ids = await space.publish_many(700)
        async with space.feed(read_older=space.read_older) as feed:
            follower = feed.follow(0)
            seen = await take(follower, 150)
            await space.trim(keep=10)
            seen += await take(follower, 540)
            await space.trim(keep=0)
            seen += await take(follower, 10)
            assert seen == ids
            assert await nothing_more(follower, space)

    run(story)


def test_values_that_somebody_deleted_come_from_the_store(run: Run) -> None:
    async def story(space: Space) -> None:
        ids = await space.publish_many(3)
        await space.client.delete(*(f"finding:{one}" for one in ids))
        async with space.feed(read_older=space.read_older) as feed:
            assert await take(feed.follow(0), 3) == ids

    run(story)


def test_sixteen_followers_share_one_subscribed_connection(run: Run) -> None:
    async def story(space: Space) -> None:
        async with space.feed() as feed:
            followers = [feed.follow(0) for _ in range(16)]
            async with asyncio.TaskGroup() as group:
                taking = [group.create_task(take(one, 50)) for one in followers]
                ids = await space.publish_many(50)
            assert [one.result() for one in taking] == [ids] * 16
            assert len(await space.client.client_list(_type="pubsub")) == 1

    run(story)


def test_a_step_that_was_given_up_half_way_is_taken_up_again(run: Run) -> None:
    async def story(space: Space) -> None:
        ids = await space.publish_many(20)
        async with space.feed() as feed:
            follower = feed.follow(0)
            seen: list[str] = []
            tries = 0
            while len(seen) < 20:
                step = asyncio.ensure_future(anext(follower))
                for _ in range(tries % 5):
                    await asyncio.sleep(0)
                step.cancel()
                with suppress(asyncio.CancelledError):
                    seen.append((await step).finding["finding_id"])
                tries += 1
            assert seen == ids

    run(story)


def test_a_call_that_is_cancelled_at_any_moment_ends_as_cancelled(run: Run) -> None:
    async def story(space: Space) -> None:
        for turns in range(40):
            one = Space(space.url)
            call = asyncio.ensure_future(one.findings.since(0, 10))
            for _ in range(turns):
                await asyncio.sleep(0)
            if not call.done():
                call.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await call
            await one.client.aclose()

    run(story)


def test_a_filter_lets_through_what_is_wanted_and_the_cursor_passes_the_rest(run: Run) -> None:
    async def story(space: Space) -> None:
        async with space.feed() as feed:
            follower = feed.follow(0, Filter(topic="ports"))
            await space.publish("The budget is three.", topic="retries")
            wanted = await space.publish("The port is 6379.", topic="ports")
            assert await take(follower, 1) == [wanted]
            assert follower.cursor == space.published[-1][0]

    run(story)


@pytest.mark.parametrize(
    "junk",
    [
        b"",
        b"nonsense",
        b"\xff\xfe",
        b"[1,2,3]",
        b"{" * 5_000,
        b'{"cursor":"x","previous":"y"}',
        b'{"cursor":"9","previous":"12","finding":{}}',
        b'{"cursor":9e99,"previous":0}',
    ],
)
def test_what_cannot_be_read_on_the_channel_is_told_and_stops_nobody(run: Run, junk: bytes) -> None:
    async def story(space: Space) -> None:
        foreign: list[Any] = []
        async with space.feed(tick_seconds=60) as feed:
            feed.on_foreign(lambda payload, said: foreign.append((payload, type(said))))
            follower = feed.follow(0)
            await space.client.publish("channel:findings", junk)
            assert await nothing_more(follower, space)
            assert foreign == [(junk, Invalid)]

    run(story)


def test_a_bare_id_is_a_hint_and_makes_followers_look(run: Run) -> None:
    async def story(space: Space) -> None:
        hints: list[Any] = []
        async with space.feed(tick_seconds=60) as feed:
            feed.on_foreign(lambda payload, said: hints.append(said))
            follower = feed.follow(0)
            taking = asyncio.ensure_future(take(follower, 1))
            await at_rest(follower)
            silent = new_id()
            await space.client.set(f"finding:{silent}", json.dumps({"finding_id": silent}))
            await space.client.zadd("ifmem:1:findings", {silent: 50})
            await space.client.publish("channel:findings", silent)
            assert await taking == [silent]
            assert hints == [Hint(silent)]

    run(story)


def test_listeners_hear_their_channel_and_are_told_of_every_new_connection(run: Run) -> None:
    async def story(space: Space) -> None:
        heard: asyncio.Queue[bytes] = asyncio.Queue()
        again = asyncio.Event()
        async with space.feed() as feed:
            stop = feed.listen(keys.CHANNEL_QUERIES, heard.put_nowait)
            feed.listen(keys.CHANNEL_QUERIES, lambda payload: [][1])
            await space.client.publish("channel:queries", "first")
            await space.client.publish("channel:responses", "not for us")
            assert await heard.get() == b"first"
            feed.on_connected(again.set)
            await cut_subscriptions(space)
            await again.wait()
            await space.client.publish("channel:queries", "second")
            assert await heard.get() == b"second"
            stop()
            feed.listen(keys.CHANNEL_QUERIES, lambda payload: heard.put_nowait(b"other"))
            await space.client.publish("channel:queries", "third")
            assert await heard.get() == b"other"

    run(story)


def test_followers_end_with_the_feed(run: Run) -> None:
    async def story(space: Space) -> None:
        async with space.feed() as feed:
            follower = feed.follow(0)
            waiting = asyncio.ensure_future(anext(follower, None))
            await asyncio.sleep(0)
        assert await waiting is None

    run(story)
