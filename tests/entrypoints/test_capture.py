"""Capture from end to end: hooks as agents start them, a daemon that comes, goes and is killed."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from ifmem.clock import monotonic

PATIENCE_S = 60.0
SENTENCE = "The kingfisher budget allows seven attempts."


class Agent:
    """Starts hooks as an agent does, in its project."""

    def __init__(self, line: Any) -> None:
        self.line = line
        self.root: Path = line.directory

    def did(self, tool: str, given: Any, response: Any = None, *flags: str) -> str:
        return self.hook(
            {
                "session_id": "s-1",
                "cwd": str(self.root),
                "hook_event_name": "PostToolUse",
                "tool_name": tool,
                "tool_input": given,
                "tool_response": response,
            },
            *flags,
        )

    def ran(self, command: str, output: str, *flags: str) -> str:
        return self.did("Bash", {"command": command}, {"stdout": output}, *flags)

    def hook(self, event: dict[str, Any], *flags: str) -> str:
        done = subprocess.run(
            [
                *(sys.executable, "-m", "ifmem", "hook", "claude"),
                *("--home", str(self.line.home), "--space", self.line.space, *flags),
            ],
            input=json.dumps(event),
            capture_output=True,
            encoding="utf-8",
            cwd=self.root,
            # No test depends on how fast a busy machine is.
            env=self.line.environment | {"IFMEM_HOOK_SECONDS": str(PATIENCE_S)},
            timeout=PATIENCE_S,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout

    def captured(self) -> list[str]:
        """The captured documents of the local space, as its store has them now."""
        store = self.line.home / "spaces" / f"{self.line.space}-local" / "store.sqlite"
        if not store.exists():
            return []
        with sqlite3.connect(f"file:{store}?mode=ro", uri=True) as connection:
            try:
                rows = connection.execute("SELECT source FROM document ORDER BY source").fetchall()
            except sqlite3.OperationalError:
                # It is being made.
                rows = []
        connection.close()
        return [row[0] for row in rows]

    def waits_for(self, count: int) -> list[str]:
        stored: list[str] = until(lambda: found if len(found := self.captured()) >= count else None)
        return stored


def until(look: Callable[[], Any]) -> Any:
    """What a question answers once that is something."""
    deadline, look_again = monotonic() + PATIENCE_S, threading.Event()
    while monotonic() < deadline:
        if answer := look():
            return answer
        look_again.wait(0.01)
    raise AssertionError("it did not happen in time")


@pytest.fixture
def agent(ifmem: Any) -> Agent:
    return Agent(ifmem)


def test_what_an_agent_read_is_stored_noted_when_read_again_and_forgotten(agent: Agent) -> None:
    agent.line("status")
    path = agent.root / "budget.md"
    path.write_text(SENTENCE)
    assert agent.did("Read", {"file_path": str(path)}) == ""
    assert agent.waits_for(1) == [str(path)]
    printed = agent.did("Read", {"file_path": str(path)})
    told = json.loads(printed)["hookSpecificOutput"]
    assert told["hookEventName"] == "PostToolUse"
    assert f"{path} is unchanged since sha256 " in told["additionalContext"]
    assert "shard 1" in told["additionalContext"]
    # Who does not ask for it does not see it.
    assert agent.line.json("recall", "kingfisher budget")["passages"] == []
    assert agent.line.json("forget", "--captured", "--since", "2999-01-01") == {"documents": 0}
    assert agent.line("forget", "--captured").stdout == "forgotten: 1 captured document\n"
    assert agent.captured() == []


@pytest.mark.parametrize("words", [(), ("some-id", "--captured"), ("some-id", "--since", "2026")])
def test_forgetting_needs_one_thing_to_forget(ifmem: Any, words: tuple[str, ...]) -> None:
    assert "--captured" in ifmem("forget", *words, code=2).stderr


def test_a_session_begins_with_what_is_known(agent: Agent) -> None:
    agent.line("remember", SENTENCE)
    begins = {"hook_event_name": "SessionStart", "source": "startup", "cwd": str(agent.root)}
    told = json.loads(agent.hook(begins))["hookSpecificOutput"]
    assert told["hookEventName"] == "SessionStart"
    assert SENTENCE in told["additionalContext"]


def test_two_sessions_capture_at_once_and_while_the_user_loads(agent: Agent) -> None:
    sources = agent.root / "sources"
    sources.mkdir()
    for n in range(200):
        (sources / f"{n}.md").write_text(f"Heron number {n} wades at noon. " * 40)
    with ThreadPoolExecutor(3) as several:
        load = several.submit(agent.line, "load", str(sources))
        hooks = [
            several.submit(agent.ran, f"pytest {session} {n}", "passed")
            for n in range(15)
            for session in ("one", "two")
        ]
        load.result()
        assert all(one.result() == "" for one in hooks)
    # What the daemon did not take in time it takes from the spool.
    agent.waits_for(30)
    assert agent.line.json("load", str(sources))["documents"] == 200


def test_what_happened_without_a_daemon_survives_a_daemon_that_is_killed_over_it(
    alone: Any, watch_end: Callable[[int], Callable[[], bool]]
) -> None:
    agent = Agent(alone)
    alone("up")
    alone("down")
    for n in range(30):
        agent.ran(f"pytest {n}", "passed")
    spool = alone.home / "captured.jsonl"
    assert len(spool.read_bytes().splitlines()) == 30
    assert alone.processes() == []
    pid = alone.json("status")["daemon_pid"]
    ended = watch_end(pid)
    stored = agent.waits_for(5)
    os.kill(pid, signal.SIGKILL)
    assert ended()
    # A half line, as a full disk would leave it.
    with (alone.home / "captured.taken.jsonl").open("ab") as taken:
        taken.write(b'{"id":1,"meth')
    assert set(agent.captured()) >= set(stored)
    alone("status")
    assert len(agent.waits_for(30)) == 30
    until(lambda: not list(alone.home.glob("captured*")))
    assert alone.json("status")["health"] == "healthy"


def test_a_shared_capture_lies_in_the_space_and_becomes_its_user_s_by_loading(
    agent: Agent,
) -> None:
    agent.line("status")
    path = agent.root / "budget.md"
    path.write_text(SENTENCE)
    agent.did("Read", {"file_path": str(path)}, None, "--share")

    def trust() -> str | None:
        found = agent.line.json("recall", "kingfisher budget")["passages"]
        return found[0]["trust"] if found else None

    assert until(trust) == "captured"
    agent.line("load", str(path))
    assert trust() == "user"
    agent.line("forget", "--captured")
    assert trust() == "user"
