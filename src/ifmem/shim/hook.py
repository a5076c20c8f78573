"""``ifmem hook AGENT``: tells the daemon what an agent did, in the time the agent does not notice.

One event comes on standard input (of Codex's ``notify`` as the last argument) and goes as one line
to the daemon; when none takes it in time, into the spool. Whatever happens, the exit code is 0 and
nothing is printed but what the agent's hook protocol knows.

Few modules are imported, and those that cost time only where they are needed: paths are texts.
"""

# ruff: noqa: PTH100, PTH109, PTH110, PTH111, PTH113, PTH116, PTH120

from __future__ import annotations

import os
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

ANSWER_SECONDS = 0.025
"""How long the daemon may take from the start of ``main``; then the event is spooled. The variable
``IFMEM_HOOK_SECONDS`` gives another time."""
STDIN_SECONDS = 1.0
"""An agent that does not end its event by then is not waited for."""
MOST_EVENT_BYTES = 32 * 1024 * 1024
"""A larger event is not read to its end, and not captured."""
MOST_VALUE_CHARACTERS = 256 * 1024
"""Of a string in an event that is too large; what is longer is cut, with a note where."""
MOST_LINE_BYTES = 1024 * 1024
"""Of an event as it is sent; one that is larger when all is cut is not captured."""
MOST_SPOOL_BYTES = 16 * 1024 * 1024
"""The spool takes nothing more then: the oldest is kept, and the daemon takes it in."""
SPOOL = "captured.jsonl"
_SOCKET = "daemon.sock"
_MOST_SOCKET_BYTES = 100
_SMALL_VALUE_CHARACTERS = 8 * 1024
_MOST_ANSWER_BYTES = 1024 * 1024
_ROOTS = ("CLAUDE_PROJECT_DIR", "GEMINI_PROJECT_DIR")
_LOOKS, _LOOK_SECONDS = 10, 0.002
_NAME = "hook_event_name"


def main(arguments: Sequence[str]) -> int:
    """Capture one event; always 0.

    Args:
        arguments: ``AGENT [--home H] [--space S] [--root DIR] [--share]``, and for ``notify`` the
            event.
    """
    begun = _seconds()
    try:
        until = begun + float(os.environ.get("IFMEM_HOOK_SECONDS") or ANSWER_SECONDS)
        _main(list(arguments), until)
    except Exception:
        # An agent must not stumble over its memory. `ifmem doctor` says what is wrong with it.
        if os.environ.get("IFMEM_HOOK_DEBUG"):
            raise
    return 0


def _seconds() -> float:
    return time.monotonic()  # noqa: TID251 - ifmem.clock takes longer to import than all of this


class _Options:
    """What the command line says."""

    def __init__(self, arguments: list[str]) -> None:
        self.agent = ""
        self.event: bytes | None = None
        self.share = False
        self.values: dict[str, str] = {}
        waiting = iter(arguments)
        for word in waiting:
            name, equals, value = word.partition("=")
            if name in ("--home", "--space", "--root"):
                self.values[name[2:]] = value if equals else next(waiting, "")
            elif word == "--share":
                self.share = True
            elif word.lstrip()[:1] == "{":
                self.event = word.encode("utf-8", "surrogateescape")
            elif not self.agent and not word.startswith("-"):
                self.agent = word


def _main(arguments: list[str], until: float) -> None:
    options = _Options(arguments)
    raw = _stdin() if options.event is None else options.event
    if raw is None or raw.lstrip()[:1] != b"{":
        return
    root = _absolute(options.values.get("root") or _root(raw))
    home, space = _place(options.values, root)
    if b'"SessionStart"' in raw and (begun := _decoded(raw)).get(_NAME) == "SessionStart":
        answer = _ask(home, _line("brief", space, f'{{"root":{_quoted(root)}}}'), until)
        if answer is not None:
            _print_context(begun, _brief(answer))
        return
    said = _small(raw)
    if said is None:
        return
    line = _line("capture", space, _capture(options, root, said))
    answer = _ask(home, line, until)
    if answer is None:
        _spool(home, line)
    elif b'"unchanged"' in answer:
        _print_context(_decoded(raw), _unchanged(answer))


