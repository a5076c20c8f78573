"""Completions over MCP, in both eras, over a real daemon."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest
from mcp import Client, MCPError
from mcp_types import Completion, PromptReference, ResourceTemplateReference

from ifmem.domain.grant import Scope
from ifmem.wire.calls import TaskPostCall
from ifmem.wire.shapes import TaskShape

sys.path.insert(0, str(Path(__file__).parent))
import memory_calls as memory

FINDING = "memory://findings/{id}"
ERAS = pytest.mark.parametrize("mode", ["auto", "legacy"])


async def completed(client: Client, of: str, name: str, begun: str) -> Completion:
    """What a prompt's argument, or a part of a template, may go on with."""
    ref = (
        ResourceTemplateReference(uri=of) if of.startswith("memory:") else PromptReference(name=of)
    )
    done = await client.complete(ref, {"name": name, "value": begun})
    assert len(done.completion.values) <= 100
    return done.completion


@ERAS
def test_ids_topics_and_numbers_are_completed(calls: memory.SocketCalls, mode: str) -> None:
    async def story() -> None:
        server, who = memory.server_of(calls), memory.caller(memory.own_space())
        ids = [
            (await calls.remember("Said.", who.space, topic=topic)).finding_id
            for topic in ("wick", "oil", "wind")
        ]
        await calls.remember("Hidden.", who.space, topic="wizard", trust="quarantined")
        async with memory.client_of(server, who, mode) as client:
            assert (await completed(client, FINDING, "id", "")).values == sorted(ids)
            assert (await completed(client, FINDING, "id", ids[0][:20])).values == [ids[0]]
            assert (await completed(client, "brief", "topic", "wi")).values == ["wind", "wick"]
            assert (await completed(client, "brief", "max_tokens", "1")).values == ["1000", "10000"]
            numbers = await completed(client, "memory://shards/{n}", "n", "")
            assert (numbers.values, numbers.total) == (["1", "2", "3", "4"], 4)
            assert (await completed(client, "memory://shards/{n}", "n", "3")).values == ["3"]

    asyncio.run(story())


def test_open_tasks_are_completed_for_a_handoff(calls: memory.SocketCalls) -> None:
    async def story() -> None:
        server, who = memory.server_of(calls), memory.caller(memory.own_space())
        posted = [
            await calls.call(
                "task_post", TaskPostCall(title=title), returns=TaskShape, space=who.space
            )
            for title in ("Trim the wick", "Light the lamp")
        ]
        async with memory.client_of(server, who) as client:
            every = await completed(client, "handoff", "task", "")
            assert sorted(every.values) == sorted(one.task_id for one in posted)
            one = await completed(client, "handoff", "task", posted[0].task_id[:30])
            assert posted[0].task_id in one.values

    asyncio.run(story())


def test_more_than_the_protocol_takes_is_said_and_not_sent(calls: memory.SocketCalls) -> None:
    async def story() -> None:
        server, who = memory.server_of(calls), memory.caller(memory.own_space())
        for number in range(101):
            await calls.remember("Said.", who.space, topic=f"lamp {number}")
        async with memory.client_of(server, who) as client:
            for of, name in ((FINDING, "id"), ("brief", "topic")):
                found = await completed(client, of, name, "")
                assert (len(found.values), found.has_more) == (100, True)

    asyncio.run(story())


@ERAS
def test_what_cannot_be_completed_has_no_values_and_what_is_not_there_is_refused(
    calls: memory.SocketCalls, mode: str
) -> None:
    async def story() -> None:
        server = memory.server_of(calls)
        async with memory.client_of(server, memory.caller(memory.own_space()), mode) as client:
            for of, name, begun in (
                ("brief", "colour", ""),
                (FINDING, "n", ""),
                (FINDING, "id", "wick%"),
                ("memory://findings{?before}", "before", ""),
            ):
                assert (await completed(client, of, name, begun)).values == []
            for of in ("recap", "memory://lamps/{n}"):
                with pytest.raises(MCPError, match="there is no") as refused:
                    await completed(client, of, "n", "")
                assert refused.value.code == -32602

    asyncio.run(story())


def test_who_may_not_read_is_told_nothing(calls: memory.SocketCalls) -> None:
    async def story() -> None:
        server = memory.server_of(calls)
        writer = memory.caller(scopes=frozenset({Scope.WRITE}))
        async with memory.client_of(server, writer) as client:
            with pytest.raises(MCPError, match="scope `read`"):
                await completed(client, FINDING, "id", "")

    asyncio.run(story())
