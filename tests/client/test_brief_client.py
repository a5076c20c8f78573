"""The verbs about what is known already, as calls on the wire."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from ifmem import Memory, NotFound

ID = "00000000-0000-4000-8000-000000000001"
BRIEF = {"text": "Known.", "findings": 1, "tokens": 2}
LINE = {"cursor": "7", "finding": {"finding_id": ID, "claim": "Wicks are cotton."}}


def remembering(daemon: Any, story: Callable[[Any], Coroutine[Any, Any, None]]) -> None:
    async def opened() -> None:
        async with Memory.open(home=daemon.home) as memory:
            await story(memory)

    asyncio.run(opened())


def test_a_brief_of_a_project_names_its_directory(daemon: Any) -> None:
    daemon.on("brief", {"result": BRIEF})

    async def story(memory: Any) -> None:
        known = await memory.brief("/home/ada/lamp/", max_tokens=300, topic="wick")
        assert (known.text, known.findings, known.tokens) == ("Known.", 1, 2)
        await memory.brief()

    remembering(daemon, story)
    assert daemon.asked("brief") == [
        {"root": "/home/ada/lamp", "max_tokens": 300, "topic": "wick"},
        {"root": None, "max_tokens": 1_000, "topic": None},
    ]


def test_one_finding_comes_with_its_cursor(daemon: Any) -> None:
    daemon.on("finding", {"result": LINE})

    async def story(memory: Any) -> None:
        line = await memory.finding(ID)
        assert (line.cursor, line.finding["claim"]) == ("7", "Wicks are cotton.")

    remembering(daemon, story)
    assert daemon.asked("finding") == [{"id": ID}]


def test_the_verbs_that_wait_do_the_same(daemon: Any) -> None:
    error = {"error": "NotFound", "message": "there is none", "exit_code": 3, "facts": {}}
    daemon.on("brief", {"result": BRIEF})
    daemon.on("finding", {"error": error})
    with Memory.open_sync(home=daemon.home) as memory:
        assert memory.brief(".", max_tokens=5).text == "Known."
        with pytest.raises(NotFound, match="there is none"):
            memory.finding(ID)
