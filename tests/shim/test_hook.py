"""What an agent's hook starts: tells the daemon in time, or writes it down, and never stumbles."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import select
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from ifmem import places, sockets
from ifmem.shim import hook
from ifmem.shim.places import place
from ifmem.wire.agent_calls import BriefCall, CaptureCall
from ifmem.wire.calls import Request

PATIENCE_S = 30.0
READ = {
    "session_id": "s-1",
    "cwd": "/home/ada/shop",
    "hook_event_name": "PostToolUse",
    "tool_name": "Read",
    "tool_input": {"file_path": "/home/ada/shop/ä.py"},
    "tool_response": {"file": {"content": "x = 1"}},
}
BEGINS = {"hook_event_name": "SessionStart", "source": "startup", "cwd": "/home/ada/shop"}
UNCHANGED = {"outcome": "unchanged", "source": "/p/a.py", "sha256": "ab" * 32, "shard": 3}


class Daemon:
    """Answers one call on the home's socket with a result, or keeps silent."""

    def __init__(self, home: Path) -> None:
        self.lines: list[bytes] = []
        self._answer: bytes | None = None
        self._end = threading.Event()
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(str(home / sockets.DAEMON_SOCKET))
        self._listener.listen()
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def answers(self, result: object) -> None:
        self._answer = json.dumps({"id": 1, "result": result}).encode() + b"\n"

    @property
    def params(self) -> Any:
        """Of the newest call, decoded as the daemon does it."""
        request = msgspec.json.decode(self.lines[-1], type=Request)
        kind = {"capture": CaptureCall, "brief": BriefCall}[request.method]
        return msgspec.json.decode(request.params, type=kind)

    def close(self) -> None:
        self._end.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join(PATIENCE_S)
        self._listener.close()

    def _serve(self) -> None:
        while not self._end.is_set():
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            # A hook that waited long enough has hung up.
            with (
                contextlib.suppress(ConnectionError),
                connection,
                connection.makefile("rb") as lines,
            ):
                self.lines.append(lines.readline())
                if self._answer is None:
                    # Silent until the hook hangs up.
                    lines.read()
                else:
                    connection.sendall(self._answer)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    folder = tmp_path / "home"
    folder.mkdir()
    return folder


@pytest.fixture
def daemon(home: Path) -> Iterator[Daemon]:
    serving = Daemon(home)
    yield serving
    serving.close()


@pytest.fixture
def say(home: Path, tmp_path: Path) -> Callable[..., bytes]:
    """Runs a hook with an event on its standard input; what it printed. It must exit with 0."""

    def run(event: object, *more: str, agent: str = "claude", **options: Any) -> bytes:
        patience = {"IFMEM_HOOK_SECONDS": str(options.pop("seconds", PATIENCE_S))}
        given = event if isinstance(event, bytes) else json.dumps(event).encode()
        environment = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith("IFMEM_") and not name.endswith("_PROJECT_DIR")
        }
        done = subprocess.run(
            [
                *(sys.executable, "-m", "ifmem", "hook", agent),
                *(more or (f"--home={home}", "--space", "acme")),
            ],
            input=given,
            capture_output=True,
            cwd=tmp_path,
            env=environment | patience | options.pop("environment", {}),
            timeout=PATIENCE_S,
            check=False,
            **options,
        )
        assert (done.returncode, done.stderr) == (0, b"")
        printed: bytes = done.stdout
        return printed

    return run


def spooled(home: Path) -> list[Any]:
    return [json.loads(line) for line in (home / places.SPOOL).read_bytes().splitlines()]


def test_the_names_spelled_here_are_those_of_the_daemon() -> None:
    assert hook.SPOOL == places.SPOOL
    assert sockets.DAEMON_SOCKET == hook._SOCKET
    assert sockets.MAX_SOCKET_BYTES == hook._MOST_SOCKET_BYTES


def test_an_event_goes_to_the_daemon_as_one_call(
    say: Callable[..., bytes], daemon: Daemon, home: Path
) -> None:
    daemon.answers({"outcome": "taken"})
    pretty = json.dumps(READ, indent=1, ensure_ascii=False).encode()
    assert say(pretty, f"--home={home}", "--space=acme", "--share") == b""
    request = msgspec.json.decode(daemon.lines[0], type=Request)
    assert (request.method, request.space) == ("capture", "acme")
    call = daemon.params
    assert json.loads(call.event) == READ
    assert (call.agent, call.root, call.share) == ("claude", "/home/ada/shop", True)
    assert not (home / places.SPOOL).exists()


