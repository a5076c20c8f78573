"""How a call is made: scopes, trust, progress, cancellation, and what is said of lost answers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from mcp import Client

from ifmem.domain.finding import Trust
from ifmem.domain.grant import EVERY_SCOPE, Scope
from ifmem.errors import BudgetExceeded, OutcomeUnknown
from ifmem.mcp_server.port import Caller, caller_of_connection
from ifmem.mcp_server.server import build_server
from ifmem.mcp_server.tool_table import TOOLS

Agents = Callable[..., Any]

ADA = Caller(agent="ada", space="default", root="/p", directory="/p", roots=("/p",))
NEEDED = {
    "read": {"recall", "ask", "changes", "status"},
    "admin": {"forget"},
}
ARGUMENTS: dict[str, dict[str, Any]] = {
    "recall": {"query": "x"},
    "ask": {"question": "x"},
    "remember": {"claim": "x"},
    "load": {"text": "x", "source": "chat:x"},
    "task_post": {"title": "x"},
    "task_renew": {"task_id": "x", "fence": "1-1"},
    "task_release": {"task_id": "x", "fence": "1-1"},
    "task_cancel": {"task_id": "x"},
    "task_finish": {"task_id": "x", "fence": "1-1"},
    "forget": {"id": "x"},
}


class Scripted:
    """A memory whose every verb does the same, and which remembers what it was asked."""

    def __init__(self, does: Callable[..., Any]) -> None:
        self.asked: list[tuple[str, Any, str]] = []
        self._does = does

    async def call(
        self, method: str, params: Any, *, returns: Any, space: str, on_event: Any = None
    ) -> Any:
        self.asked.append((method, params, space))
        return await self._does(on_event)


async def _lost(_: Any) -> Any:
    raise OutcomeUnknown("the daemon ended before it answered")


def called(memory: Any, tool: str, caller: Caller | None = ADA, mode: str = "auto") -> Any:
    async def run() -> Any:
        mark = caller_of_connection.set(caller) if caller is not None else None
        try:
            async with Client(build_server(memory, version="1"), mode=mode) as client:
                return await client.call_tool(tool, ARGUMENTS.get(tool, {}))
        finally:
            if mark is not None:
                caller_of_connection.reset(mark)

    return asyncio.run(run())


@pytest.mark.parametrize("tool", TOOLS)
def test_a_tool_reaches_the_memory_only_with_its_scope(tool: str) -> None:
    needed = next((scope for scope, names in NEEDED.items() if tool in names), "write")
    memory = Scripted(_lost)
    without = Caller(agent="ada", space="default", scopes=frozenset(EVERY_SCOPE - {Scope(needed)}))
    told = called(memory, tool, without)
    assert told.is_error
    assert told.structured_content["error"] == "NotPermitted"
    assert told.structured_content["facts"] == {"scope": needed, "tool": tool}
    assert memory.asked == []
    alone = Caller(agent="ada", space="other", scopes=frozenset({Scope(needed)}))
    called(memory, tool, alone)
    assert [space for _, _, space in memory.asked] == ["other"]


def test_nobody_is_served_unnamed(era: str) -> None:
    memory = Scripted(_lost)
    told = called(memory, "recall", None, mode=era)
    assert told.structured_content["error"] == "NotPermitted"
    assert memory.asked == []


def test_what_a_caller_is_bound_to_goes_with_every_call() -> None:
    memory = Scripted(_lost)
    bound = Caller(
        agent="eve", space="s", root="/p", directory="/p", roots=("/p", "/q"),
        trust=Trust.QUARANTINED, sees_captured=True,
    )  # fmt: skip
    for tool in TOOLS:
        called(memory, tool, bound)
    asked = {method: params for method, params, _ in memory.asked}
    assert asked["recall"].filters.root == asked["ask"].filters.root == "/p"
    assert asked["recall"].captured
    assert asked["ask"].captured
    assert asked["remember"].finding["worker_id"] == "eve"
    assert asked["findings"].filters.root is None
    assert asked["task_post"].posted_by == "eve"
    assert asked["task_cancel"].actor == "eve"
    for method in ("task_claim", "task_renew", "task_release", "task_finish"):
        assert asked[method].worker == "eve"
    for method in ("remember", "task_finish"):
        assert asked[method].trust == "quarantined"
        assert asked[method].within == ("/p", "/q")
    memory = Scripted(_lost)
    called(memory, "load", replace(bound, trust=Trust.AGENT))
    assert [params.within for method, params, _ in memory.asked] == [("/p", "/q")]


def test_documents_of_somebody_in_quarantine_are_not_taken() -> None:
    memory = Scripted(_lost)
    told = called(memory, "load", Caller(agent="eve", space="s", trust=Trust.QUARANTINED))
    assert told.structured_content["error"] == "NotPermitted"
    assert memory.asked == []


def test_a_caller_without_roots_is_fenced_in_all_the_same() -> None:
    memory = Scripted(_lost)
    called(memory, "remember", Caller(agent="eve", space="s"))
    ((_, params, _),) = memory.asked
    assert params.within == ()


@pytest.mark.parametrize(("tool", "name"), [("remember", "id"), ("task_post", "task_id")])
def test_a_lost_answer_names_the_id_to_repeat_it_with(tool: str, name: str) -> None:
    memory = Scripted(_lost)
    told = called(memory, tool)
    ((_, params, _),) = memory.asked
    sent = params.finding["finding_id"] if tool == "remember" else params.id
    assert told.structured_content["error"] == "OutcomeUnknown"
    assert told.structured_content["facts"] == {name: sent}
    assert sent in told.structured_content["message"]
    assert sent in told.content[0].text


def test_a_limit_says_what_was_found_so_far_and_no_more_than_fits() -> None:
    async def spent(_: Any) -> Any:
        raise BudgetExceeded("too dear " * 1_000, so_far={"answer": "half"}, all=["x" * 9_000])

    told = called(Scripted(spent), "ask")
    assert told.structured_content["facts"] == {"so_far": {"answer": "half"}}
    assert len(told.content[0].text) < 8_000
    assert '"half"' in told.content[0].text


def test_a_load_tells_how_far_it_is(agents: Agents, desk: Any, era: str) -> None:
    for number in range(30):
        desk.write(f"{era}/{number}.md", f"The {number}th barge.\n" * 50)
    told: list[tuple[float, float | None, str | None]] = []

    async def talk(ada: Any) -> Any:
        async def heard(done: float, total: float | None, message: str | None) -> None:
            told.append((done, total, message))

        await ada.client.call_tool("load", {"paths": [era]}, progress_callback=heard)

    agents(talk, mode=era)
    assert told
    assert [done for done, _, _ in told] == sorted(done for done, _, _ in told)
    assert {total for _, total, _ in told} == {30}
    assert all(message and message.endswith(".md") for _, _, message in told)


def test_a_call_that_is_cancelled_ends_the_daemons(era: str) -> None:
    async def run() -> bool:
        begun, ended = asyncio.Event(), asyncio.Event()

        async def wait(on_event: Any) -> Any:
            on_event({"progress": {"done": 1, "total": 2, "path": "/p/a"}})
            begun.set()
            try:
                await asyncio.Event().wait()
            finally:
                ended.set()

        caller_of_connection.set(ADA)
        async with Client(build_server(Scripted(wait), version="1"), mode=era) as client:
            call = asyncio.ensure_future(client.call_tool("load", {"paths": ["a"]}))
            await asyncio.wait_for(begun.wait(), 20)
            call.cancel()
            await asyncio.wait_for(ended.wait(), 20)
            # The connection serves on.
            await client.list_tools()
        return ended.is_set()

    assert asyncio.run(run())
