"""Following the findings for a caller: from a cursor, from now on, or from where a consumer is."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from typing import Any

from ifmem import clock
from ifmem.engine.following import Filter, Row
from ifmem.errors import Invalid
from ifmem.runtime.listening import Emitter
from ifmem.runtime.space import Space
from ifmem.store import consumers, findings
from ifmem.wire.calls import AcknowledgeCall, FollowCall

MAX_NAME_CHARACTERS = 100


async def follow(space: Space, call: FollowCall, emit: Emitter) -> dict[str, Any]:
    """Tell the caller of each finding until it goes away or the daemon ends.

    The first event says from which cursor on; a caller that does not read is waited for.

    Raises:
        Invalid: a cursor or the consumer's name breaks its rule.
    """
    follower = space.feed.follow(await _start(space, call), _wanted(call))
    emit({"following": {"cursor": str(follower.cursor)}})
    unlisten = space.feed.on_forgotten(lambda said: emit({"forgotten": asdict(said)}))
    try:
        async for line in follower:
            emit({"finding": line})
            await emit.drained()
    except asyncio.CancelledError:
        # Somebody ended the daemon; a caller that is still there waits for the next.
        emit({"ending": {}})
        raise
    except ConnectionError:
        # The caller has gone; whoever reads its calls notices as well.
        return {}
    finally:
        unlisten()
        follower.close()
    emit({"ending": {}})
    return {"cursor": str(follower.cursor)}


async def acknowledge(space: Space, call: AcknowledgeCall) -> dict[str, Any]:
    """Note that a consumer is done with everything up to a cursor.

    Raises:
        Invalid: the cursor or the consumer's name breaks its rule.
    """
    work = partial(
        consumers.acknowledge,
        name=_name(call.consumer),
        cursor=_sequence(call.cursor),
        at=clock.stamp(clock.now()),
    )
    return {"consumer": call.consumer, "cursor": str(await space.write(work))}


async def read_older(space: Space, after: int, limit: int) -> Sequence[Row]:
    """What the bus no longer has: the store's findings after a sequence, in order."""
    rows = await space.read(partial(findings.since, sequence=after, limit=limit))
    return [Row(row.sequence, row.body) for row in rows]


async def _start(space: Space, call: FollowCall) -> int:
    """The sequence that the caller has already: everything after it is told."""
    if call.resume is not None:
        return _sequence(call.resume)
    since = None if call.since is None else _sequence(call.since)
    if call.consumer is None:
        return await _now(space) if since is None else since
    name = _name(call.consumer)
    known = await space.read(partial(consumers.cursor_of, name=name))
    if known is not None:
        return known
    begin = await _now(space) if since is None else since
    at = clock.stamp(clock.now())
    return await space.write(partial(consumers.begin, name=name, cursor=begin, at=at))


async def _now(space: Space) -> int:
    # The bus may have been emptied and not yet rebuilt.
    return max(await space.insist(space.feed.now), await space.read(findings.last_sequence))


def _wanted(call: FollowCall) -> Filter:
    return Filter(
        topic=call.topic,
        task=call.task,
        worker=call.worker,
        tag=call.tag,
        run=call.run,
        since=call.said_since,
        sources=call.source,
    )


def _sequence(cursor: str) -> int:
    if not (cursor.isascii() and cursor.isdecimal() and len(cursor) < 19):
        raise Invalid(
            f"{cursor[:40]!r} is no cursor: give one that `findings` printed, or 0", cursor=cursor
        )
    return int(cursor)


def _name(consumer: str) -> str:
    if not consumer.strip() or len(consumer) > MAX_NAME_CHARACTERS or not consumer.isprintable():
        raise Invalid(
            f"a consumer's name has 1 to {MAX_NAME_CHARACTERS} printable characters",
            consumer=consumer[:MAX_NAME_CHARACTERS],
        )
    return consumer
