"""``ifmem mcp``: an agent's standard streams, joined to the daemon's socket for agents."""

from __future__ import annotations

import os
import select
import signal
import threading
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

from ifmem.shim.binding import Binding, Identity
from ifmem.shim.manifest import Manifest
from ifmem.shim.pump import Pump

INTERRUPTED = 130
DEFAULT_AGENT = "agent"
_STDIN, _STDOUT = 0, 1
_CHUNK_BYTES = 65_536
_LAST_ANSWERS_S = 10.0
"""How long requests may take on after the agent's last word."""
_LOOK_S = 0.05
_FLAGS = ("home", "space", "root", "agent")


def given(arguments: Sequence[str]) -> Identity | None:
    """What a command line asks for; None when it is one that only the full parser understands."""
    values: dict[str, str] = {}
    rest = iter(arguments)
    for argument in rest:
        name, equals, value = argument.removeprefix("--").partition("=")
        if not argument.startswith("--") or name not in _FLAGS:
            return None
        following = value if equals else next(rest, None)
        if following is None:
            return None
        values[name] = following
    return identity(**values)


def identity(
    home: str | None = None,
    space: str | None = None,
    root: str | None = None,
    agent: str | None = None,
) -> Identity:
    """Whom the shim speaks for; the project is ``root``, else the agent's, else where it stands."""
    project = root or os.environ.get("CLAUDE_PROJECT_DIR") or "."
    return Identity(Path(project).absolute(), agent or DEFAULT_AGENT, home, space)


def serve(whom: Identity) -> int:
    """Pass lines on until the agent has said its last; the exit code.

    Nothing but JSON-RPC goes to standard output, and no process is left but the daemon.
    """
    manifest = Manifest.read()
    binding = Binding(whom, os.environ, manifest.version)
    output = _Output()
    pump = Pump(binding, manifest, output.give)
    for name in (signal.SIGTERM, signal.SIGINT):
        signal.signal(name, _end)
    for stream in (_STDIN, _STDOUT):
        # Whoever started us may have left its own end's mode on ours.
        os.set_blocking(stream, True)
    try:
        pump.begin()
        while chunk := os.read(_STDIN, _CHUNK_BYTES):
            pump.take(chunk)
        pump.take(b"")
        _wait(pump, output)
    except _EndedError as ended:
        return INTERRUPTED if ended.number == signal.SIGINT else 0
    finally:
        for name in (signal.SIGTERM, signal.SIGINT):
            signal.signal(name, signal.SIG_IGN)
        pump.close()
        binding.close()
    return 0


class _EndedError(BaseException):
    """A signal asks to end."""

    def __init__(self, number: int) -> None:
        self.number = number


class _Output:
    """Standard output: whole lines, from any thread."""

    def __init__(self) -> None:
        self._writing = threading.Lock()
        self._hung_up = select.poll()
        self._hung_up.register(_STDOUT, 0)

    @property
    def is_gone(self) -> bool:
        """Whether nobody can read what is written."""
        return bool(self._hung_up.poll(0))

    def give(self, line: bytes) -> None:
        """Write a line; the shim ends when nobody reads it."""
        with self._writing:
            left = memoryview(line)
            try:
                while left:
                    left = left[os.write(_STDOUT, left) :]
            except OSError:
                os.kill(os.getpid(), signal.SIGTERM)


def _wait(pump: Pump, output: _Output) -> None:
    for _ in range(int(_LAST_ANSWERS_S / _LOOK_S)):
        if pump.answered(_LOOK_S) or output.is_gone:
            return


def _end(number: int, _: FrameType | None) -> None:
    raise _EndedError(number)
