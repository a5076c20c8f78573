"""Bare Redis pub/sub under chaos: the peer of ``delivery``, which shows what it loses.

A subscriber is a process: ``python -m ifmem.benchmarks.plain_pubsub URL CHANNEL FILE``.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec

from ifmem import clock
from ifmem.benchmarks.chaos import ChaosEvent
from ifmem.benchmarks.seen_findings import Delivery, Seen, SeenLog, delivery, read_seen
from ifmem.benchmarks.struck_processes import struck_processes
from ifmem.bus.connection import Server, connect
from ifmem.errors import Failed
from ifmem.settings import RedisSettings

_NOWHERE = Path("/nonexistent")
"""With a URL given, the directory of an embedded server is not used."""
_PATIENCE_SECONDS = 60.0
_LOOK_SECONDS = 0.01
_CALL, _END = b"call", b"end"


class PlainMessage(msgspec.Struct, frozen=True, array_like=True):
    """What is published: a finding's number, its time, and text to give it a finding's size."""

    number: int
    published_ns: int
    text: str


async def plain_pubsub(
    url: str,
    directory: Path,
    *,
    findings: int,
    per_second: float,
    subscribers: int,
    events: Sequence[ChaosEvent],
    size: int = 600,
) -> tuple[Delivery, list[float]]:
    """Publish at a pace while subscribers are killed and paused.

    A killed subscriber is started again at once. After the last finding each subscriber gets all
    the time it needs for what is on its way to it.

    Args:
        directory: where each subscriber writes what it has seen.
        size: bytes of text in each message.

    Returns:
        What was lost, and the milliseconds from publishing to seeing of all that was seen.

    Raises:
        Failed: the subscribers do not come up, or do not end.
    """
    channel = "bench:plain-pubsub"
    files = [directory / f"plain-{index}.seen" for index in range(subscribers)]

    def command(index: int) -> list[str]:
        module = "ifmem.benchmarks.plain_pubsub"
        return [sys.executable, "-m", module, url, channel, str(files[index])]

    server = await connect(RedisSettings(url=url), _NOWHERE)
    try:
        async with struck_processes(subscribers, command) as processes:
            await _until_subscribed(server, channel, subscribers)
            async with asyncio.TaskGroup() as group:
                group.create_task(processes.play(events))
                group.create_task(_publish(server, channel, findings, per_second, "x" * size))
            await _until_subscribed(server, channel, subscribers)
            async with asyncio.TaskGroup() as group:
                ended = group.create_task(processes.ended(within_seconds=_PATIENCE_SECONDS))
                # Again and again: the server may have counted the connection of one just killed.
                while not ended.done():
                    await server.client.publish(channel, _END)
                    await asyncio.sleep(_LOOK_SECONDS)
    finally:
        await server.client.aclose()
    seen = [read_seen(file) for file in files]
    return delivery(findings, seen), [one.waited_ms for by_one in seen for one in by_one]


async def _publish(
    server: Server, channel: str, findings: int, per_second: float, text: str
) -> None:
    began = clock.monotonic()
    for number in range(findings):
        ahead = began + number / per_second - clock.monotonic()
        if ahead > 0:
            await asyncio.sleep(ahead)
        message = PlainMessage(number, clock.stopwatch_ns(), text)
        await server.client.publish(channel, msgspec.json.encode(message))


async def _until_subscribed(server: Server, channel: str, subscribers: int) -> None:
    deadline = clock.monotonic() + _PATIENCE_SECONDS
    while True:
        # Not PUBSUB NUMSUB: Valkey 9.1.2 answers it with a number from nowhere at 8, 15 and 16.
        there = await server.client.publish(channel, _CALL)
        if there == subscribers:
            return
        if clock.monotonic() > deadline:
            raise Failed(f"{there} of {subscribers} subscribers are there; is the machine stuck?")
        await asyncio.sleep(_LOOK_SECONDS)


async def subscribe(url: str, channel: str, file: Path) -> None:
    """Write down each finding that is seen, until the end is announced."""
    server = await connect(RedisSettings(url=url), _NOWHERE)
    try:
        async with server.client.pubsub(ignore_subscribe_messages=True) as listener:
            await listener.subscribe(channel)
            with SeenLog(file) as log:
                async for message in listener.listen():
                    if message["data"] == _END:
                        return
                    if message["data"] == _CALL:
                        continue
                    told = msgspec.json.decode(message["data"], type=PlainMessage)
                    log.append(Seen(told.number, told.published_ns, clock.stopwatch_ns()))
    finally:
        await server.client.aclose()


if __name__ == "__main__":
    asyncio.run(subscribe(sys.argv[1], sys.argv[2], Path(sys.argv[3])))
