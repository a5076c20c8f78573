"""The nanny: the parent process of one embedded server, which ends it when nobody needs it.

Run as ``python -I -S nanny.py ORDER`` by ``ifmem.bus.embedded``, so it imports the standard
library only. Three locks (``flock``) in the server's directory say who lives; the kernel drops
them with their holder, whatever killed it:

    start.lock   whoever starts or stops the server; handed on by the starter until it is ready
    nanny.lock   this process
    alive.lock   the server, which inherits the descriptor; its text is the server's record
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import json
import os
import select
import signal
import socket
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

# This file may not import ifmem.clock, and asks only how long ago something was.
from time import monotonic  # noqa: TID251

START_LOCK = "start.lock"
NANNY_LOCK = "nanny.lock"
ALIVE_LOCK = "alive.lock"

CANNOT_RUN = 127
"""The exit status of a server whose program could not be executed, as shells have it."""

_SILENCE_S = 30.0
"""A starting server that neither answers nor says it is loading for this long is ended."""
_LAST_WORD_S = 10.0
"""A server asked to end is killed after this long."""
_LONGEST_PAUSE_S = 15.0
_PR_SET_PDEATHSIG = 1


@dataclass(frozen=True, slots=True)
class Order:
    """What the starter asks for."""

    directory: str
    socket: str
    command: list[str]
    idle_s: float
    fresh: bool
    refused: str | None
    start_fd: int
    """The descriptor that holds ``start.lock``, until the server is ready."""
    report_fd: int
    """Where one JSON line says how it went: ``{ready}``, ``{exited}`` or ``{failed}``."""


@dataclass(frozen=True, slots=True)
class Record:
    """What ``alive.lock`` says about the server that holds it."""

    socket: str
    pid: int
    nanny: int
    fresh: bool
    refused: str | None


class Conversation:
    """A connection to a server in its own wire protocol: one command, one reply."""

    def __init__(self, path: str, *, timeout_s: float = 5.0) -> None:
        """Raises ``OSError`` when nobody listens at ``path``."""
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.settimeout(timeout_s)
        try:
            self._socket.connect(path)
        except OSError:
            self._socket.close()
            raise

    def __enter__(self) -> Conversation:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the conversation."""
        self._socket.close()

    def ask(self, *words: str) -> str:
        """The reply as text: a status or error with its mark, or the body of a bulk string."""
        bulks = (b"$%d\r\n%b\r\n" % (len(word), word) for word in map(str.encode, words))
        self._socket.sendall(b"*%d\r\n%b" % (len(words), b"".join(bulks)))
        head, rest = self._until_line()
        if not head.startswith(b"$"):
            return head.decode()
        length = int(head[1:]) + len(b"\r\n")
        while len(rest) < length:
            rest += self._more()
        return rest[: length - 2].decode()

    def _until_line(self) -> tuple[bytes, bytes]:
        received = self._more()
        while b"\r\n" not in received:
            received += self._more()
        head, _, rest = received.partition(b"\r\n")
        return head, rest

    def _more(self) -> bytes:
        received = self._socket.recv(65536)
        if not received:
            raise ConnectionResetError("the server closed the connection")
        return received


def main() -> None:
    """Start the server of the order in the first argument, and stay until it has ended."""
    order = Order(**json.loads(sys.argv[1]))
    if os.fork():
        # The starter waits for this first process only, so it is left with no zombie.
        os._exit(0)
    for descriptor in (order.start_fd, order.report_fd):
        os.set_inheritable(descriptor, False)
    os.umask(0o077)
    nanny = Nanny(order)
    try:
        nanny.start()
    except OSError as error:
        nanny.end(signal.SIGKILL)
        nanny.report(failed=str(error))
        return
    nanny.stay()


