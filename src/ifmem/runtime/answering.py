"""Answering the questions on the channel of queries, for the shards that a process holds.

A bridge answers by its index, a worker from the contexts it holds: ``Answering`` is given both,
which shards are held now and how one of them answers.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Collection, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial

from ifmem import clock, tokens
from ifmem.bus.bus import Bus
from ifmem.bus.feed import Feed
from ifmem.bus.queries import Queries
from ifmem.engine import synthesis
from ifmem.engine.analysis import terms
from ifmem.engine.evidence import question_weights
from ifmem.errors import Invalid, NotFound, Unavailable
from ifmem.runtime.archive_channel import adopt
from ifmem.runtime.asking import ask
from ifmem.runtime.space import Space
from ifmem.store import shards
from ifmem.wire import keys
from ifmem.wire.answers import CitationShape
from ifmem.wire.calls import AskCall
from ifmem.wire.queries import ONLY, Query, Response, read_query

log = logging.getLogger(__name__)

STALE = timedelta(minutes=5)
"""An older question is nobody's any more."""
MOST_TOKENS = 4_000
"""o200k tokens of an answer, whatever the question allows."""
MOST_WAITING = 1_000
"""Questions that wait to be answered; more are dropped, and come again if they matter."""
REMEMBERED = 1_000
"""Answers kept, to say the same again."""
_AT_ONCE = 2

Held = Callable[[], Awaitable[Collection[int]]]
"""The shards that this process holds and has loaded now."""
AnswerShard = Callable[[Query, int], Awaitable[Response]]
"""How one of them answers.

Raises ``Invalid`` for a question that cannot be answered, ``Unavailable`` when it may be later.
"""

AskArchive = Callable[[Query, bool], Awaitable[None]]
"""Has the librarians answer, if they are to; told whether a shard of ours has found something."""


async def answer_queries(space: Space) -> None:
    """Answer for the shards that the bridge itself holds, until cancelled.

    Raises:
        Unavailable: the bus did not answer.
    """
    answer = partial(answer_from_index, space)
    await Answering(
        space.bus,
        space.feed,
        held=partial(_held, space),
        answer=answer,
        ask_archive=partial(adopt, space),
    ).run()


class Answering:
    """Answers queries, each once for every shard; the same query again gets the same answer."""

    def __init__(
        self,
        bus: Bus,
        feed: Feed,
        *,
        held: Held,
        answer: AnswerShard,
        ask_archive: AskArchive | None = None,
    ) -> None:
        self._queries = Queries(bus.client, bus.keys, feed)
        self._dead_letter = bus.log.dead_letter
        self._feed = feed
        self._held = held
        self._answer = answer
        self._ask_archive = ask_archive
        self._said: OrderedDict[tuple[str, int], Response | None] = OrderedDict()
        """None while it is being answered."""

    async def run(self) -> None:
        """Answer until cancelled.

        Raises:
            Unavailable: the bus did not answer.
        """
        arrived: asyncio.Queue[bytes] = asyncio.Queue(MOST_WAITING)
        stop = self._feed.listen(keys.CHANNEL_QUERIES, partial(_arrive, arrived))
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(_AT_ONCE):
                    group.create_task(self._work(arrived))
        finally:
            stop()

    async def _work(self, arrived: asyncio.Queue[bytes]) -> None:
        while True:
            payload = await arrived.get()
            try:
                await self._take(payload)
            except Invalid as error:
                await self._dead_letter(
                    origin=self._feed.keys.of(keys.CHANNEL_QUERIES),
                    reason=error.message,
                    message=payload,
                )

    async def _take(self, payload: bytes) -> None:
        query = read_query(payload)
        asked_at = _moment(query.timestamp)
        now = datetime.fromtimestamp(await self._queries.now_ms() / 1000, UTC)
        if asked_at is not None and now - asked_at > STALE:
            log.info("query %s is older than five minutes and is not answered", query.query_id)
            return
        found = False
        for number in await self._wanted(query):
            response = await self._once(query, number)
            if response is not None:
                await self._queries.respond(response)
                found = found or response.found
        if self._ask_archive is not None:
            await self._ask_archive(query, found)

    async def _wanted(self, query: Query) -> Collection[int]:
        """The shards of ours that answer it."""
        if query.archive == ONLY:
            return ()
        held = await self._held()
        return sorted(held) if query.shard_hint is None else {query.shard_hint} & set(held)

    async def _once(self, query: Query, shard: int) -> Response | None:
        """The answer of a shard; None while it is worked out already, or cannot be."""
        key = (query.query_id, shard)
        if key in self._said:
            return self._said[key]
        self._said[key] = None
        try:
            self._said[key] = response = await self._answer(query, shard)
        except (NotFound, Unavailable) as error:
            log.info("query %s has no answer of shard %d: %s", *key, error.message)
            return None
        finally:
            if self._said.get(key) is None:
                self._said.pop(key, None)
            while len(self._said) > REMEMBERED:
                self._said.popitem(last=False)
        return response


