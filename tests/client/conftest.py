"""A daemon's end of the socket that a test scripts: our own protocol, without a memory behind."""

from __future__ import annotations

import json
import socketserver
import threading
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from ifmem.settings import Settings
from ifmem.wire.calls import PROTOCOL

Call = dict[str, Any]
Line = dict[str, Any] | bytes | None
"""What is sent back: a reply without its id, raw bytes, or None to hang up."""


class ScriptedDaemon:
    """Answers each call with what its script yields, and remembers the calls."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.socket = home / "daemon.sock"
        self.calls: list[Call] = []
        self.hung_up = threading.Event()
        self.script: dict[str, Callable[[Call], Iterator[Line]]] = {}
        self.hello = {"version": metadata.version("ifmem"), "protocol": PROTOCOL, "pid": 1}

    @property
    def settings(self) -> Settings:
        return Settings(home=str(self.home))

    def on(self, method: str, *lines: Line) -> None:
        """Answer every call of ``method`` with these lines."""
        self.script[method] = lambda _: iter(lines)

    def asked(self, method: str) -> list[dict[str, Any]]:
        """The parameters of the calls of ``method`` so far."""
        return [call["params"] for call in self.calls if call["method"] == method]

    def replies(self, call: Call) -> Iterator[Line]:
        if call["method"] == "hello" and "hello" not in self.script:
            return iter([{"result": self.hello}])
        return self.script[call["method"]](call)


class _Conversation(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        daemon: ScriptedDaemon = self.server.daemon  # type: ignore[attr-defined]
        for line in self.rfile:
            call = json.loads(line)
            daemon.calls.append(call)
            for reply in daemon.replies(call):
                if reply is None:
                    return
                if isinstance(reply, dict):
                    reply = json.dumps({"id": call["id"], **reply}).encode() + b"\n"
                self.wfile.write(reply)
        daemon.hung_up.set()


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[ScriptedDaemon]:
    scripted = ScriptedDaemon(tmp_path)
    with socketserver.ThreadingUnixStreamServer(str(scripted.socket), _Conversation) as server:
        server.daemon_threads = True
        server.daemon = scripted  # type: ignore[attr-defined]
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield scripted
        server.shutdown()
        thread.join()