def _stdin() -> bytes | None:
    """All of standard input; None when it does not end in time or is too much."""
    import select

    ending = _seconds() + STDIN_SECONDS
    chunks: list[bytes] = []
    size = 0
    while size <= MOST_EVENT_BYTES:
        ready, _, _ = select.select([0], [], [], max(0.0, ending - _seconds()))
        if not ready:
            return None
        chunk = os.read(0, 1 << 20)
        if not chunk:
            return b"".join(chunks)
        chunks.append(chunk)
        size += len(chunk)
    return None


def _decoded(raw: bytes) -> Mapping[str, Any]:
    """The object at the beginning; an empty one when there is something else."""
    try:
        # What `json` itself uses: importing all of it takes longer than asking the daemon.
        from _json import make_scanner
    except ImportError:
        from json import JSONDecoder

        return dict(JSONDecoder().raw_decode(raw.decode("utf-8", "replace").lstrip())[0])
    try:
        scan = make_scanner(_Plainly)  # type: ignore[arg-type]  # only read
        event, _ = scan(raw.decode("utf-8", "replace").lstrip(), 0)
    except (ValueError, StopIteration, RecursionError):
        return {}
    return event if isinstance(event, dict) else {}


class _Plainly:
    """How a JSON text becomes a value, as a scanner wants to be told."""

    strict = True
    object_hook = object_pairs_hook = None
    parse_float, parse_int, parse_constant = float, int, float


def _root(raw: bytes) -> str:
    """The project: as the agent's environment says, else where its session stands."""
    named = next(filter(None, map(os.environ.get, _ROOTS)), None)
    cwd = named or _decoded(raw).get("cwd")
    return cwd if isinstance(cwd, str) and cwd.startswith("/") else os.getcwd()


def _place(values: Mapping[str, str], root: str) -> tuple[str, str]:
    """The home and the space, as ``shim.places`` says; imported where settings files have a say."""
    home = values.get("home") or os.environ.get("IFMEM_HOME")
    space = values.get("space") or os.environ.get("IFMEM_SPACE")
    if home and space:
        return _absolute(home), space
    if sys.platform != "darwin" and not _has_settings(root):
        default = _user_directory("XDG_DATA_HOME", ".local/share")
        return _absolute(home or default), space or "default"
    from pathlib import Path

    from ifmem.shim.places import place

    found = place(home=home, space=space, environment=os.environ, directory=Path(root))
    return str(found.home), found.space


def _has_settings(root: str) -> bool:
    """Whether some settings file has a say, or one is named that is not there."""
    named = os.environ.get("IFMEM_CONFIG")
    own = named or f"{_user_directory('XDG_CONFIG_HOME', '.config')}/config.toml"
    if os.path.isfile(own) or (named and not os.path.exists(named)):
        return True
    folder = root
    while not os.path.isfile(f"{folder}/.ifmem.toml"):
        above = os.path.dirname(folder)
        if above == folder:
            return False
        folder = above
    return True


def _user_directory(variable: str, fallback: str) -> str:
    named = os.environ.get(variable, "").strip()
    return f"{named if named.startswith('/') else os.path.expanduser(f'~/{fallback}')}/ifmem"


def _absolute(path: str) -> str:
    return os.path.abspath(os.path.expanduser(path))


def _line(method: str, space: str, params: str) -> bytes:
    return f'{{"id":1,"method":"{method}","space":{_quoted(space)},"params":{params}}}\n'.encode()


def _capture(options: _Options, root: str, said: bytes) -> str:
    at = time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime())
    share = "true" if options.share else "false"
    # As a text, which the daemon reads: whatever came on standard input, the line is one call.
    return (
        f'{{"agent":{_quoted(options.agent)},"root":{_quoted(root)},"share":{share},'
        f'"at":"{at}","event":{_quoted(said.decode("utf-8", "replace"))}}}'
    )


def _quoted(text: str) -> str:
    try:
        from _json import encode_basestring_ascii as quoted
    except ImportError:
        from json import dumps as quoted
    return quoted(text.encode("utf-8", "surrogateescape").decode("utf-8", "replace"))


