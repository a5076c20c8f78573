"""The extra `semantic` in a running memory: in the background, kept, resumed, forgotten, off."""

from __future__ import annotations

import os
import signal
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from ifmem.index.sentence_encoder import is_installed

needs_the_extra = pytest.mark.skipif(not is_installed(), reason="the extra semantic is not here")


@pytest.fixture
def ifmem(install: Callable[..., Any]) -> Any:
    """An installation with the sentence encoder on."""
    return install(retrieval_semantic="auto")


def semantic(ifmem: Any) -> Any:
    return ifmem.status()["semantic"]


def is_embedded(ifmem: Any) -> bool:
    now = semantic(ifmem)
    return bool(now["passages"] and now["embedded"] == now["passages"])


def rows(ifmem: Any, table: str = "passage_embedding") -> int:
    store = ifmem.home / "spaces" / "default" / "store.sqlite"
    with closing(sqlite3.connect(f"file:{store}?mode=ro", uri=True)) as connection:
        return int(connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0])


@needs_the_extra
def test_the_model_is_loaded_once_there_is_something_to_search(
    ifmem: Any, eventually: Callable[..., Any]
) -> None:
    maps = Path(f"/proc/{ifmem.daemon_pid()}/maps")
    ifmem("tasks", "post", "Mend the gate.")
    assert "onnxruntime" not in maps.read_text()
    ifmem("remember", "The gate is broken.")
    eventually(lambda: "onnxruntime" in maps.read_text())
    eventually(lambda: is_embedded(ifmem))


@needs_the_extra
def test_a_daemon_killed_while_embedding_goes_on_where_it_was(
    ifmem: Any, writer: Any, eventually: Callable[..., Any], watch_end: Any
) -> None:
    pens = writer(9)
    for number in range(12):
        ifmem.write(f"notes/page{number:02}.md", pens.prose(120))
    loaded = ifmem("load", "notes", "--json").json
    eventually(lambda: semantic(ifmem)["embedded"] > 0)
    before = semantic(ifmem)
    assert before["enabled"]
    assert before["embedded"] < before["passages"] == loaded["passages"]
    pid = ifmem.daemon_pid()
    is_gone = watch_end(pid)
    os.kill(pid, signal.SIGKILL)
    assert is_gone()
    kept = rows(ifmem)
    assert kept >= before["embedded"]
    assert semantic(ifmem)["embedded"] >= kept
    eventually(lambda: is_embedded(ifmem))
    assert rows(ifmem) == loaded["passages"]
    assert "semantic  on\n" in ifmem("status").out
    ifmem.down()
    # A start takes them from the store: nothing is encoded twice.
    assert is_embedded(ifmem)


@needs_the_extra
def test_a_passage_is_found_by_its_meaning_and_forgotten_with_its_vectors(
    ifmem: Any, writer: Any, eventually: Callable[..., Any]
) -> None:
    ifmem.write("notes/page.md", writer(4).prose(60))
    ifmem.write("notes/cook.md", "The physician of the ferry fell sick and stayed in bed.\n")
    ifmem("load", "notes")
    ifmem("remember", "The veterinarian visits the stable on Friday.")
    eventually(lambda: is_embedded(ifmem))
    (found, *_) = ifmem("recall", "which doctor was ill?", "--json").json["passages"]
    assert found["source"].endswith("cook.md")
    assert found["why"]["vector"] > 0.5
    assert found["score"] == pytest.approx(sum(found["why"].values()), abs=1e-5)
    (finding, *_) = ifmem("recall", "animal doctor", "--json").json["findings"]
    assert (rows(ifmem, "finding_embedding"), is_embedded(ifmem)) == (1, True)
    ifmem("forget", finding["finding_id"])
    assert rows(ifmem, "finding_embedding") == 0
    count = rows(ifmem)
    ifmem("forget", found["id"])
    assert rows(ifmem) == count - 1
    page = next(one for one in ifmem.sources() if one["source"].endswith("page.md"))
    ifmem("forget", page["source"])
    assert rows(ifmem) == count - 1 - page["passages"]
    left = ifmem("recall", "which doctor was ill?", "--json").json["passages"]
    assert all(not one["source"].endswith("cook.md") for one in left)


def test_switched_off_nothing_is_embedded_and_the_ranking_is_that_without_the_extra(
    install: Callable[..., Any], writer: Any
) -> None:
    ifmem = install(retrieval_semantic="off")
    ifmem.write("notes/page.md", writer(4).prose(30))
    ifmem("load", "notes")
    now = semantic(ifmem)
    assert (now["enabled"], now["embedded"], now["passages"] > 0) == (False, 0, True)
    found = ifmem("recall", "the northern lantern", "--json").json["passages"]
    assert found
    assert all(one["why"]["vector"] <= 0.5 for one in found)
    mapped = Path(f"/proc/{ifmem.daemon_pid()}/maps").read_text(encoding="utf-8")
    assert "onnxruntime" not in mapped


def test_another_word_than_auto_or_off_is_refused(install: Callable[..., Any]) -> None:
    ifmem = install(retrieval_semantic="perhaps")
    assert "retrieval.semantic" in ifmem("status", code=2).told()
