"""Questions over the channels of a real server, with a seed's asker and several who answer."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import redis

from ifmem.bus.address import read_url
from ifmem.bus.bus import Bus
from ifmem.bus.client import open_client
from ifmem.bus.feed import Feed
from ifmem.bus.queries import Gathered, Queries
from ifmem.clock import monotonic, new_id
from ifmem.domain.shard import Shard, Speciality
from ifmem.errors import Invalid, NotFound, Unavailable
from ifmem.runtime.answering import Answering
from ifmem.runtime.querying import ask_holders
from ifmem.wire import keys
from ifmem.wire.blob import Manifest
from ifmem.wire.queries import Query, Response

PATIENCE_S = 30.0
SHORT_S = 0.6
ENOUGH_S = 3.0
"""For an answer on a busy machine, where the whole of it is waited for."""
NOW = "2999-01-01T00:00:00Z"
"""No question of these tests is old but those that say so."""


class Archive:
    """What a responder of a test holds, and how often it was asked."""

    def __init__(self, texts: dict[int, str | Exception]) -> None:
        self.texts = texts
        self.asked: list[tuple[str, int]] = []
        self.was_asked = asyncio.Event()
        self.may_answer = asyncio.Event()
        self.may_answer.set()

    async def held(self) -> Iterable[int]:
        return self.texts.keys()

    async def answer(self, query: Query, shard: int) -> Response:
        self.asked.append((query.query_id, shard))
        self.was_asked.set()
        await self.may_answer.wait()
        text = self.texts[shard]
        if isinstance(text, Exception):
            raise text
        found = bool(text)
        return Response(
            query_id=query.query_id,
            shard_id=shard,
            timestamp=NOW,
            answer=text,
            confidence=0.5 + shard / 10 if found else 0.0,
            sources=(f"/notes/{shard}.md:1-2",) if found else (),
            found=found,
        )


class Bench:
    """One server with everybody on it."""

    def __init__(self, url: str, plain: redis.Redis) -> None:
        self.plain = plain
        self.client = open_client(read_url(url), True, None)
        self.bus = Bus(self.client)
        self._url = url
        self._raw = redis.Redis.from_url(url)
        self._heard = self._raw.pubsub(ignore_subscribe_messages=True)
        self._heard.subscribe("channel:responses", "channel:queries")

    async def shard(self, number: int, worker: str = "w") -> None:
        await self.bus.beat(worker, expiry_seconds=60)
        shard = Shard(number=number, speciality=Speciality.FILES_GIT, capacity=10, tokens=2)
        await self.bus.put_shard(
            shard, bridge=worker, manifest=Manifest(number, 0, 0, ()), new_blobs={}, replaced=()
        )

    @asynccontextmanager
    async def feed(self) -> AsyncIterator[Feed]:
        subscriber = open_client(read_url(self._url), True, None)
        feed = Feed(self.client, self.bus.findings, subscriber)
        async with asyncio.TaskGroup() as group:
            running = group.create_task(feed.run())
            async with asyncio.timeout(PATIENCE_S):
                await feed.connected()
            yield feed
            running.cancel()
        await subscriber.aclose()

    @asynccontextmanager
    async def responder(self, archive: Archive) -> AsyncIterator[None]:
        async with self.feed() as feed, asyncio.TaskGroup() as group:
            answering = Answering(self.bus, feed, held=archive.held, answer=archive.answer)
            running = group.create_task(answering.run())
            # Its listener is there once it waits for the first question.
            await asyncio.sleep(0)
            yield
            running.cancel()

    async def ask(
        self, shards: Iterable[int], *, gather: bool = False, seconds: float = PATIENCE_S
    ) -> Gathered:
        query = Query(query_id=new_id(), timestamp=NOW, sender="ada", question="What is it?")
        async with self.feed() as feed:
            asking = Queries(self.client, self.bus.keys, feed)
            return await asking.ask(query, list(shards), gather=gather, seconds=seconds)

    def publish(self, message: Any) -> None:
        body = message if isinstance(message, (str, bytes)) else json.dumps(message)
        self.plain.publish("channel:queries", body)

    async def heard(self, channel: str = "channel:responses") -> Any:
        """The next message there, as a plain client reads it."""
        deadline = monotonic() + PATIENCE_S
        while monotonic() < deadline:
            message = await asyncio.to_thread(self._heard.get_message, timeout=0.1)
            if message is not None and message["channel"] == channel.encode():
                return json.loads(message["data"])
        raise AssertionError("nothing was heard in time")

    async def letters(self, count: int) -> list[dict[str, str]]:
        deadline = monotonic() + PATIENCE_S
        while len(rows := self.plain.xrange("ifmem:1:dead-letters")) < count:
            assert monotonic() < deadline, f"{len(rows)} dead letters, not {count}"
            await asyncio.sleep(0.01)
        return [fields for _, fields in rows]

    async def close(self) -> None:
        self._heard.close()
        self._raw.close()
        await self.client.aclose()


Scene = Callable[[Bench], Awaitable[None]]


@pytest.fixture
def run(server_url: str, plain: redis.Redis) -> Callable[[Scene], None]:
    """Plays a scene on an empty server."""

    def play(scene: Scene) -> None:
        async def all_of_it() -> None:
            bench = Bench(server_url, plain)
            try:
                async with asyncio.timeout(2 * PATIENCE_S):
                    await scene(bench)
            finally:
                await bench.close()

        asyncio.run(all_of_it())

    return play


def seed_query(**fields: Any) -> dict[str, Any]:
    return {
        "query_id": "q-1",
        "timestamp": NOW,
        "from": "coordinator",
        "question": "What turns?",
        **fields,
    }


def test_a_plain_client_that_writes_the_seeds_form_reads_the_seeds_form(
    run: Callable[[Scene], None],
) -> None:
    async def scene(bench: Bench) -> None:
        async with bench.responder(Archive({2: "The light turns [1]"})):
            bench.publish(seed_query(shard_hint=2))
            assert await bench.heard() == {
                "query_id": "q-1",
                "shard_id": 2,
                "timestamp": NOW,
                "answer": "The light turns [1]",
                "confidence": 0.7,
                "sources": ["/notes/2.md:1-2"],
                "tokens_used": 0,
                "context_size": 0,
                "found": True,
            }

    run(scene)


def test_what_is_not_in_the_archive_is_answered_with_null_and_no_sources(
    run: Callable[[Scene], None],
) -> None:
    async def scene(bench: Bench) -> None:
        async with bench.responder(Archive({2: ""})):
            bench.publish(seed_query())
            said = await bench.heard()
            assert (said["answer"], said["found"], said["sources"]) == (None, False, [])
            assert (said["query_id"], said["confidence"]) == ("q-1", 0.0)

    run(scene)


def test_a_question_for_a_shard_held_elsewhere_is_left_to_its_holder(
    run: Callable[[Scene], None],
) -> None:
    async def scene(bench: Bench) -> None:
        ours, theirs = Archive({1: "ours"}), Archive({2: "theirs"})
        async with bench.responder(ours), bench.responder(theirs):
            bench.publish(seed_query(shard_hint=2))
            assert (await bench.heard())["answer"] == "theirs"
            bench.publish(seed_query(query_id="q-2", shard_hint="shard1"))
            assert (await bench.heard())["answer"] == "ours"
            assert (ours.asked, theirs.asked) == ([("q-2", 1)], [("q-1", 2)])

    run(scene)


def test_a_repeated_question_is_worked_out_once_and_answered_each_time(
    run: Callable[[Scene], None],
) -> None:
    async def scene(bench: Bench) -> None:
        archive = Archive({1: "once"})
        async with bench.responder(archive):
            archive.may_answer.clear()
            bench.publish(seed_query())
            bench.publish(seed_query())
            await archive.was_asked.wait()
            archive.may_answer.set()
            first = await bench.heard()
            bench.publish(seed_query())
            assert await bench.heard() == first
            assert archive.asked == [("q-1", 1)]

    run(scene)


def test_garbage_is_kept_as_dead_letters_and_old_questions_are_dropped(
    run: Callable[[Scene], None],
) -> None:
    async def scene(bench: Bench) -> None:
        archive = Archive({1: "still here", 3: Invalid("it is too long")})
        async with bench.responder(archive):
            bench.publish(b"\xff\x00 no JSON")
            bench.publish([1, 2])
            bench.publish(seed_query(question="  "))
            bench.publish(seed_query(timestamp="yesterday"))
            bench.publish(seed_query(timestamp="2020-01-01T00:00:00"))
            bench.publish(seed_query(query_id="q-3", shard_hint=3))
            bench.publish(seed_query(query_id="q-1", shard_hint=1))
            said = await bench.heard()
            assert (said["query_id"], said["answer"]) == ("q-1", "still here")
            letters = await bench.letters(5)
            assert {one["origin"] for one in letters} == {"channel:queries"}
            assert "it is too long" in {one["reason"] for one in letters}
            assert sorted(archive.asked) == [("q-1", 1), ("q-3", 3)]

    run(scene)


def test_the_first_that_found_something_ends_the_wait(run: Callable[[Scene], None]) -> None:
    async def scene(bench: Bench) -> None:
        silent = Archive({3: "later"})
        silent.may_answer.clear()
        async with (
            bench.responder(Archive({1: ""})),
            bench.responder(Archive({2: "found"})),
            bench.responder(silent),
        ):
            gathered = await bench.ask([1, 2, 3])
            assert [one.answer for one in gathered.responses] == ["found"]
            assert gathered.missing == frozenset()

    run(scene)


def test_when_nobody_found_anything_the_last_answer_says_so(run: Callable[[Scene], None]) -> None:
    async def scene(bench: Bench) -> None:
        async with bench.responder(Archive({1: "", 2: ""})):
            gathered = await bench.ask([1, 2])
            assert [one.found for one in gathered.responses] == [False]
            assert gathered.best is not None
            assert not gathered.best.found

    run(scene)


def test_gathering_waits_for_all_and_names_who_was_silent_at_the_deadline(
    run: Callable[[Scene], None],
) -> None:
    async def scene(bench: Bench) -> None:
        async with (
            bench.responder(Archive({1: "one"})),
            bench.responder(Archive({2: "two"})),
            bench.responder(Archive({4: Unavailable("not now")})),
        ):
            whole = await bench.ask([1, 2], gather=True)
            assert sorted(one.answer for one in whole.responses) == ["one", "two"]
            assert whole.missing == frozenset()
            assert whole.best is not None
            assert whole.best.answer == "two"
            part = await bench.ask([1, 2, 3, 4], gather=True, seconds=ENOUGH_S)
            assert sorted(one.shard_id for one in part.responses) == [1, 2]
            assert part.missing == {3, 4}

    run(scene)


def test_an_unanswered_question_is_sent_once_more_at_half_the_deadline(
    run: Callable[[Scene], None],
) -> None:
    async def scene(bench: Bench) -> None:
        gathered = await bench.ask([1], seconds=SHORT_S)
        assert gathered == Gathered((), frozenset({1}))
        assert gathered.best is None
        first, again = [await bench.heard("channel:queries") for _ in range(2)]
        assert first == again
        assert bench._heard.get_message(timeout=0.05) is None

    run(scene)


def test_a_responder_that_comes_late_is_reached_by_the_second_sending(
    run: Callable[[Scene], None],
) -> None:
    async def scene(bench: Bench) -> None:
        async with asyncio.TaskGroup() as group:
            asking = group.create_task(bench.ask([1], seconds=2 * ENOUGH_S))
            await bench.heard("channel:queries")
            async with bench.responder(Archive({1: "better late"})):
                gathered = await asking
        assert [one.answer for one in gathered.responses] == ["better late"]

    run(scene)


def test_answers_to_others_of_others_and_no_answers_at_all_change_nothing(
    run: Callable[[Scene], None],
) -> None:
    async def scene(bench: Bench) -> None:
        async with asyncio.TaskGroup() as group:
            asking = group.create_task(bench.ask([1], gather=True))
            query = await bench.heard("channel:queries")
            foreign = {"query_id": "q-9", "shard_id": 1, "answer": "of another question"}
            uninvited = {"query_id": query["query_id"], "shard_id": 7, "answer": "uninvited"}
            for message in ("no JSON", "{}", json.dumps(foreign), json.dumps(uninvited)):
                bench.plain.publish("channel:responses", message)
            # A seed's librarian answers in its own words, under its own name of the shard.
            said = {
                "query_id": query["query_id"],
                "shard_id": "librarian-1",
                "answer": "NOT IN ARCHIVE",
                "sources": ["made/up.md:1-2"],
            }
            bench.plain.publish("channel:responses", json.dumps(said))
            gathered = await asking
        (response,) = gathered.responses
        assert (response.shard_id, response.found, response.sources) == (1, False, ())

    run(scene)


def test_the_holders_of_the_active_shards_are_asked_and_the_others_named(
    run: Callable[[Scene], None],
) -> None:
    async def scene(bench: Bench) -> None:
        for number in (1, 2, 3):
            await bench.shard(number)
        await bench.bus.set_ready(3, "w", active=False)
        asked = Query(query_id="q-1", timestamp=NOW, sender="ada", question="What is it?")
        archive = Archive({1: "one", 2: "two"})
        async with bench.responder(archive), bench.feed() as feed:

            async def ask(**options: Any) -> Gathered:
                query = Query(
                    query_id=new_id(), timestamp=NOW, sender="ada", question="?", **options
                )
                return await ask_holders(bench.bus, feed, query, gather=True, seconds=PATIENCE_S)

            everybody = await ask()
            assert sorted(one.answer for one in everybody.responses) == ["one", "two"]
            assert everybody.missing == {3}
            assert [one.answer for one in (await ask(shard_hint=2)).responses] == ["two"]
            assert await ask(shard_hint=3) == Gathered((), frozenset({3}))
            with pytest.raises(NotFound, match="no shard 9"):
                await ask(shard_hint=9)
            assert asked.query_id not in {query_id for query_id, _ in archive.asked}

    run(scene)


def test_every_key_of_a_named_space_has_its_own_channels(
    run: Callable[[Scene], None],
) -> None:
    async def scene(bench: Bench) -> None:
        acme = Bus(bench.client, keys.Keys("acme"))
        archive = Archive({1: "ours"})
        async with bench.responder(archive), bench.feed() as feed:
            query = Query(query_id="q-1", timestamp=NOW, sender="ada", question="?")
            asking = Queries(acme.client, acme.keys, feed)
            gathered = await asking.ask(query, [1], gather=False, seconds=SHORT_S)
            assert gathered.missing == {1}
            assert archive.asked == []

    run(scene)
