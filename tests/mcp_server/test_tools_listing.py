"""What clients are shown of the tools and of the server."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from typing import Any

import jsonschema
import pytest
from mcp import Client

from ifmem import tokens
from ifmem.mcp_server.instructions import INSTRUCTIONS
from ifmem.mcp_server.server import build_server
from ifmem.mcp_server.tool_table import TOOLS

CONTRACT = {
    "recall": (
        {"query"},
        {
            "max_tokens": 2000,
            "limit": None,
            "source": None,
            "group": None,
            "since": None,
            "scope": None,
        },
    ),
    "ask": ({"question"}, {"max_tokens": 4000, "max_cost": None}),
    "remember": (
        {"claim"},
        {"citations": [], "confidence": None, "topic": None, "tags": None, "id": None},
    ),
    "load": (set(), {"paths": None, "text": None, "source": None}),
    "changes": (
        set(),
        {
            "cursor": None,
            "limit": None,
            "source": None,
            "group": None,
            "author": None,
            "since": None,
            "until": None,
        },
    ),
    "task_post": (
        {"title"},
        {"data": None, "priority": 5, "depends_on": [], "idempotency_key": None},
    ),
    "task_claim": (set(), {"lease_seconds": 600}),
    "task_renew": ({"task_id", "fence"}, {"lease_seconds": 600}),
    "task_release": ({"task_id", "fence"}, {"assist": False, "reason": None}),
    "task_cancel": ({"task_id"}, {"reason": None}),
    "task_finish": (
        {"task_id", "fence"},
        {"outcome": "done", "claim": None, "citations": [], "reason": None},
    ),
    "forget": ({"id"}, {}),
    "status": (set(), {}),
}


class NoMemory:
    """A memory that nothing is asked of."""

    async def call(self, method: str, *args: Any, **kwargs: Any) -> Any:
        raise AssertionError(f"{method} was called")


def listed(mode: str) -> Any:
    async def run() -> Any:
        async with Client(build_server(NoMemory(), version="1.2.3"), mode=mode) as client:
            return await client.list_tools()

    return asyncio.run(run())


def test_the_tools_are_the_contracts_with_its_arguments_and_defaults(era: str) -> None:
    tools = listed(era).tools
    assert [tool.name for tool in tools] == list(CONTRACT)
    for tool in tools:
        required, optional = CONTRACT[tool.name]
        schema = tool.input_schema
        assert set(schema.get("required", ())) == required
        given = {
            name: one.get("default")
            for name, one in schema["properties"].items()
            if name not in required
        }
        assert given == optional
        assert schema["additionalProperties"] is False


def test_the_list_is_the_same_at_every_time() -> None:
    first, second = (listed("auto").model_dump_json() for _ in range(2))
    assert first == second


def test_a_tool_says_what_it_does_and_whether_it_changes_anything(era: str) -> None:
    for tool in listed(era).tools:
        hints = tool.annotations
        assert tool.title
        assert tool.description
        assert len(tool.description) < 400
        assert None not in (
            hints.read_only_hint,
            hints.destructive_hint,
            hints.idempotent_hint,
            hints.open_world_hint,
        )
        assert not (hints.read_only_hint and hints.destructive_hint)
        always = (tool.meta or {}).get("anthropic/alwaysLoad", False)
        assert always == (tool.name in {"recall", "ask", "remember"})


def _nodes(schema: Any, place: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    if isinstance(schema, dict):
        yield place, schema
        for name, one in schema.items():
            yield from _nodes(one, f"{place}.{name}")
    elif isinstance(schema, list):
        for number, one in enumerate(schema):
            yield from _nodes(one, f"{place}[{number}]")


@pytest.mark.parametrize("name", TOOLS)
def test_a_schema_is_one_that_every_client_reads(name: str) -> None:
    (tool,) = (one for one in listed("auto").tools if one.name == name)
    for schema in (tool.input_schema, tool.output_schema):
        jsonschema.Draft202012Validator.check_schema(schema)
        assert schema["type"] == "object"
        for place, node in _nodes(schema):
            assert "$ref" not in node, place
            assert not isinstance(node.get("type"), list), place
            assert {"prefixItems", "oneOf", "allOf", "not", "if"}.isdisjoint(node), place
            if "enum" in node:
                assert node["type"] == "string", place
            if not place.endswith(".properties"):
                continue
            for key, one in node.items():
                assert one.get("description"), f"{place}.{key} is not described"
                assert "type" in one or "anyOf" in one, f"{place}.{key} may be anything"


def test_what_is_always_in_the_context_is_small() -> None:
    always = [
        tool.model_dump(by_alias=True, exclude_none=True, exclude={"output_schema"})
        for tool in listed("auto").tools
        if tool.name in {"recall", "ask", "remember"}
    ]
    assert tokens.count(json.dumps(always)) < 1_500


def test_the_server_says_who_it_is_and_when_to_use_it(era: str) -> None:
    async def run() -> Any:
        async with Client(build_server(NoMemory(), version="1.2.3"), mode=era) as client:
            return client.server_info, client.instructions, client.server_capabilities

    info, instructions, capabilities = asyncio.run(run())
    assert (info.name, info.version) == ("ifmem", "1.2.3")
    assert info.title
    assert instructions == INSTRUCTIONS
    assert len(INSTRUCTIONS.encode()) <= 2_048
    for name in ("recall", "ask", "remember", "task_claim", "data"):
        assert name in INSTRUCTIONS
    assert capabilities.tools is not None


def test_the_list_may_be_kept_by_any_client() -> None:
    tools = listed("auto")
    assert tools.ttl_ms > 0
    assert tools.cache_scope == "public"


Middleware = Callable[..., Any]


def test_middleware_goes_around_every_request() -> None:
    seen: list[str] = []

    async def watching(context: Any, call_next: Any) -> Any:
        seen.append(context.method)
        return await call_next(context)

    async def run() -> None:
        server = build_server(NoMemory(), version="1", middleware=(watching,))
        async with Client(server, mode="auto") as client:
            await client.list_tools()

    asyncio.run(run())
    assert "tools/list" in seen