def _small(raw: bytes) -> bytes | None:
    """The event, its longest values cut when it is too large; None when that does not help."""
    said = raw
    for most in (MOST_VALUE_CHARACTERS, _SMALL_VALUE_CHARACTERS):
        if len(said) > MOST_LINE_BYTES:
            said = _cut(raw, most)
    return None if len(said) > MOST_LINE_BYTES else said


def _cut(raw: bytes, most: int) -> bytes:
    import json

    return json.dumps(_shortened(_decoded(raw), most)).encode()


def _shortened(value: Any, most: int) -> Any:
    if isinstance(value, str) and len(value) > most:
        half = most // 2
        left_out = len(value) - 2 * half
        return f"{value[:half]}\n[… {left_out:,} characters are left out …]\n{value[-half:]}"
    if isinstance(value, dict):
        return {name: _shortened(one, most) for name, one in value.items()}
    if isinstance(value, list):
        return [_shortened(one, most) for one in value]
    return value


def _ask(home: str, line: bytes, until: float) -> bytes | None:
    """The daemon's answer to one call; None when no daemon gave one in time."""
    try:
        # What `socket` itself uses, without the names that take long to import.
        import _socket as network
    except ImportError:
        import socket as network  # type: ignore[no-redef]

    path = f"{home}/{_SOCKET}"
    if len(os.fsencode(path)) > _MOST_SOCKET_BYTES:
        from pathlib import Path

        from ifmem.sockets import socket_path

        path = str(socket_path(Path(home), _SOCKET))
    answer = b""
    connection = network.socket(network.AF_UNIX, network.SOCK_STREAM)
    try:
        connection.settimeout(_left(until))
        connection.connect(path)
        connection.sendall(line)
        while not answer.endswith(b"\n") and len(answer) < _MOST_ANSWER_BYTES:
            connection.settimeout(_left(until))
            chunk = connection.recv(65_536)
            if not chunk:
                return None
            answer += chunk
    except OSError:
        return None
    finally:
        connection.close()
    return answer


def _left(until: float) -> float:
    # Zero would mean a connection that never waits.
    return max(until - _seconds(), 0.001)


def _result(answer: bytes) -> Mapping[str, Any]:
    result = _decoded(answer).get("result")
    return result if isinstance(result, dict) else {}


def _brief(answer: bytes) -> str:
    text = _result(answer).get("text")
    return text if isinstance(text, str) else ""


def _unchanged(answer: bytes) -> str:
    told = _result(answer)
    source, sha256, shard = told.get("source"), told.get("sha256"), told.get("shard")
    if told.get("outcome") != "unchanged" or not sha256:
        return ""
    return f"ifmem: {source} is unchanged since sha256 {sha256}, as stored in shard {shard}."


def _print_context(event: Mapping[str, Any], text: str) -> None:
    """Give the agent a text beside what it has, as Claude Code, Codex and Gemini CLI take it."""
    if not text:
        return
    name = _quoted(str(event.get(_NAME)))
    said = f'{{"hookEventName":{name},"additionalContext":{_quoted(text)}}}'
    data = f'{{"hookSpecificOutput":{said}}}\n'.encode()
    while data:
        data = data[os.write(1, data) :]


def _spool(home: str, line: bytes) -> None:
    """Append a call to the spool of a home that exists, whole or not at all."""
    import fcntl

    path = f"{home}/{SPOOL}"
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    for _ in range(_LOOKS):
        descriptor = os.open(path, flags, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # The daemon takes a spool by renaming it: what is written afterwards would be lost.
            if os.path.samestat(os.fstat(descriptor), os.stat(path)):
                return _append(descriptor, line)
        except OSError:
            time.sleep(_LOOK_SECONDS)
        finally:
            os.close(descriptor)


def _append(descriptor: int, line: bytes) -> None:
    size = os.fstat(descriptor).st_size
    if size + len(line) > MOST_SPOOL_BYTES:
        return
    if os.write(descriptor, line) < len(line):
        # A full disk: half a call is none.
        os.ftruncate(descriptor, size)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
