"""The shim's first line, and what it makes of what it meets at the socket."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ifmem.errors import IfMemError, Invalid, NotPermitted, Unavailable, to_wire
from ifmem.shim.binding import Binding, Identity
from ifmem.sockets import MCP_SOCKET, socket_path

VERSION = "7.8.9"
READY = {"ready": True, "version": VERSION, "max_request_bytes": 1_234}
PATIENCE_S = 30.0


class Listener:
    """Somebody at the socket for agents, who answers each connection with the next text."""

    def __init__(self, home: Path, *answers: bytes) -> None:
        self.heard: list[Any] = []
        self._server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._server.bind(str(socket_path(home, MCP_SOCKET)))
        self._server.listen()
        self._thread = threading.Thread(target=self._serve, args=(answers,), daemon=True)
        self._thread.start()

    def _serve(self, answers: tuple[bytes, ...]) -> None:
        for answer in answers:
            connection, _ = self._server.accept()
            with connection, connection.makefile("rb") as lines:
                self.heard.append(json.loads(lines.readline()))
                connection.sendall(answer)

    def close(self) -> None:
        self._thread.join(PATIENCE_S)
        self._server.close()


@pytest.fixture
def meet(tmp_path: Path) -> Iterator[Any]:
    """Puts somebody at the socket, and gives the binding that goes there."""
    made: list[Listener] = []

    def bind(*answers: bytes) -> tuple[Binding, Listener]:
        made.append(Listener(tmp_path, *answers))
        identity = Identity(tmp_path, "claude", home=str(tmp_path), space="acme")
        return Binding(identity, {"HOME": str(tmp_path)}, VERSION), made[-1]

    yield bind
    for one in made:
        one.close()


def _line(message: object) -> bytes:
    return json.dumps(message).encode() + b"\n"


def _refused(error: IfMemError) -> bytes:
    return _line({"jsonrpc": "2.0", "id": None, "error": {"code": 1, "data": to_wire(error)}})


def test_the_first_line_says_who_connects(meet: Any, tmp_path: Path) -> None:
    binding, listener = meet(_line(READY) + b"more")
    link = binding.connect()
    link.socket.close()
    assert (link.limit, link.begun) == (1_234, b"more")
    assert listener.heard == [
        {
            "protocol": 1,
            "version": VERSION,
            "space": "acme",
            "root": str(tmp_path),
            "agent": "claude",
        }
    ]


def test_the_daemon_s_refusal_is_the_error(meet: Any) -> None:
    binding, _ = meet(_refused(Invalid("no such space", space="x")))
    with pytest.raises(Invalid, match="no such space") as told:
        binding.connect()
    assert told.value.facts == {"space": "x"}


def test_who_is_refused_before_having_said_anything_hears_why(tmp_path: Path) -> None:
    taken = threading.Event()

    class Late(Binding):
        """Says its line after the other end has closed."""

        def _greet(self, connection: socket.socket, where: Any) -> Any:
            assert taken.wait(PATIENCE_S)
            return super()._greet(connection, where)

    def refuse(server: socket.socket) -> None:
        connection, _ = server.accept()
        connection.sendall(_refused(Unavailable("too many agents")))
        connection.close()
        taken.set()

    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as server:
        server.bind(str(socket_path(tmp_path, MCP_SOCKET)))
        server.listen()
        thread = threading.Thread(target=refuse, args=(server,))
        thread.start()
        binding = Late(Identity(tmp_path, "claude", home=str(tmp_path)), {}, VERSION)
        with pytest.raises(Unavailable, match="too many agents"):
            binding.connect()
        thread.join(PATIENCE_S)


@pytest.mark.parametrize(
    "answer",
    [
        _line(READY | {"version": "0.0.1"}),
        _line({"id": 0, "error": {"error": "Invalid", "message": "this is no call"}}),
        b"220 ready\n",
        b"[]\n",
    ],
)
def test_a_daemon_of_another_version_is_to_be_ended_by_the_person(meet: Any, answer: bytes) -> None:
    binding, _ = meet(answer)
    with pytest.raises(Unavailable, match="`ifmem down`"):
        binding.connect()


def test_a_daemon_that_hangs_up_is_asked_again_and_not_for_ever(meet: Any) -> None:
    binding, listener = meet(b"", _line(READY))
    binding.connect().socket.close()
    assert len(listener.heard) == 2
    listener.close()


def test_what_the_starting_command_says_is_the_error(tmp_path: Path) -> None:
    home = tmp_path / "file"
    home.touch()
    identity = Identity(tmp_path, "claude", home=str(home))
    binding = Binding(identity, {"PATH": "/usr/bin", "HOME": str(tmp_path)}, VERSION)
    with pytest.raises(NotPermitted, match="is a file"):
        binding.connect()


def test_a_module_that_lies_in_the_project_is_not_run(tmp_path: Path) -> None:
    trap = tmp_path / "trap"
    (tmp_path / "ifmem").mkdir()
    for name in ("typer.py", "ifmem/__init__.py", "ifmem/__main__.py"):
        (tmp_path / name).write_text(f"open({str(trap)!r}, 'w')", encoding="utf-8")
    home = tmp_path / "file"
    home.touch()
    identity = Identity(tmp_path, "claude", home=str(home))
    with pytest.raises(NotPermitted):
        Binding(identity, {"HOME": str(tmp_path)}, VERSION).connect()
    assert not trap.exists()


def test_nothing_is_started_for_an_agent_that_has_ended(tmp_path: Path) -> None:
    binding = Binding(Identity(tmp_path, "claude", home=str(tmp_path)), {}, VERSION)
    binding.close()
    with pytest.raises(Unavailable, match="has ended"):
        binding.connect()
