"""The measuring process of ``bench load``: it is given a URL and nothing else, and times loading.

Run as ``python -m ifmem.benchmarks.load_probe``: one JSON object in, one out.
"""

from __future__ import annotations

import asyncio
import hashlib
import sys
from collections.abc import Awaitable, Callable, Iterator, Sequence
from pathlib import Path

import msgspec

from ifmem import clock
from ifmem.bus.bus import Bus
from ifmem.bus.connection import connect
from ifmem.bus.state import Context
from ifmem.settings import RedisSettings
from ifmem.wire.blob import BlobPassage

_NOWHERE = Path("/nonexistent")
"""With a URL given, the directory of an embedded server is not used."""


class ProbeCall(msgspec.Struct, frozen=True):
    url: str
    space: str
    shards: tuple[int, ...]
    n: int
    warm_up: int


class ProbeResult(msgspec.Struct, frozen=True):
    samples_ms: dict[str, list[float]]
    per_shard_ms: list[float]
    """Time of each single shard while all are loaded over connections of their own."""
    tokens: int
    passages: int
    digests: dict[str, str]
    """By source: sha256 of the text that was loaded."""


async def probe(call: ProbeCall) -> ProbeResult:
    """Load the shards again and again, in the three modes of B1."""
    settings = RedisSettings(url=call.url)
    servers = [await connect(settings, _NOWHERE) for _ in call.shards]
    buses = [Bus(server.client, server.keys(call.space)) for server in servers]
    per_shard: list[float] = []

    async def one_pipeline() -> list[Context]:
        return (await buses[0].load_contexts(call.shards, {}))[0]

    async def sequential() -> list[Context]:
        return [(await buses[0].load_contexts([n], {}))[0][0] for n in call.shards]

    async def timed(bus: Bus, number: int) -> Context:
        started = clock.stopwatch_ns()
        (context,), _ = await bus.load_contexts([number], {})
        per_shard.append(clock.milliseconds_since(started))
        return context

    async def connections() -> list[Context]:
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(timed(bus, n)) for bus, n in zip(buses, call.shards, strict=True)
            ]
        return [task.result() for task in tasks]

    try:
        modes = {"one_pipeline": one_pipeline, "sequential": sequential, "connections": connections}
        samples = {}
        for name, mode in modes.items():
            await _repeat(mode, call.warm_up)
            per_shard.clear()
            samples[name] = await _repeat(mode, call.n)
        contexts = await one_pipeline()
    finally:
        for server in servers:
            await server.client.aclose()
    return ProbeResult(
        samples_ms=samples,
        per_shard_ms=per_shard,
        tokens=sum(passage.tokens for passage in _passages(contexts)),
        passages=sum(1 for _ in _passages(contexts)),
        digests=digests(contexts),
    )


def digests(contexts: Sequence[Context]) -> dict[str, str]:
    """By source: sha256 of its text as the contexts have it."""
    made: dict[str, hashlib._Hash] = {}
    for context in contexts:
        for loaded in context.parts:
            digest = made.setdefault(loaded.part.source, hashlib.sha256())
            for text in loaded.texts:
                digest.update(text.encode())
    return {source: digest.hexdigest() for source, digest in made.items()}


def _passages(contexts: Sequence[Context]) -> Iterator[BlobPassage]:
    return (p for context in contexts for loaded in context.parts for p in loaded.part.passages)


async def _repeat(mode: Callable[[], Awaitable[object]], n: int) -> list[float]:
    samples = []
    for _ in range(n):
        started = clock.stopwatch_ns()
        loaded = await mode()
        samples.append(clock.milliseconds_since(started))
        # Freed outside the measured time, as a reader who keeps what it loaded would see it.
        del loaded
    return samples


if __name__ == "__main__":
    given = msgspec.json.decode(sys.stdin.buffer.read(), type=ProbeCall)
    sys.stdout.buffer.write(msgspec.json.encode(asyncio.run(probe(given))))