def test_the_root_is_the_flag_s_else_the_environment_s_else_the_session_s(
    say: Callable[..., bytes], daemon: Daemon, home: Path, tmp_path: Path
) -> None:
    daemon.answers({"outcome": "taken"})
    named = (f"--home={home}", "--space=acme", "--root", "/home/ada/flag")
    set_by_agent = {"environment": {"CLAUDE_PROJECT_DIR": "/home/ada/set"}}
    say(READ, *named, **set_by_agent)
    say(READ, **set_by_agent)
    say(READ)
    say({"hook_event_name": "Stop"})
    roots = [
        msgspec.json.decode(msgspec.json.decode(line, type=Request).params, type=CaptureCall).root
        for line in daemon.lines
    ]
    assert roots == ["/home/ada/flag", "/home/ada/set", "/home/ada/shop", str(tmp_path)]


def test_a_read_of_an_unchanged_file_gets_a_note_beside_what_was_read(
    say: Callable[..., bytes], daemon: Daemon
) -> None:
    daemon.answers(UNCHANGED)
    printed = json.loads(say(READ))
    assert printed.keys() == {"hookSpecificOutput"}
    told = printed["hookSpecificOutput"]
    assert told["hookEventName"] == "PostToolUse"
    assert all(part in told["additionalContext"] for part in ("/p/a.py", "ab" * 32, "shard 3"))


def test_a_session_begins_with_a_brief_and_without_one_when_there_is_nothing_to_say(
    say: Callable[..., bytes], daemon: Daemon, home: Path
) -> None:
    daemon.answers({"text": "<data>seven attempts</data>", "findings": 1, "tokens": 5})
    printed = json.loads(say(BEGINS))["hookSpecificOutput"]
    assert printed == {
        "hookEventName": "SessionStart",
        "additionalContext": "<data>seven attempts</data>",
    }
    assert daemon.params == BriefCall(root="/home/ada/shop")
    daemon.answers({"text": "", "findings": 0, "tokens": 0})
    assert say(BEGINS) == b""
    assert not (home / places.SPOOL).exists()


def test_a_tool_that_prints_the_word_does_not_begin_a_session(
    say: Callable[..., bytes], daemon: Daemon
) -> None:
    daemon.answers({"outcome": "taken"})
    say(READ | {"tool_response": {"hook_event_name": "SessionStart"}})
    assert isinstance(daemon.params, CaptureCall)


def test_without_a_daemon_the_event_is_written_down_and_no_daemon_is_started(
    say: Callable[..., bytes], home: Path
) -> None:
    for number in range(3):
        assert say(READ | {"tool_use_id": number}) == b""
    lines = spooled(home)
    assert [json.loads(line["params"]["event"])["tool_use_id"] for line in lines] == [0, 1, 2]
    assert all(line["params"]["at"].endswith("Z") for line in lines)
    assert (home / places.SPOOL).stat().st_mode & 0o777 == 0o600
    assert [one.name for one in home.iterdir()] == [places.SPOOL]
    assert say(BEGINS) == b""
    assert len(spooled(home)) == 3


def test_a_daemon_that_does_not_answer_in_time_costs_the_budget_and_no_event(
    say: Callable[..., bytes], daemon: Daemon, home: Path
) -> None:
    assert say(READ, seconds=hook.ANSWER_SECONDS) == b""
    assert len(spooled(home)) == 1


def test_a_socket_that_nobody_listens_on_is_as_no_daemon(
    say: Callable[..., bytes], home: Path
) -> None:
    left = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    left.bind(str(home / sockets.DAEMON_SOCKET))
    left.close()
    say(READ)
    assert len(spooled(home)) == 1


