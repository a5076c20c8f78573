"""Shards that have outgrown their model are cut in the background, and nothing is lost by it."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

WINDOW = 16_000
"""Of the small model: some 11,000 o200k tokens of documents fit."""
MODEL = f"""
[models]
default = "own:small"

[[providers]]
name = "own"
protocol = "openai"
base_url = "http://127.0.0.1:9/v1"
free = true
window = {WINDOW}
"""
FILES = 24


@pytest.fixture
def loaded(ifmem: Any, writer: Any) -> Any:
    """About 40,000 tokens in one shard, loaded while no model bounds it."""
    pens = writer(5)
    for number in range(FILES):
        ifmem.write(
            f"tree/page{number:02}.md",
            f"# Page {number}\n\nThe gate of page {number} opens with code K{number}7Q.\n\n"
            + pens.prose(160),
        )
    ifmem("load", "tree", "--json")
    (only,) = [one for one in ifmem("shards", "--json").json["items"] if one["tokens"]]
    assert only["tokens"] > 3 * 11_000
    ifmem.down()
    return ifmem


def shards(ifmem: Any) -> list[Any]:
    return [one for one in ifmem("shards", "--json").json["items"] if one["tokens"]]


def packed(ifmem: Any) -> Callable[[], list[Any]]:
    def look() -> list[Any]:
        held = shards(ifmem)
        return held if all(one["tokens"] <= one["capacity"] < WINDOW for one in held) else []

    return look


def in_place(ifmem: Any) -> dict[str, list[int]]:
    return {Path(one["source"]).name: one["shards"] for one in ifmem.sources()}


def test_a_shard_is_cut_for_the_model_that_reads_it(loaded: Any, eventually: Any) -> None:
    before = sorted(in_place(loaded))
    loaded.down()
    (loaded.directory / "config.toml").write_text(MODEL)
    held = eventually(packed(loaded))
    assert len(held) >= 4
    assert {one["speciality"] for one in held} == {"analysis-search"}
    places = in_place(loaded)
    assert sorted(places) == before
    assert {shard for (shard,) in places.values()} == {one["shard"] for one in held}
    with loaded.bus() as bus:
        assert int(bus.get("context:active")) == sum(one["tokens"] for one in held)


def test_what_moved_is_found_where_it_is_now_also_after_a_restart(
    loaded: Any, eventually: Any
) -> None:
    (loaded.directory / "config.toml").write_text(MODEL)
    eventually(packed(loaded))
    for _ in range(2):
        places = in_place(loaded)
        for number in (0, FILES // 2, FILES - 1):
            found = loaded(
                "recall", f"the code of the gate of page {number} K{number}7Q", "--json"
            ).json["passages"][0]
            assert f"K{number}7Q" in found["text"]
            assert [found["shard"]] == places[Path(found["source"]).name]
        loaded.down()


def test_what_is_loaded_later_keeps_within_what_the_model_takes(
    loaded: Any, writer: Any, eventually: Any
) -> None:
    (loaded.directory / "config.toml").write_text(MODEL)
    eventually(packed(loaded))
    for number in range(6):
        loaded.write(f"tree/more{number}.md", f"# More {number}\n\n" + writer(number).prose(160))
    report = loaded("load", "tree", "--json").json
    assert report["read"] == 6
    assert report["skipped"] == []
    assert packed(loaded)()
    assert len(in_place(loaded)) == FILES + 6


def test_a_daemon_killed_while_packing_has_packed_all_or_nothing(
    loaded: Any, eventually: Any
) -> None:
    tokens = sum(one["tokens"] for one in shards(loaded))
    loaded.down()
    (loaded.directory / "config.toml").write_text(MODEL)
    for _ in range(4):
        # Started and killed again: at whatever point the packing then is.
        os.kill(loaded.daemon_pid(), signal.SIGKILL)
    held = eventually(packed(loaded))
    assert sum(one["tokens"] for one in held) == tokens
    assert len(in_place(loaded)) == FILES
