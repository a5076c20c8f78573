"""Lines from the agent to the daemon and back, whether the daemon is there or not."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable
from typing import Any, Protocol

from ifmem.errors import Failed, IfMemError, to_wire
from ifmem.shim import lines
from ifmem.shim.binding import Link
from ifmem.shim.handshake import INITIALIZE, Handshake
from ifmem.shim.lines import Id, Lines, TooLong
from ifmem.shim.losses import LISTEN, Open, loss, opened
from ifmem.shim.manifest import Manifest

DEFAULT_LIMIT = 4 * 1024 * 1024
"""Bytes of a line, until a daemon says what it takes."""
_WAITING_BYTES = 8 * 1024 * 1024
"""With more waiting for a daemon, nothing further is read from the agent."""
_CHUNK_BYTES = 65_536
_NO_LIMIT = 1 << 62


class Binds(Protocol):
    """What makes connections to the daemon."""

    def connect(self) -> Link:
        """One; starts the daemon where none runs.

        Raises:
            IfMemError: why there is none.
        """
        ...


class _Session:
    """One connection to the daemon."""

    def __init__(self, link: Link, unasked: frozenset[Id]) -> None:
        self.socket = link.socket
        self.begun = link.begun
        self.unasked = unasked
        """Of requests that the shim repeated: their answers are not the agent's."""
        self.open: dict[Id, Open] = {}


