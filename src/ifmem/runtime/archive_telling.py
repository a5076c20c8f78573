"""Telling the channels of questions to the archive and of their answers."""

from __future__ import annotations

import asyncio
import contextlib

import msgspec

from ifmem import clock, tokens
from ifmem.bus.queries import Queries
from ifmem.errors import Unavailable
from ifmem.runtime.librarian_tries import Asked
from ifmem.runtime.space import Space
from ifmem.store.archive_query_rows import ArchiveQuery
from ifmem.wire.answers import Answer, CitationShape
from ifmem.wire.queries import ONLY, Query, Response

MOST_TOKENS = 4_000
"""o200k tokens of an answer on the channel, whatever the question allows."""


async def announce(space: Space, query: ArchiveQuery) -> None:
    """Say on the channel of queries that a question is there, unless it came from there."""
    if asked_of(query).on_channel or query.standing.fence > 1 or not space.attached.is_set():
        return
    message = Query(
        query_id=query.query_id,
        timestamp=query.asked_at,
        sender=space.worker_id,
        question=query.question,
        archive=ONLY,
        librarian=query.hint,
    )
    with contextlib.suppress(Unavailable):
        await _queries(space).announce(message)


async def respond(space: Space, query: ArchiveQuery, answer: Answer) -> None:
    """Say an answer that is in the store on the channel of responses."""
    if not space.attached.is_set():
        return
    response = await asyncio.to_thread(response_of, query, answer, space.desk.loaded)
    with contextlib.suppress(Unavailable):
        await _queries(space).respond(response)


def response_of(query: ArchiveQuery, answer: Answer, loaded: dict[int, int]) -> Response:
    """An answer as the channel carries it: the librarian's number stands where a shard's does."""
    number = answer.librarian or 0
    usage = answer.usage
    most = min(asked_of(query).max_tokens or MOST_TOKENS, MOST_TOKENS)
    return Response(
        query_id=query.query_id,
        shard_id=number,
        timestamp=clock.stamp(clock.now()),
        answer=_within(answer.answer or "", most),
        confidence=answer.confidence,
        sources=tuple(map(_source, answer.citations)),
        tokens_used=usage.uncached + usage.cache_write + usage.cache_read + usage.output,
        context_size=loaded.get(number, 0),
        found=answer.found,
        librarian=f"librarian-{number}",
    )


def asked_of(query: ArchiveQuery) -> Asked:
    """What was asked beside the question."""
    return msgspec.json.decode(query.params, type=Asked)


def _within(text: str, most: int) -> str:
    words = text.split(" ")
    while len(words) > 1 and tokens.count(" ".join(words)) > most:
        # A word is a token at least, so this ends after a few rounds.
        words = [*words[: min(len(words) - 2, most)], "…"]
    return " ".join(words)


def _source(one: CitationShape) -> str:
    if one.lines is None:
        return one.source
    return f"{one.source}:{one.lines[0]}-{one.lines[1]}"


def _queries(space: Space) -> Queries:
    return Queries(space.bus.client, space.bus.keys, space.feed)
