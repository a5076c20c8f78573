"""Asking the shards over the channels, whoever holds them: the bridge, or workers elsewhere."""

from __future__ import annotations

from ifmem import clock
from ifmem.bus.bus import Bus
from ifmem.bus.feed import Feed
from ifmem.bus.queries import Gathered, Queries
from ifmem.errors import Invalid, NotFound
from ifmem.runtime.recalling import require_question
from ifmem.runtime.space import Space
from ifmem.wire.answers import QueryAnswer, ShardAnswer
from ifmem.wire.calls import QueryCall
from ifmem.wire.queries import Query, Response


async def query(space: Space, call: QueryCall) -> QueryAnswer:
    """Ask the holders of the shards; returns by the deadline and names who was silent.

    Raises:
        Invalid: an empty or oversize question, or a deadline or token limit that is none.
        NotFound: the named shard does not exist.
        Unavailable: the bus did not answer.
    """
    started = clock.stopwatch_ns()
    asked = Query(
        query_id=clock.new_id(),
        timestamp=clock.stamp(clock.now()),
        sender=space.worker_id,
        question=require_question(call.question),
        shard_hint=call.shard,
        max_tokens=call.max_tokens,
        archive="never",
    )
    if call.deadline_seconds <= 0 or call.max_tokens < 1:
        raise Invalid("deadline_seconds must be above 0 and max_tokens at least 1")
    gathered = await ask_holders(
        space.bus, space.feed, asked, gather=call.gather, seconds=call.deadline_seconds
    )
    best = gathered.best
    found = best is not None and best.found
    return QueryAnswer(
        query_id=asked.query_id,
        answer=best.answer if best is not None and found else None,
        found=found,
        sources=list(best.sources) if best is not None and found else [],
        shards_missing=sorted(gathered.missing),
        responses=[_shape(one) for one in gathered.responses],
        elapsed_ms=clock.milliseconds_since(started),
    )


async def ask_holders(
    bus: Bus, feed: Feed, query: Query, *, gather: bool, seconds: float
) -> Gathered:
    """Ask the shard that a query names, or every active one; what came by the deadline.

    A shard that nobody holds is missing from the start; without a hint, only when all are wanted.

    Raises:
        NotFound: the named shard does not exist.
        Unavailable: the bus did not answer.
    """
    _, states = await bus.shards()
    hint = query.shard_hint
    meant = [one for one in states if hint is None or one.number == hint]
    if hint is not None and not meant:
        raise NotFound(
            f"there is no shard {hint}: `ifmem shards` lists those there are", shard=hint
        )
    active = {one.number for one in meant if one.active}
    held_by_nobody = {one.number for one in meant} - active if gather or hint is not None else set()
    if not active:
        return Gathered((), frozenset(held_by_nobody))
    queries = Queries(bus.client, bus.keys, feed)
    gathered = await queries.ask(query, active, gather=gather, seconds=seconds)
    return Gathered(gathered.responses, gathered.missing | held_by_nobody)


def _shape(response: Response) -> ShardAnswer:
    return ShardAnswer(
        shard=response.shard_id,
        answer=response.answer if response.found else None,
        found=response.found,
        confidence=response.confidence,
        sources=list(response.sources),
        tokens_used=response.tokens_used,
        context_size=response.context_size,
    )