async def answer_from_index(space: Space, query: Query, shard: int) -> Response:
    """The answer of one shard to a query.

    Its confidence is the share of the question's weight that the answer's quotes hold.

    Raises:
        Invalid: the question is too long.
        Unavailable: the shard could not answer in time, or is held by somebody else now.
    """
    deadline = space.settings.ask.deadline_seconds
    # Whoever may write to the bus may ask: that costs nothing.
    call = AskCall(
        question=query.question, shard=shard, model=synthesis.MODEL, deadline_seconds=deadline
    )
    answer = await ask(space, call)
    if answer.shards_asked != [shard] or answer.shards_missing:
        raise Unavailable(f"shard {shard} did not answer", shard=shard)
    text, cited = _within(answer.citations, min(query.max_tokens, MOST_TOKENS))
    usage = answer.usage
    return Response(
        query_id=query.query_id,
        shard_id=shard,
        timestamp=clock.stamp(clock.now()),
        answer=text,
        confidence=await space.compute(_share_held, space, query.question, cited),
        sources=tuple(_source(one) for one in cited),
        tokens_used=usage.uncached + usage.cache_write + usage.cache_read + usage.output,
        context_size=await _size(space, shard),
        found=answer.found,
    )


async def _held(space: Space) -> Collection[int]:
    _, states = await space.bus.shards()
    return [one.number for one in states if one.active and one.worker == space.worker_id]


async def _size(space: Space, number: int) -> int:
    return next((s.tokens for s in await space.read(shards.all_shards) if s.number == number), 0)


def _within(citations: Sequence[CitationShape], budget: int) -> tuple[str, Sequence[CitationShape]]:
    """The answer that fits a budget of tokens, and the citations that stand in it."""
    for count in range(len(citations), 0, -1):
        text = synthesis.compose([one.quote for one in citations[:count]])
        if tokens.count(text) <= budget:
            return text, citations[:count]
    if not citations:
        return "", ()
    words = synthesis.compose([citations[0].quote]).split()
    while words and tokens.count(" ".join([*words, "…"])) > budget:
        words.pop()
    return " ".join([*words, "…"]), citations[:1]


def _share_held(space: Space, question: str, cited: Sequence[CitationShape]) -> float:
    weights = question_weights(question, space.index.idf)
    held = weights.keys() & {term for one in cited for term in terms(one.quote)}
    total = sum(weights.values())
    return round(sum(weights[term] for term in held) / total, 3) if total > 0 else 0.0


def _source(citation: CitationShape) -> str:
    if citation.lines is None:
        return citation.source
    return f"{citation.source}:{citation.lines[0]}-{citation.lines[1]}"


def _moment(timestamp: str) -> datetime | None:
    """When a query was asked; None when it does not say. Without a zone, UTC is meant."""
    if not timestamp:
        return None
    try:
        moment = datetime.fromisoformat(timestamp)
    except ValueError as error:
        raise Invalid(f"a query's timestamp is no date: {timestamp[:40]!r}") from error
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _arrive(arrived: asyncio.Queue[bytes], payload: bytes) -> None:
    if arrived.full():
        log.warning("more than %d queries wait: one was dropped", MOST_WAITING)
        return
    arrived.put_nowait(payload)
