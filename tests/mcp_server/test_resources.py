"""Resources over MCP, in both eras, over a real daemon."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import pytest
from mcp import Client, MCPError

from ifmem import tokens
from ifmem.domain.grant import Scope
from ifmem.mcp_server.resources import MOST_SOURCES, MOST_TOKENS
from ifmem.wire.calls import ForgetCall, LoadTextCall
from ifmem.wire.shapes import Forgotten, LoadReport

sys.path.insert(0, str(Path(__file__).parent))
import memory_calls as memory

MISSING = "00000000-0000-4000-8000-000000000000"
ERAS = pytest.mark.parametrize(("mode", "missing"), [("auto", -32602), ("legacy", -32002)])


async def read(client: Client, uri: str) -> Any:
    """What the resource says; it is JSON, and not too much."""
    (content,) = (await client.read_resource(uri)).contents
    assert (content.uri, content.mime_type) == (uri, "application/json")
    assert tokens.count(content.text) <= MOST_TOKENS
    return json.loads(content.text)


@ERAS
def test_the_lists_are_the_same_each_time(
    calls: memory.SocketCalls, mode: str, missing: int
) -> None:
    async def story() -> None:
        server, who = memory.server_of(calls), memory.caller(memory.own_space())
        async with memory.client_of(server, who, mode, cache=None) as client:
            listed = await client.list_resources()
            assert [one.uri for one in listed.resources] == [
                "memory://findings",
                "memory://context/active",
                *(f"memory://shards/{n}" for n in range(1, 5)),
            ]
            assert listed.next_cursor is None
            assert await client.list_resources() == listed
            templates = await client.list_resource_templates()
            assert [one.uri_template for one in templates.resource_templates] == [
                "memory://findings{?before}",
                "memory://findings/{id}",
                "memory://shards/{n}",
            ]
            for one in (*listed.resources, *templates.resource_templates):
                assert one.mime_type == "application/json" and one.description and one.title
            for cursor in ("x", "-1", "9" * 30):
                with pytest.raises(MCPError, match="no cursor") as refused:
                    await client.list_resources(cursor=cursor)
                assert refused.value.code == -32602
            assert (await client.list_resources(cursor="3")).resources == listed.resources[-1:]

    asyncio.run(story())


@ERAS
def test_a_finding_is_read_by_its_id_with_all_it_says(
    calls: memory.SocketCalls, mode: str, missing: int
) -> None:
    async def story() -> None:
        server, who = memory.server_of(calls), memory.caller(memory.own_space())
        async with memory.client_of(server, who, mode) as client:
            cited = "https://example.org/wick"
            stored = await calls.remember(
                "Wicks are cotton.", who.space, worker_id="ada", topic="wick", citations=[cited]
            )
            said = await read(client, f"memory://findings/{stored.finding_id}")
            assert (said["claim"], said["worker_id"], said["trust"], said["topic"]) == (
                "Wicks are cotton.",
                "ada",
                "agent",
                "wick",
            )
            assert said["timestamp"].endswith("Z") and said["cursor"] == stored.cursor
            assert said["citations"] == [cited]
            assert "never instructions" in said["notice"]

    asyncio.run(story())


@ERAS
def test_what_is_not_there_has_the_code_of_its_era(
    calls: memory.SocketCalls, mode: str, missing: int
) -> None:
    async def story() -> None:
        server, who = memory.server_of(calls), memory.caller(memory.own_space())
        forgotten = (await calls.remember("Never mind.", who.space)).finding_id
        await calls.call("forget", ForgetCall(forgotten), returns=Forgotten, space=who.space)
        quarantined = await calls.remember("Trust me.", who.space, trust="quarantined")
        async with memory.client_of(server, who, mode) as client:
            for uri in (
                f"memory://findings/{MISSING}",
                f"memory://findings/{forgotten}",
                f"memory://findings/{quarantined.finding_id}",
                "memory://findings/wick",
                "memory://findings?before=",
                "memory://shards/0",
                "memory://shards/99",
                "memory://shards/1/2",
                "memory://context",
                "file:///etc/passwd",
                "",
            ):
                with pytest.raises(MCPError) as refused:
                    await client.read_resource(uri)
                assert refused.value.code == missing, uri

    asyncio.run(story())


@ERAS
def test_the_newest_findings_are_paged_and_the_pages_join_to_all(
    calls: memory.SocketCalls, mode: str, missing: int
) -> None:
    async def story() -> None:
        server, who = memory.server_of(calls), memory.caller(memory.own_space())
        said = [
            (await calls.remember(f"Fact {n}: " + "oil lamp " * 40, who.space)).finding_id
            for n in range(30)
        ]
        async with memory.client_of(server, who, mode) as client:
            found: list[str] = []
            uri: str | None = "memory://findings"
            pages = 0
            while uri is not None:
                page = await read(client, uri)
                found += [one["uri"].rpartition("/")[2] for one in page["items"]]
                uri, pages = page["next"], pages + 1
            assert found == said[::-1]
            assert pages > 2

    asyncio.run(story())


def test_a_long_claim_is_cut_in_the_list_and_said_to_be(calls: memory.SocketCalls) -> None:
    async def story() -> None:
        server, who = memory.server_of(calls), memory.caller(memory.own_space())
        claim = "A very long story. " * 1_600
        stored = await calls.remember(claim, who.space, citations=["https://example.org"] * 90)
        async with memory.client_of(server, who) as client:
            (item,) = (await read(client, "memory://findings"))["items"]
            assert claim.startswith(item["claim"])
            assert item["claim_characters"] == len(claim)
            assert item["citations_omitted"] == 85
            whole = await read(client, f"memory://findings/{stored.finding_id}")
            assert whole["cut"] and claim.startswith(whole["claim"])
            assert len(whole["claim"]) > len(item["claim"])
            assert (whole["claim_characters"], whole["citations_omitted"]) == (len(claim), 85)

    asyncio.run(story())


def test_a_shard_tells_its_state_and_the_first_of_its_sources(calls: memory.SocketCalls) -> None:
    async def story() -> None:
        server, who = memory.server_of(calls), memory.caller(memory.own_space())
        for number in range(MOST_SOURCES + 2):
            load = LoadTextCall(text=f"Lamp {number} is lit.", source=f"chat:lamp-{number:03}")
            report = await calls.call("load_text", load, returns=LoadReport, space=who.space)
        (held,) = report.shards
        async with memory.client_of(server, who) as client:
            shard = await read(client, f"memory://shards/{held.shard}")
            assert (shard["shard"], shard["tokens"], shard["capacity"], shard["active"]) == (
                held.shard,
                held.tokens,
                held.capacity,
                True,
            )
            assert [one["source"] for one in shard["sources"]] == [
                f"chat:lamp-{n:03}" for n in range(MOST_SOURCES)
            ]
            assert shard["sources_more"] is True
            other = await read(client, f"memory://shards/{held.shard % 4 + 1}")
            assert (other["tokens"], other["sources"], other["sources_more"]) == (0, [], False)
            context = await read(client, "memory://context/active")
            assert context["context_active"] == held.tokens
            assert [one["tokens"] for one in context["shards"] if one["tokens"]] == [held.tokens]

    asyncio.run(story())


@ERAS
def test_who_may_not_read_gets_nothing(calls: memory.SocketCalls, mode: str, missing: int) -> None:
    async def story() -> None:
        server = memory.server_of(calls)
        writer = memory.caller(scopes=frozenset({Scope.WRITE, Scope.ADMIN}))
        async with memory.client_of(server, writer, mode) as client:
            for step in (client.list_resources(), client.read_resource("memory://findings")):
                with pytest.raises(MCPError, match="scope `read`") as refused:
                    await step
                assert refused.value.code == -32003

    asyncio.run(story())


def test_a_caller_sees_its_own_space(calls: memory.SocketCalls) -> None:
    async def story() -> None:
        server, who = memory.server_of(calls), memory.caller(memory.own_space())
        elsewhere = await calls.remember("Not yours.", memory.own_space())
        await calls.remember("Yours.", who.space)
        async with memory.client_of(server, who) as client:
            page = await read(client, "memory://findings")
            assert [one["claim"] for one in page["items"]] == ["Yours."]
            with pytest.raises(MCPError):
                await client.read_resource(f"memory://findings/{elsewhere.finding_id}")

    asyncio.run(story())
