"""The command line against a real daemon: what a person does in a first hour."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import uuid
from pathlib import Path
from typing import Any

import pytest

RETRY = '''"""How calls are retried."""

RETRY_BUDGET = 3


def allowed(attempt: int) -> bool:
    """Whether the retry budget allows another attempt."""
    return attempt < RETRY_BUDGET
'''
GUIDE = """# Lighthouse

The lamp of the lighthouse turns once in eleven seconds.

The keeper of the lighthouse is called Amalia Brandt.
"""
on_linux = pytest.mark.skipif(not Path("/proc/self").exists(), reason="reads /proc")


def _load(line: Any) -> Any:
    (line.directory / "src").mkdir()
    (line.directory / "src" / "retry.py").write_text(RETRY)
    (line.directory / "guide.md").write_text(GUIDE)
    (line.directory / "noise.bin").write_bytes(bytes(range(256)) * 8)
    for path in line.directory.rglob("*"):
        # A file just written may change again within its time stamp, and is read once more.
        os.utime(path, (1_000_000_000, 1_000_000_000))
    line("load", ".")
    return line


@pytest.fixture
def loaded(ifmem: Any) -> Any:
    """A small tree, loaded in a space of its own."""
    return _load(ifmem)


@pytest.fixture
def loaded_alone(alone: Any) -> Any:
    """The same tree, loaded in a home of its own."""
    return _load(alone)


def test_a_load_reports_what_is_there_and_what_was_skipped(loaded: Any) -> None:
    report = loaded.json("load", ".")
    assert report["documents"] == 2
    assert (report["read"], report["unchanged"]) == (0, 2)
    assert [Path(one["path"]).name for one in report["skipped"]] == ["noise.bin"]
    assert {one["shard"] for one in report["shards"] if one["tokens"]} == {1, 2}
    drawn = loaded("load", ".").stdout
    assert "2 documents" in drawn
    assert "noise.bin" in drawn


def test_an_answer_cites_lines_as_seen_from_here_and_absolute_in_json(loaded: Any) -> None:
    question = "Who is the keeper of the lighthouse?"
    answer = loaded.json("ask", question)
    assert answer["found"]
    assert "Amalia Brandt" in answer["answer"]
    cited = answer["citations"][0]
    assert cited["source"] == str(loaded.directory / "guide.md")
    assert cited["verified"]
    assert "guide.md:5" in loaded("ask", question).stdout
    assert str(loaded.directory) not in loaded("ask", question).stdout


def test_a_question_may_come_as_words_and_on_standard_input(loaded: Any) -> None:
    words = loaded.json("ask", "who", "is", "the", "keeper", "of", "the", "lighthouse")
    piped = loaded.json("ask", "-", stdin="who is the keeper of the lighthouse\n")
    assert words["answer"] == piped["answer"]


def test_asking_over_a_path_loads_it_and_looks_nowhere_else(ifmem: Any) -> None:
    (ifmem.directory / "guide.md").write_text(GUIDE)
    (ifmem.directory / "other.md").write_text("The harbour master is called Theo Lund.\n")
    found = ifmem.json("ask", "Who is the keeper of the lighthouse?", "--over", "guide.md")
    assert {one["source"] for one in found["citations"]} == {str(ifmem.directory / "guide.md")}
    assert [one["source"] for one in ifmem.json("sources")["items"]] == [
        str(ifmem.directory / "guide.md")
    ]
    both = ifmem.json("ask", "Who is the harbour master?", "--over", "guide.md", "other.md")
    assert "Theo Lund" in both["answer"]


def test_recall_is_restricted_by_source(loaded: Any) -> None:
    everywhere = loaded.json("recall", "retry budget lighthouse")
    here = loaded.json("recall", "retry budget lighthouse", "--source", "src")
    assert len({passage["source"] for passage in everywhere["passages"]}) == 2
    assert {passage["source"] for passage in here["passages"]} == {
        str(loaded.directory / "src" / "retry.py")
    }
    assert everywhere["tokens"] <= 2_000


def test_a_finding_is_recalled_by_the_next_process(loaded: Any) -> None:
    stored = loaded.json(
        "remember", "The retry budget was raised to three", "--cite", "src/retry.py:3"
    )
    found = loaded.json("recall", "retry budget raised")
    (finding,) = found["findings"]
    assert finding["finding_id"] == stored["finding_id"]
    assert finding["citations"][0]["lines"] == [3, 3]
    assert "RETRY_BUDGET = 3" in finding["citations"][0]["quote"]


def test_findings_are_read_from_a_cursor_on_oldest_first(ifmem: Any) -> None:
    stored = [ifmem.json("remember", f"Claim number {n}") for n in range(3)]
    lines = ifmem.lines("findings")
    assert [line["claim"] for line in lines] == [f"Claim number {n}" for n in range(3)]
    assert [line["finding_id"] for line in lines] == [one["finding_id"] for one in stored]
    later = ifmem.lines("findings", "--since", stored[0]["cursor"])
    assert [line["claim"] for line in later] == ["Claim number 1", "Claim number 2"]
    assert ifmem.lines("findings", "--since", stored[2]["cursor"]) == []
    assert len(ifmem.lines("findings", "--limit", "2")) == 2


def test_remembering_again_with_the_same_id_stores_once(ifmem: Any) -> None:
    name = str(uuid.UUID(int=7))
    first = ifmem.json("remember", "The sea is calm", "--id", name)
    again = ifmem.json("remember", "The sea is calm", "--id", name)
    assert first["finding_id"] == again["finding_id"] == name
    assert first["cursor"] == again["cursor"]
    assert len(ifmem.lines("findings")) == 1


def test_what_is_forgotten_is_not_recalled(loaded: Any) -> None:
    stored = loaded.json("remember", "The retry budget was raised to three")
    assert loaded.json("forget", stored["finding_id"])["kind"] == "finding"
    assert loaded.json("recall", "retry budget raised")["findings"] == []
    assert loaded.json("forget", stored["finding_id"], code=3)["error"] == "NotFound"


def test_the_state_is_told_in_every_list(loaded: Any) -> None:
    status = loaded.json("status")
    assert status["findings"] == 0
    assert status["context_active"] == sum(shard["tokens"] for shard in status["shards"]) > 0
    assert status["redis"]["embedded"]
    assert [row["shard"] for row in loaded.json("shards")["items"]] == [1, 2, 3, 4]
    assert [row["alive"] for row in loaded.json("workers")["items"]] == [True]
    librarians = loaded.json("librarians")["items"]
    assert [(row["status"], row["quota"]) for row in librarians] == [("active", 1_500)] * 5
    assert loaded.space in [row["space"] for row in loaded.json("spaces")["items"]]
    for command in ("status", "shards", "workers", "librarians", "spaces", "sources"):
        assert loaded(command).stdout


def test_doctor_finds_a_healthy_memory_healthy(loaded: Any) -> None:
    checks = loaded.json("doctor")["checks"]
    assert {"python", "sqlite", "daemon"} < {check["name"] for check in checks}
    assert [check for check in checks if not check["ok"]] == []


def test_a_space_sees_nothing_of_another(loaded: Any) -> None:
    assert loaded.json("sources", "--space", "acme")["items"] == []
    loaded("remember", "Only acme knows", "--space", "acme")
    assert loaded.lines("findings") == []
    assert [one["claim"] for one in loaded.lines("--space", "acme", "findings")] == [
        "Only acme knows"
    ]


@on_linux
def test_down_leaves_no_process_and_no_loss(loaded_alone: Any) -> None:
    loaded_alone("remember", "The lamp is lit")
    assert loaded_alone.processes()
    assert loaded_alone.json("down") == {"stopped": True}
    assert loaded_alone.processes() == []
    assert loaded_alone.json("down") == {"stopped": False}
    assert [line["claim"] for line in loaded_alone.lines("findings")] == ["The lamp is lit"]
    assert loaded_alone.json("ask", "Who is the keeper of the lighthouse?")["found"]


def test_down_ends_a_server_whose_daemon_was_killed(alone: Any) -> None:
    daemon = alone.json("up")["pid"]
    os.kill(daemon, signal.SIGKILL)
    alone("down")
    if Path("/proc/self").exists():
        assert alone.processes() == []


def test_after_a_kill_the_next_command_starts_a_daemon_that_knows_everything(
    loaded_alone: Any,
) -> None:
    stored = loaded_alone.json("remember", "The lamp is lit")
    os.kill(loaded_alone.json("status")["daemon_pid"], signal.SIGKILL)
    assert [one["finding_id"] for one in loaded_alone.lines("findings")] == [stored["finding_id"]]
    assert loaded_alone.json("load", ".")["unchanged"] == 2


def test_sixteen_processes_that_race_to_be_first_share_one_daemon(alone: Any) -> None:
    racing = [alone.start("status", "--json") for _ in range(16)]
    ended = [process.communicate(timeout=120) for process in racing]
    assert [process.returncode for process in racing] == [0] * 16, ended
    assert len({json.loads(said)["daemon_pid"] for said, _ in ended}) == 1


def test_watching_loads_again_on_each_change_until_it_is_interrupted(loaded: Any) -> None:
    watching = loaded.start("load", ".", "--watch", "--json", text=True)
    assert json.loads(watching.stdout.readline())["documents"] == 2
    assert select.select([watching.stdout], [], [], 1.0)[0] == [], "nothing changed"
    (loaded.directory / "new.md").write_text("The harbour freezes in January.\n")
    assert json.loads(watching.stdout.readline())["documents"] == 3
    (loaded.directory / "new.md").unlink()
    assert json.loads(watching.stdout.readline())["removed"] == 1
    watching.send_signal(signal.SIGINT)
    said, complaint = watching.communicate(timeout=30)
    assert (watching.returncode, said) == (0, ""), complaint
    assert "Traceback" not in complaint


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (("load", "absent"), 3, "does not exist"),
        (("recall", "x", "--source", "a", "--since", "soon"), 2, "no date"),
        (("remember", "x", "--confidence", "1.5"), 2, "between 0 and 1"),
        (("remember", "  "), 2, "needs a claim"),
        (("remember", "x", "--id", "mine"), 2, "uuid"),
        (("findings", "--scope", "project"), 2, "--scope space"),
        (("forget", "0" * 16), 3, ""),
    ],
)
def test_a_refusal_is_one_sentence_with_its_exit_code(
    ifmem: Any, words: tuple[str, ...], code: int, says: str
) -> None:
    done = ifmem(*words, "--json", code=code)
    told = json.loads(done.stdout)
    assert told["exit_code"] == code
    assert says in told["message"]
    assert done.stderr == f"ifmem: {told['message']}\n"
    assert ifmem.lines("findings") == []


def test_a_bus_that_cannot_be_reached_is_told_in_one_sentence(alone: Any) -> None:
    done = alone("status", "--redis", "redis://127.0.0.1:1/0", code=4)
    assert len(done.stderr.splitlines()) == 1
    assert "127.0.0.1:1" in done.stderr


def test_up_does_not_pretend_to_have_changed_the_bus(alone: Any) -> None:
    alone("up")
    done = alone("up", "--redis", "redis://127.0.0.1:1/0", code=1)
    assert "ifmem down" in done.stderr


def test_a_reader_that_has_seen_enough_ends_the_output_quietly(ifmem: Any) -> None:
    ifmem("remember", "The lamp is lit")
    for command in ("findings", "status", "recall lamp"):
        process = ifmem.start(*command.split(), "--json", stderr=subprocess.PIPE)
        process.stdout.close()
        complaint = process.stderr.read()
        process.stderr.close()
        process.stdin.close()
        assert (process.wait(timeout=60), complaint) == (0, b"")
