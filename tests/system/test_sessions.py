"""Scenario 27: what a session found outlives it, for every later process, and its work does not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ifmem import Memory
from ifmem.wire import keys

NOTE = "The lantern of Trebic burns till four.\nThe gate of Trebic has three locks.\n"
KILLED_AFTER_THE_COMMIT = """
import sys
if "ifmem.entrypoints.daemon" in sys.orig_argv:
    import os, signal
    from ifmem.runtime import archiving
    archiving.archive_indexed = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
"""


def work_on_monday(ifmem: Any) -> dict[str, Any]:
    """A session with a document, a finding that cites it, and two tasks, one of them held."""
    ifmem.write("note.md", NOTE)
    monday = ("--run", "monday")
    ifmem("load", "note.md", *monday)
    said = ifmem(
        "remember", "Trebic locks its gate thrice.", "--cite", "note.md:2", "--json", *monday
    )
    for title in ("oil the lantern", "try the locks"):
        ifmem("tasks", "post", title, *monday)
    ifmem("tasks", "claim", "--worker", "ada", *monday)
    return dict(said.json)


def test_another_process_lists_and_asks_what_an_ended_session_found(ifmem: Any) -> None:
    said = work_on_monday(ifmem)
    bus, space = ifmem.bus(), keys.Keys()
    bus.set(space.of(keys.WORKER_CONTEXT, id="ada"), "[]", ex=600)
    assert bus.llen(space.of(keys.WORKER_TASKS, id="ada")) == 1
    ended = ifmem("sessions", "end", "monday", "--by", "ada", "--json").json
    assert (ended["findings"], ended["documents"], ended["tasks"]) == (1, 1, 2)
    assert not bus.exists(
        space.of(keys.WORKER_CONTEXT, id="ada"), space.of(keys.WORKER_TASKS, id="ada")
    )
    bus.close()
    ifmem.down()

    tuesday = ("--run", "tuesday")
    (listed,) = ifmem("sessions", "--json", *tuesday).json["items"]
    assert (listed["session_id"], listed["state"], listed["ended_by"]) == ("monday", "ended", "ada")
    (line,) = ifmem("findings", "--json", "--run", "monday").lines
    assert line["finding_id"] == said["finding_id"]
    found = ifmem("recall", "How many locks has the gate of Trebic?", "--json", *tuesday).json
    (finding,) = found["findings"]
    assert finding["finding_id"] == said["finding_id"]
    assert (finding["archived"], finding["session"]) == (True, "monday")
    assert finding["worker_id"]
    assert finding["timestamp"]
    assert finding["citations"][0]["lines"] == [2, 2]
    (passage,) = found["passages"]
    assert (passage["archived"], passage["session"]) == (True, "monday")
    answer = ifmem("ask", "How long does the lantern of Trebic burn?", "--json", *tuesday).json
    assert answer["found"]
    assert Path(answer["citations"][0]["source"]).name == "note.md"
    never = ifmem("recall", "locks lantern Trebic", "--archive", "never", "--json", *tuesday).json
    assert (never["findings"], never["passages"]) == ([], [])
    tasks = ifmem("tasks", "list", "--json", "--run", "monday").json["items"]
    assert {task["state"] for task in tasks} == {"cancelled"}
    ifmem("tasks", "claim", "--worker", "bob", "--run", "monday", code=3)
    assert ifmem.status()["context_active"] == 0
    told = ifmem("remember", "Too late.", "--run", "monday", code=1).told()
    assert "--run NAME" in told


def test_a_daemon_killed_right_after_the_commit_of_an_ending_completes_it(
    ifmem: Any, tmp_path: Path, eventually: Any
) -> None:
    work_on_monday(ifmem)
    ifmem.down()
    saboteur = tmp_path / "saboteur"
    saboteur.mkdir()
    (saboteur / "sitecustomize.py").write_text(KILLED_AFTER_THE_COMMIT)
    sabotaged = {"PYTHONPATH": str(saboteur)}
    ifmem("sessions", "end", "monday", code=4, environment=sabotaged)
    with Memory.open_sync(settings=ifmem.settings) as memory:
        ended = memory.end_session("monday")
        assert ended.outcome == "known"
        assert memory.recall("locks lantern Trebic", archive="never").passages == []
        found = memory.recall("locks lantern Trebic", archive="always")
        assert [one.session for one in (*found.passages, *found.findings)] == ["monday"] * 2
        eventually(lambda: memory.session("monday").tasks == {"cancelled": 2})
        assert memory.session("monday").archived_documents == 1
        assert memory.status().context_active == 0
