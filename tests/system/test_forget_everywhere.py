"""Scenario: what is forgotten stands in no file below the home, and elsewhere it is named."""

from __future__ import annotations

import contextlib
import io
import os
import signal
import sqlite3
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from ifmem import Memory

FINDING = "zibbelnook"
DOCUMENT = "marrowquill"
ARCHIVED = "tottenspar"
RESULT = "hobblewick"
WORDS = (FINDING, DOCUMENT, ARCHIVED, RESULT)


def every_file(home: Path) -> Iterator[tuple[str, bytes]]:
    for path in sorted(home.rglob("*")):
        if not path.is_file():
            continue
        data = path.read_bytes()
        yield str(path.relative_to(home)), data
        if zipfile.is_zipfile(io.BytesIO(data)):
            with zipfile.ZipFile(io.BytesIO(data)) as packed:
                for name in packed.namelist():
                    yield f"{path.name}:{name}", packed.read(name)


def places(home: Path, word: str) -> list[str]:
    """The files in which a word stands, also as an index has it: without its ending."""
    stem = word[:-2].encode()
    return [name for name, data in every_file(home) if stem in data.lower()]


def planted(ifmem: Any) -> dict[str, str]:
    """Every way in which words get in; the ids to forget them by."""
    page = ifmem.write("notes/page.md", f"# Bay\n\nThe {DOCUMENT} opens at dawn on Mondays.\n")
    for number in range(60):
        ifmem.write(f"notes/more{number}.md", f"The granary {number} is painted green.\n" * 20)
    old = ifmem.write("old/page.md", f"# Old\n\nThe {ARCHIVED} was sold to a miller.\n")
    settings = ifmem.settings
    with Memory.open_sync(settings=msgspec.structs.replace(settings, run="done")) as memory:
        memory.load(old.parent)
    with Memory.open_sync(settings=settings) as memory:
        memory.load(page.parent)
        said = memory.remember(f"The {FINDING} hums at midnight.", cite=[f"{page}:3"])
        quoting = memory.remember("It opens early.", cite=[f"{page}:3"])
        of_finding = memory.remember("So it is.", cite=[f"finding:{said.finding_id}"])
        memory.post("Look at the mill")
        task = memory.claim("ada")
        assert task is not None
        memory.finish(task, worker="ada", claim=f"The {RESULT} turns at noon.")
        result = memory.task(task.task_id).result_finding_id
        for word in WORDS:
            memory.ask(f"What about the {word}?")
            memory.recall(word)
    return {
        "finding": said.finding_id,
        "quoting": quoting.finding_id,
        "of_finding": of_finding.finding_id,
        "result": result,
        "document": str(page),
        "archived": str(old),
    }


def test_a_forgotten_word_stands_in_no_file_below_the_home(ifmem: Any) -> None:
    ids = planted(ifmem)
    ifmem.down()
    # It is looked for where it would be found: the copy of the index, the store, the bus's file.
    for word in WORDS:
        assert any("store.sqlite" in name for name in places(ifmem.home, word)), word
        assert any("bus" in name for name in places(ifmem.home, word)), word
        assert any("terms" in name for name in places(ifmem.home, word)), word
    with Memory.open_sync(settings=ifmem.settings) as memory:
        for one in ("finding", "result", "document", "archived"):
            told = [line.what for line in memory.forget(ids[one]).unreachable]
            assert any("agents" in line for line in told)
            assert not any("bus" in line or "log" in line for line in told), told
    # At once, with all of it running.
    for word in WORDS:
        assert places(ifmem.home, word) == [], word
    ifmem.down()
    for word in WORDS:
        assert places(ifmem.home, word) == [], word
    kept = {one["finding_id"]: one for one in ifmem.findings()}
    assert kept.keys() == {ids["quoting"], ids["of_finding"]}
    assert kept[ids["quoting"]]["citations"][0]["status"] == "revoked"
    assert ifmem("ask", "Which granary is painted green?", "--json").json["found"]


def test_killed_right_after_a_commit_it_is_finished_by_the_next_start(
    ifmem: Any, eventually: Callable[..., Any], watch_end: Any
) -> None:
    planted(ifmem)
    ended = watch_end(pid := ifmem.daemon_pid())
    process = ifmem.start("forget", "--source", "notes")
    eventually(lambda: stored(ifmem, "document WHERE source LIKE '%page.md'") == 1)
    os.kill(pid, signal.SIGKILL)
    process.communicate()
    assert ended()
    # Repeated, it goes on where it was; what was due is done besides.
    ifmem("forget", "--source", "notes")
    eventually(lambda: not stored(ifmem, "meta WHERE name = 'erasing'"))
    assert places(ifmem.home, DOCUMENT) == []
    assert stored(ifmem, "document") == 1
    ifmem.down()
    assert places(ifmem.home, DOCUMENT) == []
    assert places(ifmem.home, FINDING) != []


def stored(ifmem: Any, what: str) -> int:
    """How many rows of a table the store has now."""
    store = ifmem.home / "spaces" / "default" / "store.sqlite"
    with contextlib.closing(sqlite3.connect(f"file:{store}?mode=ro", uri=True)) as connection:
        (count,) = connection.execute(f"SELECT count(*) FROM {what}").fetchone()
    return int(count)
