"""Questions to the archive that are heard on the channel of queries, answered on the other one."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import timedelta
from typing import Any

import pytest

from ifmem import clock
from ifmem.archive_settings import ArchiveSettings
from ifmem.model_settings import ModelSettings
from ifmem.runtime.indexing import reconcile
from ifmem.runtime.librarian_asking import ask_archive
from ifmem.store import archive_queries
from ifmem.wire import keys
from ifmem.wire.calls import AskCall

Open = Callable[..., AbstractAsyncContextManager[Any]]
Say = Callable[..., Awaitable[None]]

PATIENCE_S = 20.0
CLAIM = "The keeper of the harbour light is called Amalia Brandt."
QUESTION = "Who is the keeper of the harbour light?"


class Channels:
    """A plain client of the two channels."""

    def __init__(self, here: Any) -> None:
        self._here = here
        self.responses: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.queries: asyncio.Queue[dict[str, Any]] = asyncio.Queue()

    def listen(self) -> list[Callable[[], None]]:
        feed = self._here.space.feed
        return [
            feed.listen(keys.CHANNEL_RESPONSES, self._put(self.responses)),
            feed.listen(keys.CHANNEL_QUERIES, self._put(self.queries)),
        ]

    @staticmethod
    def _put(queue: asyncio.Queue[dict[str, Any]]) -> Callable[[bytes], None]:
        return lambda payload: queue.put_nowait(json.loads(payload))

    async def say(self, **message: Any) -> None:
        bus = self._here.space.bus
        await bus.client.publish(bus.keys.of(keys.CHANNEL_QUERIES), json.dumps(message))

    async def librarian(self) -> dict[str, Any]:
        """The next response of a librarian."""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                heard = await self.responses.get()
                if heard.get("librarian"):
                    return heard

    async def nobody_but_shards(self, query_id: str) -> None:
        """Wait until a later question was answered: the one before then has had its chance."""
        await self.say(query_id="after", question=QUESTION, shard_hint="librarian-1")
        async with asyncio.timeout(PATIENCE_S):
            while True:
                heard = await self.responses.get()
                assert (heard["query_id"], bool(heard.get("librarian"))) != (query_id, True)
                if heard["query_id"] == "after":
                    return


@asynccontextmanager
async def harbour(desk: Open, **archive: Any) -> AsyncIterator[tuple[Any, Channels]]:
    models = ModelSettings(default="extractive", keep_hot="off")
    async with desk(models, archive=ArchiveSettings(**archive)) as here:
        finding = {"finding_id": clock.new_id(), "claim": CLAIM, "session_id": "earlier"}
        await here.call("remember", finding=finding)
        space = here.space
        await space.write(lambda c: c.execute("UPDATE finding SET archived = 1").rowcount)
        reconcile(space, space.archive, archived=True)
        reconcile(space, space.index)
        async with asyncio.timeout(PATIENCE_S):
            await space.feed.connected()
        channels = Channels(here)
        ends = channels.listen()
        yield here, channels
        for end in ends:
            end()


def test_a_bare_query_that_no_shard_answers_is_answered_by_a_librarian_in_the_seeds_form(
    desk: Open,
) -> None:
    async def run() -> None:
        async with harbour(desk) as (here, channels):
            await channels.say(query_id="q-1", question=QUESTION, **{"from": "agent"})
            said = await channels.librarian()
            assert said["query_id"] == "q-1"
            assert (said["shard_id"], said["librarian"], said["found"]) == (1, "librarian-1", True)
            assert said["answer"] == f"{CLAIM} [1]"
            assert said["sources"][0].startswith("finding:")
            assert said["confidence"] > 0.5
            assert said["tokens_used"] == 0
            stored = await here.space.read(lambda c: archive_queries.require(c, "q-1"))
            assert (stored.sender, stored.response is not None) == ("agent", True)

    asyncio.run(run())


def test_a_librarian_that_is_named_answers_alone_also_out_of_an_envelope(desk: Open) -> None:
    async def run() -> None:
        async with harbour(desk) as (_, channels):
            query = {"query_id": "q-2", "question": QUESTION, "shard_hint": "librarian-2"}
            await channels.say(tracking_id="t-1", origin="agent", contents=query)
            async with asyncio.timeout(PATIENCE_S):
                first = await channels.responses.get()
            assert (first["query_id"], first["librarian"]) == ("q-2", "librarian-2")

    asyncio.run(run())


def test_nothing_found_is_said_with_null_and_without_sources(desk: Open) -> None:
    async def run() -> None:
        async with harbour(desk) as (_, channels):
            await channels.say(
                query_id="q-3", question="Who was Bartholomew Quimby?", shard_hint="librarian"
            )
            said = await channels.librarian()
            assert (said["found"], said["answer"], said["sources"]) == (False, None, [])

    asyncio.run(run())


def test_the_same_query_again_gets_the_same_answer_and_is_stored_once(desk: Open) -> None:
    async def run() -> None:
        async with harbour(desk) as (here, channels):
            for _ in range(2):
                await channels.say(query_id="q-4", question=QUESTION, archive="only")
                said = await channels.librarian()
                assert said["answer"] == f"{CLAIM} [1]"
            rows = await here.space.read(
                lambda c: c.execute("SELECT fence FROM archive_query").fetchall()
            )
            assert rows == [(1,)]

    asyncio.run(run())


@pytest.mark.parametrize(
    ("message", "mode"),
    [
        ({"archive": "never"}, "always"),
        ({}, "never"),
        ({"timestamp": "stale", "archive": "always"}, "auto"),
    ],
)
def test_a_query_that_is_not_for_the_archive_or_too_old_is_not_answered_from_it(
    desk: Open, message: dict[str, Any], mode: str
) -> None:
    async def run() -> None:
        async with harbour(desk, mode=mode) as (_, channels):
            if message.get("timestamp"):
                message["timestamp"] = clock.stamp(clock.now() - timedelta(minutes=6))
            await channels.say(query_id="q-5", question=QUESTION, **message)
            await channels.nobody_but_shards("q-5")

    asyncio.run(run())


def test_what_a_shard_has_found_is_not_asked_of_the_archive_unless_always(desk: Open) -> None:
    async def run() -> None:
        async with harbour(desk) as (here, channels):
            await here.load({"one/light.md": "The keeper of the harbour light is Iris Falk.\n"})
            await channels.say(query_id="q-6", question=QUESTION)
            await channels.nobody_but_shards("q-6")
            await channels.say(query_id="q-7", question=QUESTION, archive="always")
            assert (await channels.librarian())["query_id"] == "q-7"

    asyncio.run(run())


def test_a_question_of_the_library_is_announced_on_the_channel_and_so_is_its_answer(
    desk: Open,
) -> None:
    async def run() -> None:
        async with harbour(desk) as (here, channels):
            answer = await ask_archive(here.space, AskCall(QUESTION), None)
            async with asyncio.timeout(PATIENCE_S):
                heard = await channels.queries.get()
            assert (heard["query_id"], heard["question"]) == (answer.query_id, QUESTION)
            assert heard["from"] == here.space.worker_id
            said = await channels.librarian()
            assert (said["query_id"], said["answer"]) == (answer.query_id, answer.answer)

    asyncio.run(run())
