"""Questions on ``channel:queries`` and their answers on ``channel:responses``.

Pub/sub carries both, so either may be lost: a question that is not answered is sent once more, and
whoever answers says the same again.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection
from dataclasses import dataclass
from functools import partial

import msgspec
from redis.asyncio import Redis

from ifmem import clock
from ifmem.bus.feed import Feed
from ifmem.bus.replies import translated
from ifmem.engine.fanout import Answered, DeadlinePassed, FanOut
from ifmem.errors import Invalid
from ifmem.wire import keys
from ifmem.wire.keys import Keys
from ifmem.wire.queries import Query, Response, read_response

log = logging.getLogger(__name__)

_MOST_UNREAD = 1_000
"""Responses to one query that wait to be looked at; more are not listened to."""


@dataclass(frozen=True, slots=True)
class Gathered:
    """What came until enough had answered, or the time was up."""

    responses: tuple[Response, ...]
    """In the order in which they came, one for a shard."""
    missing: frozenset[int]
    """Shards that were waited for in vain."""

    @property
    def best(self) -> Response | None:
        """The surest of those that found something, else the last; None when nobody answered."""
        found = [one for one in self.responses if one.found]
        if found:
            return max(found, key=lambda one: one.confidence)
        return self.responses[-1] if self.responses else None


class Queries:
    """The two channels of one space."""

    def __init__(self, client: Redis, keys: Keys, feed: Feed) -> None:
        self.keys = keys
        self._client = client
        self._feed = feed

    async def ask(
        self, query: Query, shards: Collection[int], *, gather: bool, seconds: float
    ) -> Gathered:
        """Ask the shards, and wait for the first that found something or for all of them.

        Args:
            query: with an id of its own.
            shards: those that may answer; what others say is ignored.
            gather: wait for all; else the first that found something ends it.
            seconds: then it returns with what has come. At half of it the query is sent again.

        Raises:
            Unavailable: the query could not be sent.
        """
        heard: asyncio.Queue[Response] = asyncio.Queue(_MOST_UNREAD)
        stop = self._feed.listen(keys.CHANNEL_RESPONSES, partial(_hear, query.query_id, heard))
        ends = clock.monotonic() + seconds
        try:
            return await self._gathered(query, FanOut.of(shards), heard, gather, ends, seconds / 2)
        finally:
            stop()

    async def announce(self, query: Query) -> None:
        """Say that a question is there; who answers it knows from where.

        Raises:
            Unavailable: it could not be sent.
        """
        await self._publish(keys.CHANNEL_QUERIES, query)

    async def respond(self, response: Response) -> None:
        """Publish an answer; the absence of one is null, with the seed's fields beside it."""
        fields = msgspec.to_builtins(response)
        if response.librarian is None:
            del fields["librarian"]
        if not response.found:
            fields |= {"answer": None, "sources": []}
        await self._publish(keys.CHANNEL_RESPONSES, fields)

    async def now_ms(self) -> int:
        """The server's clock."""
        async with translated():
            seconds, micros = await self._client.time()
        return int(seconds) * 1000 + int(micros) // 1000

    async def _gathered(
        self,
        query: Query,
        state: FanOut[Response],
        heard: asyncio.Queue[Response],
        gather: bool,
        ends: float,
        half: float,
    ) -> Gathered:
        # Answers are heard only while the subscription stands.
        asked_again = await self._connects_late(half)
        await self._publish(keys.CHANNEL_QUERIES, query)
        while not state.done:
            until = ends if asked_again else ends - half
            try:
                async with asyncio.timeout(max(0.0, until - clock.monotonic())):
                    response = await heard.get()
            except TimeoutError:
                if asked_again:
                    state = state.step(DeadlinePassed())
                    continue
                asked_again = True
                await self._publish(keys.CHANNEL_QUERIES, query)
                continue
            is_new = response.shard_id in state.waiting_for
            state = state.step(Answered(response.shard_id, response))
            if is_new and response.found and not gather:
                return Gathered((response,), frozenset())
        responses = tuple(response for _, response in state.results)
        return Gathered(responses if gather else responses[-1:], state.missing)

    async def _connects_late(self, seconds: float) -> bool:
        try:
            async with asyncio.timeout(seconds):
                await self._feed.connected()
        except TimeoutError:
            return True
        return False

    async def _publish(self, channel: keys.KeyKind, message: object) -> None:
        async with translated():
            await self._client.publish(self.keys.of(channel), msgspec.json.encode(message))


def _hear(query_id: str, heard: asyncio.Queue[Response], payload: bytes) -> None:
    try:
        response = read_response(payload)
    except Invalid as error:
        log.debug("a response cannot be read: %s", error.message)
        return
    # A librarian's number is no shard's.
    is_of_shard = response.librarian is None
    if is_of_shard and response.query_id == query_id and not heard.full():
        heard.put_nowait(response)
