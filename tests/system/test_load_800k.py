"""800,000 tokens of real text: the standard library of this interpreter, over all specialities."""

from __future__ import annotations

import asyncio
import hashlib
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

from ifmem import tokens
from ifmem.bus.bus import Bus, Context
from ifmem.errors import IntegrityError

EACH = 205_000
"""Tokens of real text for each of the four specialities."""


def library_files() -> Iterator[tuple[str, str]]:
    """Name and text of the standard library's modules, each text once, in a stable order."""
    seen: set[bytes] = set()
    root = Path(sysconfig.get_paths()["stdlib"])
    for path in sorted(root.rglob("*.py")):
        relative = path.relative_to(root)
        if {"site-packages", "test", "idle_test"}.isdisjoint(relative.parts):
            text = path.read_bytes()
            if text.isascii() and text.strip() and text not in seen:
                seen.add(text)
                yield "_".join(relative.parts), text.decode()


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tree with at least ``EACH`` tokens of source, prose, tests and decisions."""
    root = tmp_path_factory.mktemp("corpus")
    files = library_files()
    for folder, suffix in (("src", ""), ("docs", ".txt"), ("tests", ""), ("decisions", ".txt")):
        (root / folder).mkdir()
        held = 0
        while held < EACH:
            name, text = next(files)
            (root / folder / (name + suffix)).write_text(text)
            held += tokens.count(text)
    return root


async def contexts_of(url: str, numbers: list[int]) -> list[Context]:
    async with Redis.from_url(url) as client:
        return (await Bus(client).load_contexts(numbers, {}))[0]


def test_800_thousand_tokens_are_loaded_counted_and_read_back(ifmem: Any, corpus: Path) -> None:
    on_disk = {str(path): path.read_bytes() for path in corpus.rglob("*.*")}
    report = ifmem("load", corpus, "--json").json
    assert report["skipped"] == []
    assert report["documents"] == report["read"] == len(on_disk)
    assert report["tokens"] >= 800_000
    assert report["bytes"] == sum(map(len, on_disk.values()))

    sources = {one["source"]: one for one in ifmem.sources()}
    assert {name: one["sha256"] for name, one in sources.items()} == {
        name: hashlib.sha256(data).hexdigest() for name, data in on_disk.items()
    }
    # An independent count: a document whose parts are counted apart may differ by its cuts.
    counted = sum(tokens.count(data.decode()) for data in on_disk.values())
    assert report["tokens"] == pytest.approx(counted, rel=0.001)

    status = ifmem.status()
    assert status["context_active"] >= 800_000
    with ifmem.bus(status["redis"]["url"]) as bus:
        numbers = sorted(one["shard"] for one in status["shards"])
        held = {n: int(bus.get(f"context:shard:{n}:tokens")) for n in numbers}
        assert int(bus.get("context:active")) == sum(held.values()) == status["context_active"]
        for n in numbers:
            assert held[n] <= int(bus.get(f"context:shard:{n}:capacity")) == 200_000
    of_kind: dict[str, int] = {}
    for one in status["shards"]:
        of_kind[one["speciality"]] = of_kind.get(one["speciality"], 0) + one["tokens"]
    assert len(of_kind) == 4
    assert min(of_kind.values()) >= 200_000

    contexts = asyncio.run(contexts_of(status["redis"]["url"], numbers))
    texts: dict[str, str] = {}
    for context in contexts:
        for loaded in context.parts:
            texts[loaded.part.sha256] = texts.get(loaded.part.sha256, "") + "".join(loaded.texts)
    unmasked = {digest: text for digest, text in texts.items() if "[masked:" not in text}
    by_digest = {hashlib.sha256(data).hexdigest(): data for data in on_disk.values()}
    assert texts.keys() == by_digest.keys()
    assert len(unmasked) > 0.9 * len(texts)
    assert unmasked == {digest: by_digest[digest].decode() for digest in unmasked}


def test_a_context_with_an_altered_or_missing_blob_is_never_a_short_text(
    ifmem: Any, writer: Any
) -> None:
    ifmem.write("notes/a.md", writer(1).prose(200))
    ifmem("load", "notes")
    url = ifmem.status()["redis"]["url"]
    with ifmem.bus(url) as bus:
        (name,) = bus.scan_iter(match="ifmem:1:blob:*")
    # Bytes, not text: a blob is binary.
    import redis

    with redis.Redis.from_url(url) as raw:
        data = raw.get(name)
        assert asyncio.run(contexts_of(url, [2]))
        for bad in (data[:-1], data[:-1] + bytes([data[-1] ^ 1]), None):
            raw.delete(name) if bad is None else raw.set(name, bad)
            with pytest.raises(IntegrityError):
                asyncio.run(contexts_of(url, [2]))