def test_a_home_with_a_long_path_is_found_where_the_daemon_listens(
    say: Callable[..., bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    far = tmp_path / ("long" * 30)
    far.mkdir()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    where = sockets.socket_path(far, sockets.DAEMON_SOCKET)
    assert where.parent != far
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(where))
        try:
            listener.listen()
            hears = threading.Thread(target=say, args=(READ, f"--home={far}", "--space=acme"))
            hears.start()
            assert select.select([listener], [], [], PATIENCE_S)[0]
            listener.accept()[0].close()
            hears.join(PATIENCE_S)
        finally:
            where.unlink()


@pytest.mark.parametrize(
    "event",
    [
        b"",
        b"\n",
        b"{",
        b"[1, 2]",
        b'"text"',
        b"\xff\xfe{",
        b'{"hook_event_name": "SessionStart"',
        b'{"a":1},"method":"stop","x":{',
        b'{"event": "\xff"}',
    ],
)
def test_what_is_no_event_ends_well_and_is_never_another_call(
    say: Callable[..., bytes], daemon: Daemon, event: bytes
) -> None:
    daemon.answers({"outcome": "skipped"})
    assert say(event) == b""
    for line in daemon.lines:
        request = msgspec.json.decode(line, type=Request)
        assert request.method == "capture"
        assert isinstance(daemon.params, CaptureCall)


@pytest.mark.parametrize(
    "arguments",
    [
        ("--home", "/proc/1/no-such-home", "--space", "acme"),
        ("--home", "/dev/null", "--space", "acme"),
        ("--home",),
        ("--no-such-flag", "--space"),
    ],
)
def test_a_home_that_cannot_be_is_no_error(
    say: Callable[..., bytes], arguments: tuple[str, ...], tmp_path: Path
) -> None:
    environment = {"XDG_DATA_HOME": str(tmp_path / "none"), "HOME": str(tmp_path / "none")}
    assert say(READ, *arguments, environment=environment) == b""
    assert not (tmp_path / "none").exists()


def test_a_settings_file_that_cannot_be_read_is_no_error(
    say: Callable[..., bytes], tmp_path: Path
) -> None:
    (tmp_path / ".ifmem.toml").write_text("space = [")
    assert say({"hook_event_name": "Stop"}, "--share") == b""


def test_the_project_s_settings_name_the_space(
    say: Callable[..., bytes], home: Path, tmp_path: Path
) -> None:
    (tmp_path / ".ifmem.toml").write_text('space = "orchard"')
    say({"hook_event_name": "Stop"}, f"--home={home}")
    assert spooled(home)[0]["space"] == "orchard"


PLACES = [
    {},
    {"IFMEM_HOME": "/somewhere/else", "IFMEM_SPACE": "orchard"},
    {"IFMEM_HOME": "~/memory"},
    {"IFMEM_SPACE": "orchard"},
    {"XDG_DATA_HOME": "/data"},
    {"XDG_DATA_HOME": "not absolute"},
    {"IFMEM_CONFIG": "{user}/mine.toml"},
    {"IFMEM_CONFIG": "/dev/null"},
    {"XDG_CONFIG_HOME": "{user}/settings"},
    {"IFMEM_HOME": "relative/home"},
]


@pytest.mark.parametrize("environment", PLACES, ids=str)
@pytest.mark.parametrize("project", ["plain", "set/below"])
@pytest.mark.parametrize("flags", [{}, {"home": "/flag"}, {"space": "flag"}])
def test_home_and_space_are_those_that_the_shim_finds(
    environment: dict[str, str],
    project: str,
    flags: dict[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    root = tmp_path / "projects" / project
    root.mkdir(parents=True)
    (tmp_path / "projects/set").mkdir(exist_ok=True)
    (tmp_path / "projects/set/.ifmem.toml").write_text('space = "set"')
    (tmp_path / "settings/ifmem").mkdir(parents=True)
    (tmp_path / "settings/ifmem/config.toml").write_text('home = "/of/settings"')
    (tmp_path / "mine.toml").write_text('space = "mine"')
    for name in ("IFMEM_HOME", "IFMEM_SPACE", "IFMEM_CONFIG", "XDG_DATA_HOME", "XDG_CONFIG_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "person"))
    for name, value in environment.items():
        monkeypatch.setenv(name, value.replace("{user}", str(tmp_path)))
    monkeypatch.chdir(tmp_path)
    found = place(
        home=flags.get("home"),
        space=flags.get("space"),
        environment=os.environ,
        directory=root,
    )
    assert hook._place(flags, str(root)) == (str(found.home), found.space)


def test_a_full_disk_leaves_no_half_of_a_call(say: Callable[..., bytes], home: Path) -> None:
    say(READ)
    whole = (home / places.SPOOL).read_bytes()

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (len(whole) + 10, len(whole) + 10))

    say(READ, preexec_fn=limit)
    assert (home / places.SPOOL).read_bytes() == whole


def test_a_closed_standard_output_is_no_error(home: Path, daemon: Daemon) -> None:
    daemon.answers(UNCHANGED)
    command = [sys.executable, "-m", "ifmem", "hook", "claude", f"--home={home}", "--space=acme"]
    with subprocess.Popen(
        ["sh", "-c", 'exec "$@" >&-', "sh", *command],
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        _, errors = process.communicate(json.dumps(READ).encode(), timeout=PATIENCE_S)
    assert (process.returncode, errors) == (0, b"")


def test_an_agent_that_never_ends_its_event_is_not_waited_for(home: Path) -> None:
    command = [sys.executable, "-m", "ifmem", "hook", "claude", f"--home={home}", "--space=acme"]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as process:
        assert process.stdin is not None
        process.stdin.write(b'{"hook')
        process.stdin.flush()
        assert process.wait(PATIENCE_S) == 0


def test_long_values_are_cut_with_a_note_and_what_stays_too_long_is_not_sent(
    say: Callable[..., bytes], daemon: Daemon
) -> None:
    daemon.answers({"outcome": "taken"})
    output = "first line\n" + "x" * (3 * hook.MOST_LINE_BYTES) + "\nlast line"
    say(READ | {"tool_response": {"stdout": output}})
    assert len(daemon.lines[0]) < 2 * hook.MOST_LINE_BYTES
    kept = json.loads(daemon.params.event)["tool_response"]["stdout"]
    assert kept.startswith("first line")
    assert kept.endswith("last line")
    assert "characters are left out" in kept
    say(READ | {"tool_response": list(range(hook.MOST_LINE_BYTES))})
    assert len(daemon.lines) == 1


def test_the_spool_has_a_bound_and_keeps_the_oldest(say: Callable[..., bytes], home: Path) -> None:
    spool = home / places.SPOOL
    with spool.open("wb") as filled:
        filled.write(b"the oldest\n")
        filled.truncate(hook.MOST_SPOOL_BYTES)
    say(READ)
    assert spool.stat().st_size == hook.MOST_SPOOL_BYTES
    with spool.open("rb") as opened:
        assert opened.read(11) == b"the oldest\n"


def test_the_end_of_a_turn_comes_as_an_argument_from_codex_notify(home: Path) -> None:
    event = {"type": "agent-turn-complete", "cwd": "/home/ada/shop", "thread-id": "t"}
    command = [sys.executable, "-m", "ifmem", "hook", "codex", f"--home={home}", "--space=acme"]
    # Its standard input is open and says nothing.
    near, far = os.pipe()
    try:
        done = subprocess.run(
            [*command, json.dumps(event)], stdin=near, timeout=PATIENCE_S, check=False
        )
    finally:
        os.close(near)
        os.close(far)
    assert done.returncode == 0
    call = spooled(home)[0]["params"]
    assert (json.loads(call["event"]), call["root"]) == (event, "/home/ada/shop")


def test_a_hook_imports_little() -> None:
    show = (
        "import json, sys; before = set(sys.modules); sys.argv = ['ifmem', 'hook', 'claude', "
        "'--home', '/dev/null', '--space', 'acme', '--root', '/tmp']\n"
        "from ifmem.entrypoints.start import run\n"
        "code = run(); print(json.dumps(sorted(set(sys.modules) - before)), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-S", "-c", show],
        input=json.dumps(READ).encode(),
        capture_output=True,
        env={"PYTHONPATH": str(Path(hook.__file__).parents[2])},
        timeout=PATIENCE_S,
        check=True,
    )
    modules = set(json.loads(done.stderr))
    assert {one for one in modules if one.startswith("ifmem")} == {
        "ifmem",
        "ifmem.entrypoints",
        "ifmem.entrypoints.start",
        "ifmem.shim",
        "ifmem.shim.hook",
    }
    assert not modules & {"json", "re", "typing", "pathlib", "socket", "asyncio", "subprocess"}
