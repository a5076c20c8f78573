"""How soon an agent hears of what another has found, and what it misses while it is away."""

from __future__ import annotations

import asyncio

from ifmem import clock
from ifmem.benchmarks.agent_clients import StdioAgent, agent_at
from ifmem.benchmarks.throwaway import Throwaway

_WARM_UP = 20
_ROUNDS = 10
_FINDINGS = "memory://findings"


async def heard(place: Throwaway, n: int) -> list[float]:
    """Milliseconds from one agent's call to the other's notification."""
    taken = []
    async with agent_at(place, "reader") as reader, agent_at(place, "writer") as writer:
        for one in (reader, writer):
            await one.shake_hands()
        await reader.request("resources/subscribe", {"uri": _FINDINGS})
        for number in range(n + _WARM_UP):
            started = clock.stopwatch_ns()
            async with asyncio.TaskGroup() as group:
                group.create_task(writer.call("remember", claim=f"Heard of number {number}."))
                await _told(reader, _FINDINGS)
                taken.append(clock.milliseconds_since(started))
    return taken[_WARM_UP:]


async def _told(agent: StdioAgent, uri: str) -> None:
    while True:
        message = await agent.notified.get()
        if message.get("params", {}).get("uri") == uri:
            return


async def caught_up(place: Throwaway, n: int) -> tuple[int, int]:
    """How many findings an agent missed that was away ten times, and how often it came back."""
    async with agent_at(place, "writer") as writer:
        await writer.shake_hands()
        async with agent_at(place, "reader") as reader:
            await reader.shake_hands()
            cursor = await _newest(reader)
        wanted: set[str] = set()
        seen: set[str] = set()
        for turn in range(_ROUNDS):
            async with asyncio.TaskGroup() as group, agent_at(place, "reader") as reader:
                share = range(n * turn // _ROUNDS, n * (turn + 1) // _ROUNDS)
                writing = group.create_task(_write(writer, share, wanted))
                await reader.shake_hands()
                await reader.request("resources/subscribe", {"uri": _FINDINGS})
                cursor = await _catch_up(reader, cursor, seen)
                # It goes away in the middle; the next one begins where this one stopped.
                await asyncio.wait({writing}, timeout=0.02)
        async with agent_at(place, "reader") as reader:
            await reader.shake_hands()
            await _catch_up(reader, cursor, seen)
    return len(wanted - seen), _ROUNDS


async def _write(agent: StdioAgent, numbers: range, wanted: set[str]) -> None:
    for number in numbers:
        said = await agent.call("remember", claim=f"Found number {number}.")
        wanted.add(said["finding_id"])


async def _newest(agent: StdioAgent) -> str:
    cursor = "0"
    while True:
        page = await agent.call("changes", cursor=cursor)
        if not page["items"]:
            return cursor
        cursor = page["cursor"]


async def _catch_up(agent: StdioAgent, cursor: str, seen: set[str]) -> str:
    while True:
        page = await agent.call("changes", cursor=cursor)
        if not page["items"]:
            return cursor
        seen.update(one["finding_id"] for one in page["items"])
        cursor = page["cursor"]