class Pump:
    """Passes each line on, in order; answers itself while no daemon is there, and when one ends.

    The agent's lines come by ``take`` from one thread; what is for the agent goes to ``give``:
    whole lines, from several threads, which ``give`` keeps apart.
    """

    def __init__(self, bind: Binds, manifest: Manifest, give: Callable[[bytes], None]) -> None:
        self._bind = bind
        self._manifest = manifest
        self._give = give
        self._lines = Lines(DEFAULT_LIMIT)
        # Held for every change of what follows, and while lines go to the daemon, so that they
        # go in order; never while anything goes to the agent.
        self._changing = threading.Condition()
        self._session: _Session | None = None
        self._binding = False
        self._waiting: list[tuple[bytes, dict[str, Any]]] = []
        self._handshake = Handshake()

    def begin(self) -> None:
        """Look for the daemon before the agent asks for anything."""
        with self._changing:
            self._ensure_bound()

    def take(self, chunk: bytes) -> None:
        """Some bytes from the agent; none at its end."""
        whole = list(self._lines.feed(chunk)) if chunk else [self._lines.end()]
        for line in whole:
            if isinstance(line, TooLong):
                most = self._lines.limit
                told = f"a request may take {most:,} bytes: load larger texts from files"
                self._give(lines.error(line.id, lines.INVALID_REQUEST, told))
            elif line is not None:
                self._take_line(line)

    def answered(self, within: float) -> bool:
        """Whether every request has its answer, waiting for it some seconds."""
        with self._changing:
            return self._changing.wait_for(lambda: not self._owes(), within)

    def close(self) -> None:
        """Hang up: the daemon stops what it still does for the agent."""
        # Without the lock: a signal may have come while it was held.
        session = self._session
        if session is not None:
            _hang_up(session.socket)

    def _owes(self) -> bool:
        if any("id" in message and not _is_stream(message) for _, message in self._waiting):
            return True
        session = self._session
        return session is not None and any(not o.never_ends for o in list(session.open.values()))

    def _take_line(self, line: bytes) -> None:
        try:
            message = lines.parsed(line)
        except ValueError:
            self._give(lines.error(None, lines.PARSE_ERROR, "this line is no JSON"))
            return
        number = lines.known_id(message)
        if message is None or not lines.is_message(message):
            told = "this is no JSON-RPC 2.0 message"
            self._give(lines.error(number, lines.INVALID_REQUEST, told))
            return
        answer = self._pass_on(line, message, number)
        if answer is not None and number is not None:
            self._give(lines.result(number, answer))

    def _pass_on(self, line: bytes, message: dict[str, Any], number: Id | None) -> object | None:
        """Send it, or keep it until there is a daemon; or the answer that needs none."""
        with self._changing:
            if self._session is not None and self._send(self._session, line, message):
                return None
            answer = self._without_daemon(line, message, number)
            # What is answered here, and who only listens, starts none: `ifmem down` would be undone
            # at once by agents that nobody uses.
            if answer is None and number is not None and not _is_stream(message):
                self._ensure_bound()
            self._changing.wait_for(lambda: not self._binding or self._has_room())
            return answer

    def _without_daemon(
        self, line: bytes, message: dict[str, Any], number: Id | None
    ) -> object | None:
        method, params = message.get("method"), message.get("params")
        if method is None:
            # An answer to what a daemon that is gone has asked.
            return None
        if method == "notifications/cancelled":
            asked = lines.known_id({"id": (params or {}).get("requestId")})
            self._waiting = [w for w in self._waiting if asked is None or w[1].get("id") != asked]
            return None
        answer = None
        if number is not None:
            agreed = self._agreed(message) or self._handshake.version
            answer = self._manifest.answer(method, params, agreed)
        if answer is not None or self._handshake.absorbs(method):
            self._note(message)
        else:
            self._waiting.append((line, message))
        return answer

    def _agreed(self, message: dict[str, Any]) -> str | None:
        if message.get("method") != INITIALIZE:
            return None
        return self._manifest.negotiated(message.get("params"))

    def _note(self, message: dict[str, Any]) -> None:
        self._handshake.note(message, self._agreed(message))

    def _has_room(self) -> bool:
        return sum(len(line) for line, _ in self._waiting) <= _WAITING_BYTES

    def _send(self, session: _Session, line: bytes, message: dict[str, Any]) -> bool:
        """Whether the daemon will get it; what was cut off half-way is never acted upon."""
        self._note(message)
        number, method, params = message.get("id"), message.get("method"), message.get("params")
        if number is not None and method is not None:
            session.open[number] = opened(method, params)
        elif method == "notifications/cancelled" and isinstance(params, dict):
            # It is not answered any more.
            session.open.pop(params.get("requestId", ""), None)
        try:
            session.socket.sendall(line + b"\n")
        except OSError:
            if number is not None:
                session.open.pop(number, None)
            self._session = None
            _hang_up(session.socket)
            return False
        return True

    def _ensure_bound(self) -> None:
        if self._session is None and not self._binding:
            self._binding = True
            threading.Thread(target=self._find, name="ifmem-bind", daemon=True).start()

    def _find(self) -> None:
        try:
            link = self._bind.connect()
        except IfMemError as error:
            self._failed(error)
        except Exception as error:
            self._failed(Failed(f"the daemon cannot be reached ({error}): try `ifmem doctor`"))
        else:
            self._found(link)

    def _found(self, link: Link) -> None:
        with self._changing:
            self._binding = False
            self._lines.limit = link.limit
            replayed, unasked = self._handshake.replay()
            session = self._session = _Session(link, unasked)
            threading.Thread(
                target=self._read, args=(session,), name="ifmem-read", daemon=True
            ).start()
            whole = self._waiting
            self._waiting = []
            sent = self._replay(session, replayed)
            while sent and whole:
                sent = self._send(session, *whole[0])
                whole = whole[1:] if sent else whole
            self._changing.notify_all()
        for _, message in whole:
            self._refuse(message, Failed("the daemon ended as soon as it was there: try again"))

    def _replay(self, session: _Session, replayed: bytes) -> bool:
        try:
            session.socket.sendall(replayed)
        except OSError:
            self._session = None
            return False
        return True

    def _failed(self, error: IfMemError) -> None:
        with self._changing:
            self._binding = False
            waiting, self._waiting = self._waiting, []
            self._changing.notify_all()
        for _, message in waiting:
            self._refuse(message, error)

    def _read(self, session: _Session) -> None:
        """Pass on what the daemon says until it ends, then answer what it leaves open."""
        whole = Lines(_NO_LIMIT)
        chunk = session.begun or _received(session.socket)
        while chunk:
            for line in whole.feed(chunk):
                if isinstance(line, bytes):
                    self._answer(session, line)
            chunk = _received(session.socket)
        with self._changing:
            if self._session is session:
                self._session = None
        session.socket.close()
        for number, request in list(session.open.items()):
            told = loss(request, self._manifest.reading)
            self._give(lines.error(number, lines.INTERNAL_ERROR, told.message, to_wire(told)))
        session.open.clear()

    def _answer(self, session: _Session, line: bytes) -> None:
        try:
            message = lines.parsed(line) or {}
        except ValueError:
            return
        number = lines.known_id(message)
        if "method" in message or number is None:
            self._give(line + b"\n")
            return
        if number in session.unasked:
            return
        self._give(line + b"\n")
        if session.open.pop(number, None) is not None and "error" in message:
            self._handshake.refused(number)

    def _refuse(self, message: dict[str, Any], error: IfMemError) -> None:
        number = message.get("id")
        if number is not None:
            told = lines.error(number, lines.INTERNAL_ERROR, error.message, to_wire(error))
            self._give(told)


def _is_stream(message: dict[str, Any]) -> bool:
    return message.get("method") == LISTEN


def _received(connection: socket.socket) -> bytes:
    try:
        return connection.recv(_CHUNK_BYTES)
    except OSError:
        return b""


def _hang_up(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
