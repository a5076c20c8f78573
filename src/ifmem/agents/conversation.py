"""A few words of MCP with a server on its standard streams, as an agent would speak them."""

from __future__ import annotations

import json
import os
import select
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from ifmem.clock import milliseconds_since, monotonic, stopwatch_ns

_PROTOCOL = "2025-06-18"
"""What Codex 0.169 and Gemini CLI 0.61 offer."""
_END_S = 5.0
_LAST_WORDS = 300


class SilentServerError(Exception):
    """The server did not say what it should have; the message is a sentence without its end."""


@dataclass(frozen=True, slots=True)
class Heard:
    """What a round trip came to."""

    tools: int
    ms: float
    """From the start of the process to the last answer."""


def round_trip(
    command: Sequence[str],
    *,
    environment: Mapping[str, str],
    directory: Path,
    patience_s: float,
) -> Heard:
    """Start a server, greet it, list its tools, and call ``status`` and ``recall``.

    Raises:
        SilentServerError: it does not start, says something else, or takes longer.
    """
    started = stopwatch_ns()
    with tempfile.TemporaryFile() as words:
        try:
            process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=words,
                env=dict(environment),
                cwd=directory,
            )
        except OSError as error:
            raise SilentServerError(f"it does not start: {error}") from error
        with process:
            try:
                tools = _talk(_Talk(process, words, monotonic() + patience_s))
                return Heard(tools, milliseconds_since(started))
            finally:
                _end(process)


def _talk(talk: _Talk) -> int:
    """Everything in turn; how many tools there are."""
    client = {"name": "ifmem-doctor", "version": "1"}
    greeting = {"protocolVersion": _PROTOCOL, "capabilities": {}, "clientInfo": client}
    talk.ask("initialize", greeting)
    talk.say({"method": "notifications/initialized"})
    tools = talk.ask("tools/list", {}).get("tools") or []
    names = {tool.get("name") for tool in tools}
    for name, arguments in (("status", {}), ("recall", {"query": "ifmem", "max_tokens": 200})):
        if name not in names:
            raise SilentServerError(f"it has no tool {name}")
        answer = talk.ask("tools/call", {"name": name, "arguments": arguments})
        if answer.get("isError"):
            raise SilentServerError(f"{name} fails: {_text(answer)}")
    return len(tools)


class _Talk:
    """Lines to and from a process, each within the deadline of them all."""

    def __init__(self, process: subprocess.Popen[bytes], words: IO[bytes], deadline: float) -> None:
        self._process = process
        self._words = words
        self._deadline = deadline
        self._heard = b""
        self._number = 0

    def say(self, message: Mapping[str, Any]) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps({"jsonrpc": "2.0", **message}).encode() + b"\n")
            self._process.stdin.flush()
        except OSError as error:
            raise self._ended() from error

    def ask(self, method: str, params: Mapping[str, Any]) -> dict[str, Any]:
        """The result of a request; notifications in between are passed over."""
        self._number += 1
        self.say({"id": self._number, "method": method, "params": dict(params)})
        while True:
            message = self._next(method)
            if message.get("id") != self._number or "method" in message:
                continue
            if "error" in message:
                said = message["error"]
                raise SilentServerError(f"{method} fails: {_short(said.get('message', said))}")
            result = message.get("result")
            if not isinstance(result, dict):
                raise SilentServerError(f"{method} is answered without a result")
            return result

    def _next(self, method: str) -> dict[str, Any]:
        assert self._process.stdout is not None
        while b"\n" not in self._heard:
            left = self._deadline - monotonic()
            ready = left > 0 and select.select([self._process.stdout], [], [], left)[0]
            if not ready:
                raise SilentServerError(f"{method} is not answered in time{self._last_words()}")
            chunk = os.read(self._process.stdout.fileno(), 65_536)
            if not chunk:
                raise self._ended()
            self._heard += chunk
        line, _, self._heard = self._heard.partition(b"\n")
        try:
            message = json.loads(line)
        except ValueError as error:
            raise SilentServerError(f"it prints what is no MCP: {_short(line)}") from error
        return message if isinstance(message, dict) else {}

    def _ended(self) -> SilentServerError:
        return SilentServerError(f"it ends before it answers{self._last_words()}")

    def _last_words(self) -> str:
        """What it wrote on its standard error, where it wrote anything."""
        self._words.seek(0)
        said = self._words.read()[-_LAST_WORDS:]
        return f", and says: {_short(said)}" if said.strip() else ""


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the process as agents do: its input ends; only then by force."""
    assert process.stdin is not None
    try:
        process.stdin.close()
        process.wait(_END_S)
    except (OSError, subprocess.TimeoutExpired):
        process.kill()


def _text(answer: Mapping[str, Any]) -> str:
    parts = [part.get("text") for part in answer.get("content") or [] if isinstance(part, dict)]
    return _short(" ".join(part for part in parts if isinstance(part, str)))


def _short(said: object) -> str:
    text = said.decode(errors="replace") if isinstance(said, bytes) else str(said)
    return " ".join(text.split())[:_LAST_WORDS]