class Nanny:
    """One server, from its start to its end."""

    def __init__(self, order: Order) -> None:
        self._order = order
        self._directory = Path(order.directory)
        self._signals = _Signals()
        self._pid: int | None = None
        self._status: int | None = None
        self._socket_inode: tuple[int, int] | None = None
        self._activity = _Activity(order.socket)

    def report(self, **outcome: object) -> None:
        """Tell the starter how it went, and let the next starter in."""
        # A starter that was killed meanwhile needs no answer.
        with contextlib.suppress(BrokenPipeError):
            os.write(self._order.report_fd, json.dumps(outcome).encode() + b"\n")
        os.close(self._order.report_fd)
        os.close(self._order.start_fd)

    def start(self) -> None:
        """Run the server until it answers; raises ``OSError`` when that is not possible."""
        # Held to the end of this process, and never inherited.
        _lock(self._directory / NANNY_LOCK)
        alive = _lock(self._directory / ALIVE_LOCK)
        os.set_inheritable(alive, True)
        self._pid = _spawn(self._order.command)
        os.close(alive)

    def stay(self) -> None:
        """Report readiness or failure, then keep the server until it ends or idles."""
        if not self._ready():
            self._forget()
            self.report(exited=self._status)
            return
        try:
            found = Path(self._order.socket).stat()
            self._socket_inode = (found.st_dev, found.st_ino)
            record = self._write_record()
        except OSError as error:
            self.end(signal.SIGTERM)
            self._forget()
            self.report(failed=str(error))
            return
        self.report(ready=asdict(record))
        self._watch()
        self._forget()

    def end(self, how: signal.Signals) -> None:
        """Signal the server and wait until it is gone; kill it when it does not go."""
        if self._pid is None or self._exited():
            return
        os.kill(self._pid, how)
        deadline = monotonic() + _LAST_WORD_S
        while not self._exited():
            if monotonic() > deadline:
                os.kill(self._pid, signal.SIGKILL)
                deadline += _LAST_WORD_S
            self._signals.wait(0.05)

    def _ready(self) -> bool:
        deadline = monotonic() + _SILENCE_S
        while not self._exited():
            reply = _ping(self._order.socket)
            if reply == "+PONG":
                return True
            if reply is not None:
                # It is reading its data, which takes as long as it takes.
                deadline = monotonic() + _SILENCE_S
            if monotonic() > deadline or signal.SIGTERM in self._signals.wait(0.003):
                self.end(signal.SIGTERM)
        return False

    def _watch(self) -> None:
        pause = min(max(self._order.idle_s / 5, 0.02), _LONGEST_PAUSE_S)
        busy_at = monotonic()
        while True:
            asked_to_end = signal.SIGTERM in self._signals.wait(pause)
            if self._exited():
                return
            if asked_to_end:
                self._erase_record()
                return self.end(signal.SIGTERM)
            if not (self._directory / ALIVE_LOCK).exists():
                # Somebody removed the directory. A polite end would unlink the socket by its
                # path, which may already belong to the next server.
                return self.end(signal.SIGKILL)
            if self._activity.seen():
                busy_at = monotonic()
            elif monotonic() - busy_at >= self._order.idle_s and self._ended_idle():
                return

    def _ended_idle(self) -> bool:
        """Whether the server was ended, under ``start.lock`` so that no starter is misled."""
        try:
            start = os.open(self._directory / START_LOCK, os.O_RDWR)
        except OSError:
            return False
        try:
            # Waiting here would deadlock with a caller of stop, which holds it and waits for us.
            fcntl.flock(start, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # First the record, then the last look: who attaches from now on waits for the lock.
            self._erase_record()
            if self._activity.seen():
                self._write_record()
                return False
            self.end(signal.SIGTERM)
        except BlockingIOError:
            return False
        finally:
            os.close(start)
        return True

    def _exited(self) -> bool:
        if self._status is None and self._pid is not None:
            pid, status = os.waitpid(self._pid, os.WNOHANG)
            if pid:
                self._status = os.waitstatus_to_exitcode(status)
        return self._status is not None

    def _write_record(self) -> Record:
        assert self._pid is not None
        order = self._order
        record = Record(order.socket, self._pid, os.getpid(), order.fresh, order.refused)
        # Not through the locked descriptor: only the server may keep that one open.
        with (self._directory / ALIVE_LOCK).open("r+b", buffering=0) as file:
            file.write(json.dumps(asdict(record)).encode() + b"\n")
        return record

    def _erase_record(self) -> None:
        with contextlib.suppress(OSError):
            os.truncate(self._directory / ALIVE_LOCK, 0)

    def _forget(self) -> None:
        self._erase_record()
        with contextlib.suppress(OSError):
            found = Path(self._order.socket).stat()
            if (found.st_dev, found.st_ino) == self._socket_inode:
                Path(self._order.socket).unlink()


class _Activity:
    """Whether anybody but the nanny used the server since the last look."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._open: Conversation | None = None
        self._connections = -1

    def seen(self) -> bool:
        """A server too busy to answer counts as used."""
        try:
            if self._open is None:
                self._open = Conversation(self._path)
            facts = self._open.ask("INFO", "clients", "stats")
        except OSError:
            if self._open is not None:
                self._open.close()
            self._open = None
            return True
        before, self._connections = self._connections, _number(facts, "total_connections_received")
        # One connected client is this conversation; short visits show in the total.
        return _number(facts, "connected_clients") > 1 or self._connections != before


class _Signals:
    """Signals as something to wait for, together with the passing of time."""

    def __init__(self) -> None:
        self._reads, writes = os.pipe()
        os.set_blocking(self._reads, False)
        os.set_blocking(writes, False)
        signal.set_wakeup_fd(writes)
        for number in (signal.SIGCHLD, signal.SIGTERM):
            signal.signal(number, lambda *_: None)
        for number in (signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)

    def wait(self, seconds: float) -> bytes:
        """The numbers of the signals that came, after ``seconds`` at the latest."""
        if not select.select([self._reads], [], [], seconds)[0]:
            return b""
        return os.read(self._reads, 4096)


def _lock(path: Path) -> int:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    # The starter has seen it free; only a look that lasts microseconds can be in the way.
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    return descriptor


def _spawn(command: list[str]) -> int:
    libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None
    parent = os.getpid()
    pid = os.fork()
    if pid:
        return pid
    try:
        if libc is not None:
            libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
            if os.getppid() != parent:
                os._exit(CANNOT_RUN)
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
        # A locale of the person that this machine lacks would stop the server.
        os.execve(command[0], command, {"LC_ALL": "C", "PATH": os.defpath})
    except OSError as error:
        os.write(2, f"cannot run {command[0]}: {error.strerror}\n".encode())
    finally:
        os._exit(CANNOT_RUN)


def _ping(path: str) -> str | None:
    try:
        with Conversation(path) as conversation:
            return conversation.ask("PING")
    except OSError:
        return None


def _number(facts: str, name: str) -> int:
    for line in facts.splitlines():
        key, _, value = line.partition(":")
        if key == name:
            return int(value)
    return -1


if __name__ == "__main__":
    main()
