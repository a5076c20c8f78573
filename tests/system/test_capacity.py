"""Capacity: never exceeded, whoever writes at once; past the last shard a refusal that says so."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

CAPACITY = 8_000
LOADERS = 16


def tree(ifmem: Any, writer: Any, name: str, seed: int) -> Path:
    """About 5,000 tokens for each speciality."""
    pens = writer(seed)
    for number in range(4):
        ifmem.write(f"{name}/src/part{number}.py", pens.code(18))
        ifmem.write(f"{name}/docs/page{number}.md", pens.prose(75))
        ifmem.write(f"{name}/tests/test_part{number}.py", pens.code(18))
        ifmem.write(f"{name}/decisions/{number}.md", pens.prose(75))
    return Path(ifmem.directory / name)


def held(bus: Any) -> tuple[int, dict[int, tuple[int, int]]]:
    """``context:active``, and tokens and capacity of each shard, in one step of the server."""
    numbers = sorted(int(n) for n in bus.smembers("ifmem:1:shards"))
    with bus.pipeline(transaction=True) as pipe:
        pipe.get("context:active")
        for n in numbers:
            pipe.mget(f"context:shard:{n}:tokens", f"context:shard:{n}:capacity")
        active, *rows = pipe.execute()
    return int(active), {n: (int(a), int(b)) for n, (a, b) in zip(numbers, rows, strict=True)}


def test_sixteen_loaders_at_once_never_exceed_a_shard(
    install: Any, writer: Any, finish: Any
) -> None:
    ifmem = install(shards_capacity=str(CAPACITY))
    trees = [tree(ifmem, writer, f"project{n:02}", seed=n) for n in range(LOADERS)]
    seen = 0
    with ifmem.bus() as bus:
        loaders = [ifmem.start("load", path, "--json") for path in trees]
        while any(loader.poll() is None for loader in loaders):
            active, shards = held(bus)
            assert all(tokens <= capacity == CAPACITY for tokens, capacity in shards.values())
            # A sibling may appear between the two questions, never a sum that was not true.
            assert active >= sum(tokens for tokens, _ in shards.values())
            seen += 1
        runs = [finish(loader) for loader in loaders]
        active, shards = held(bus)
    assert seen > 10
    assert [(run.code, run.json["skipped"]) for run in runs] == [(0, [])] * LOADERS
    assert [run.json["documents"] for run in runs] == [16] * LOADERS
    assert active == sum(tokens for tokens, _ in shards.values())
    status = ifmem.status()
    assert {s["shard"]: s["tokens"] for s in status["shards"]} == {
        n: tokens for n, (tokens, _) in shards.items()
    }
    # The store tells the same as the bus.
    sources = ifmem.sources()
    assert len(sources) == 16 * LOADERS
    assert sum(one["tokens"] for one in sources) == active
    per_shard = Counter[int]()
    for one in sources:
        (number,) = one["shards"]
        per_shard[number] += one["tokens"]
    assert per_shard == {n: tokens for n, (tokens, _) in shards.items()}
    siblings = {s["shard"]: s["speciality"] for s in status["shards"]}
    assert sorted(siblings) == list(range(1, len(siblings) + 1))
    assert len(siblings) >= 12
    assert len(Counter(siblings.values())) == 4
    for one in sources:
        wanted = {
            "src": "files-git",
            "docs": "analysis-search",
            "tests": "testing-validation",
            "decisions": "coordination-decision",
        }[Path(one["source"]).parent.name]
        assert siblings[one["shards"][0]] == wanted


def test_at_the_limit_each_refused_file_is_named_and_nothing_else_is_lost(
    install: Any, writer: Any
) -> None:
    ifmem = install(shards_capacity=str(CAPACITY), shards_limit="5")
    pens = writer(7)
    for number in range(12):
        ifmem.write(f"docs/page{number:02}.md", pens.prose(150))
    ifmem.write("docs/last.py", pens.code(5))
    run = ifmem("load", "docs", "--json", code=1)
    assert "found no room" in run.told()
    first = run.json
    refused = {Path(one["path"]).name: one["reason"] for one in first["skipped"]}
    stored = {Path(one["source"]).name for one in ifmem.sources()}
    assert refused
    assert stored
    assert refused.keys() | stored == {f"page{n:02}.md" for n in range(12)} | {"last.py"}
    assert refused.keys() & stored == set()
    assert "last.py" in stored
    for reason in refused.values():
        assert "no room" in reason
        assert "analysis-search" in reason
        assert "limit" in reason
    status = ifmem.status()
    assert [s["shard"] for s in status["shards"]] == [1, 2, 3, 4, 5]
    assert all(s["tokens"] <= s["capacity"] for s in status["shards"])
    assert {s["shard"]: s["tokens"] for s in status["shards"] if s["tokens"]} == {
        s["shard"]: s["tokens"] for s in first["shards"]
    }
    assert first["refused"] == len(refused)
    again = ifmem("load", "docs", "--json", code=1).json
    assert {Path(one["path"]).name for one in again["skipped"]} == refused.keys()
    assert again["unchanged"] == len(stored)
    # Room that is made is used.
    gone = sorted(stored - {"last.py"})[0]
    (ifmem.directory / "docs" / gone).unlink()
    after = ifmem("load", "docs", "--json", code=1).json
    assert after["removed"] == 1
    assert len(after["skipped"]) == len(refused) - 1


def test_a_document_larger_than_a_shard_spans_siblings_in_whole_passages(
    install: Any, writer: Any
) -> None:
    ifmem = install(shards_capacity=str(CAPACITY))
    ifmem.write("book.md", writer(5).prose(1_500))
    ifmem("load", "book.md")
    (book,) = ifmem.sources()
    assert len(book["shards"]) >= 3
    status = ifmem.status()
    parts = [s for s in status["shards"] if s["tokens"]]
    assert {s["speciality"] for s in parts} == {"analysis-search"}
    assert sorted(book["shards"]) == [s["shard"] for s in parts]
    assert sum(s["tokens"] for s in parts) == book["tokens"] == status["context_active"]


@pytest.mark.parametrize("place", ["user", "project"])
def test_the_placement_table_can_be_changed_in_toml(install: Any, writer: Any, place: str) -> None:
    ifmem = install()
    table = """
[[placement]]
speciality = "coordination-decision"
paths = ["*.py"]

[[placement]]
speciality = "testing-validation"
kinds = ["prose"]
"""
    name = "config.toml" if place == "user" else ".ifmem.toml"
    ifmem.write("project/a.py", writer(1).code(3))
    ifmem.write("project/b.md", writer(2).prose(3))
    ifmem.write("project/c.toml", "[section]\nkey = 1\n")

    def shards_of() -> dict[str, list[int]]:
        return {Path(one["source"]).name: one["shards"] for one in ifmem.sources()}

    ifmem("load", "project")
    assert shards_of() == {"a.py": [1], "b.md": [2], "c.toml": [1]}
    for source in list(ifmem.sources()):
        ifmem("forget", source["source"])
    ifmem("forget", "--lift", "--all", "--space", "default")
    ifmem.write(name, table)
    ifmem("load", "project")
    # What no rule of the table matches goes to analysis and search.
    assert shards_of() == {"a.py": [4], "b.md": [3], "c.toml": [2]}
