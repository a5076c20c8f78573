"""The library's verbs as calls on the wire."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import uuid
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

import ifmem
from ifmem import Invalid, Memory, OutcomeUnknown, Progress, Unavailable

REPORT = {
    "documents": 1,
    "passages": 2,
    "tokens": 30,
    "bytes": 100,
    "seconds": 0.1,
    "masked": 0,
    "skipped": [],
    "shards": [],
}
ANSWER = {
    "answer": "Three.",
    "found": True,
    "citations": [],
    "shards_asked": [1],
    "shards_missing": [],
    "model": "extractive",
    "usage": {},
    "cost_usd": "0",
    "elapsed_ms": 1.0,
    "query_id": "q",
}
STORED = {"result": {"finding_id": "f", "cursor": "1", "outcome": "stored"}}


def _with_memory(daemon: Any, use: Callable[[Memory], Coroutine[Any, Any, Any]]) -> Any:
    async def run() -> Any:
        async with asyncio.timeout(10), Memory.open(settings=daemon.settings) as memory:
            return await use(memory)

    return asyncio.run(run())


def test_a_load_names_absolute_paths_and_reports_progress(daemon: Any) -> None:
    seen: list[Progress] = []
    progress = {"progress": {"done": 1, "total": 3, "path": "/a"}}
    daemon.on("load", {"event": progress}, {"result": REPORT})
    report = _with_memory(daemon, lambda memory: memory.load("here", on_progress=seen.append))
    assert report.tokens == 30
    assert seen == [Progress(1, 3, "/a")]
    assert daemon.asked("load")[0]["paths"] == [str(Path.cwd() / "here")]


def test_a_cancelled_load_hangs_up_so_that_the_daemon_stops(daemon: Any) -> None:
    async def cancel(memory: Memory) -> None:
        async with asyncio.TaskGroup() as group:
            begun = asyncio.Event()
            task = group.create_task(memory.load("x", on_progress=lambda _: begun.set()))
            await begun.wait()
            task.cancel()
        # Before the memory is closed: the cancelling itself ended the connection.
        assert await asyncio.to_thread(daemon.hung_up.wait, 5)

    daemon.on("load", {"event": {"progress": {"done": 0, "total": 9}}})
    _with_memory(daemon, cancel)


def test_asking_over_paths_loads_them_and_asks_only_them(daemon: Any, tmp_path: Path) -> None:
    daemon.on("load", {"result": REPORT})
    daemon.on("ask", {"result": ANSWER})
    answer = _with_memory(daemon, lambda memory: memory.ask("How many?", over=[tmp_path]))
    assert answer.text == "Three."
    assert [call["method"] for call in daemon.calls[1:]] == ["load", "ask"]
    assert daemon.asked("ask")[0]["filters"]["source"] == [str(tmp_path.resolve())]


def test_a_bad_question_costs_no_call(daemon: Any) -> None:
    with pytest.raises(Invalid):
        _with_memory(daemon, lambda memory: memory.ask("", over=["src"]))
    assert [call["method"] for call in daemon.calls] == ["hello"]


@pytest.mark.parametrize("name", ["two words", "a\nb", "\x1b[31mred", "x" * 65])
def test_what_cannot_name_a_run_stores_nothing_in_it(daemon: Any, name: str) -> None:
    async def run() -> None:
        settings = msgspec.structs.replace(daemon.settings, run=name)
        async with asyncio.timeout(10), Memory.open(settings=settings) as memory:
            with pytest.raises(Invalid, match="cannot name a run"):
                await memory.remember("It is 3")

    asyncio.run(run())
    assert [call["method"] for call in daemon.calls] == ["hello"]


@pytest.mark.parametrize("field", ["confidence", "value"])
@pytest.mark.parametrize("given", [float("nan"), float("inf")])
def test_a_number_that_json_has_not_is_named_and_not_sent(
    daemon: Any, field: str, given: float
) -> None:
    async def remember(memory: Memory) -> None:
        with pytest.raises(Invalid, match=f"{field} must be a finite number; it is {given}"):
            await memory.remember("It is 3", **{field: given})

    _with_memory(daemon, remember)
    assert [call["method"] for call in daemon.calls] == ["hello"]


def test_what_is_remembered_has_an_id_before_it_is_sent(daemon: Any) -> None:
    daemon.on("remember", STORED)
    _with_memory(daemon, lambda memory: memory.remember("It is 3", cite="a.py:4", tags=["x"]))
    finding = daemon.asked("remember")[0]["finding"]
    assert uuid.UUID(finding["finding_id"])
    assert finding["citations"] == [{"source": str(Path.cwd() / "a.py"), "lines": [4, 4]}]
    assert finding["tags"] == ["x"]


def test_a_lost_remember_tells_the_id_to_repeat_it_with(daemon: Any) -> None:
    daemon.on("remember", None)
    with pytest.raises(OutcomeUnknown) as caught:
        _with_memory(daemon, lambda memory: memory.remember("It is 3"))
    sent = daemon.asked("remember")[0]["finding"]["finding_id"]
    assert caught.value.facts["id"] == sent
    assert sent in caught.value.message


def test_an_id_that_is_no_uuid_is_refused_before_it_is_sent(daemon: Any) -> None:
    with pytest.raises(Invalid, match="uuid"):
        _with_memory(daemon, lambda memory: memory.remember("It is 3", id="mine"))
    assert daemon.asked("remember") == []


def _pages(call: dict[str, Any]) -> Iterator[Any]:
    begin = int(call["params"]["since"])
    end = min(begin + min(call["params"]["limit"], 2), 5)
    items = [{"cursor": str(n), "finding": {"n": n}} for n in range(begin + 1, end + 1)]
    yield {"result": {"items": items, "next": str(end) if end < 5 else None}}


@pytest.mark.parametrize(
    ("since", "limit", "expected"),
    [("0", None, [1, 2, 3, 4, 5]), ("3", None, [4, 5]), ("0", 3, [1, 2, 3]), ("1", 2, [2, 3])],
)
def test_findings_go_on_from_page_to_page(
    daemon: Any, since: str, limit: int | None, expected: list[int]
) -> None:
    daemon.script["findings"] = _pages

    async def read(memory: Memory) -> list[int]:
        return [line.finding["n"] async for line in memory.findings(since, limit=limit)]

    assert _with_memory(daemon, read) == expected


def test_findings_since_a_date_are_filtered_from_the_beginning(daemon: Any) -> None:
    daemon.on("findings", {"result": {"items": [], "next": None}})

    async def read(memory: Memory) -> list[Any]:
        return [line async for line in memory.findings("2026-01-31")]

    assert _with_memory(daemon, read) == []
    (asked,) = daemon.asked("findings")
    assert (asked["since"], asked["filters"]["since"]) == ("0", "2026-01-31T00:00:00.000Z")


def test_a_daemon_of_another_version_is_refused(daemon: Any) -> None:
    daemon.hello = {**daemon.hello, "version": "0.0.1"}
    with pytest.raises(Unavailable, match=r"is ifmem 0\.0\.1, .* run `ifmem down`"):
        _with_memory(daemon, lambda memory: memory.spaces())


def test_a_daemon_that_was_just_ending_is_given_up_for_the_next(daemon: Any) -> None:
    def hello(_: dict[str, Any]) -> Iterator[Any]:
        first = len(daemon.calls) == 1
        yield None if first else {"result": daemon.hello}

    daemon.script["hello"] = hello
    daemon.on("spaces", {"result": {"items": []}})
    assert _with_memory(daemon, lambda memory: memory.spaces()).items == []


def test_the_same_verbs_work_without_async(daemon: Any) -> None:
    daemon.script["findings"] = _pages
    daemon.on("ask", {"result": ANSWER})
    daemon.on("remember", STORED)
    with Memory.open_sync(settings=daemon.settings) as memory:
        assert memory.ask("How many?").found
        assert memory.remember("It is 3").cursor == "1"
        assert [line.finding["n"] for line in memory.findings()] == [1, 2, 3, 4, 5]


def test_errors_reach_code_that_is_not_async(daemon: Any) -> None:
    daemon.on("ask", None)
    with Memory.open_sync(settings=daemon.settings) as memory, pytest.raises(Unavailable):
        memory.ask("How many?")


def test_every_public_name_exists_and_the_list_is_sorted() -> None:
    assert sorted(ifmem.__all__) == ifmem.__all__
    assert [name for name in ifmem.__all__ if getattr(ifmem, name).__name__ != name] == []


def test_every_verb_of_the_memory_has_one_of_the_same_name_without_async() -> None:
    def verbs(kind: type) -> set[str]:
        return {name for name in dir(kind) if not name.startswith("_") and name != "settings"}

    assert verbs(Memory) - {"open", "open_sync"} == verbs(ifmem.BlockingMemory)


def test_importing_the_package_imports_nothing_slow() -> None:
    code = (
        "import sys, ifmem; print([m for m in ('asyncio', 'msgspec', 'typer') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
