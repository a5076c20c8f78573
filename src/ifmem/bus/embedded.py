"""The embedded server of a home: found, started and stopped, one per directory.

Whether it runs is told by locks that the kernel drops with their holders (see ``nanny``), never
by a pid file. Linux is tested. On macOS, which has no signal for a parent's death, a server whose
nanny was killed stays until the next ``attach`` or ``stop`` ends it.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import select
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from urllib.parse import quote

from ifmem.bus import nanny
from ifmem.bus.server_binary import choose_binary, made_executable, packaged_binary
from ifmem.bus.server_directory import (
    DATA,
    LOG,
    SOCKET,
    free_name,
    holds_data,
    in_our_words,
    last_word,
    make_private,
    opened_log,
)
from ifmem.errors import Failed, IfMemError, Unavailable
from ifmem.sockets import socket_path

_LOOK_S = 0.002
_LOOKS = 15_000
"""How often a lock is looked at before giving up: 30 s, or more on a machine that stalls."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """A running embedded server."""

    socket: Path
    pid: int
    fresh: bool
    """It began without data: what should be on the bus is to be written again."""
    refused: Path | None
    """Where the data went that it could not read, if that is why it is ``fresh``."""

    @property
    def url(self) -> str:
        """What a client is given."""
        return f"unix://{quote(str(self.socket))}"


def attach(
    directory: Path,
    *,
    idle: timedelta = timedelta(minutes=10),
    binary: Path | None = None,
) -> Endpoint:
    """The server of ``directory``, started if none runs.

    Any number of processes may attach at once: they get the same server. It outlives them, and
    ends after ``idle`` without clients (as the process that started it asked). A server that is
    just ending may be returned: when connecting fails, attach again.

    Args:
        binary: the server program, instead of the one that ``server_binary`` chooses.

    Raises:
        Unavailable: there is no server program, or it does not start; the message says why.
        NotPermitted: the directory is another user's, or may not be written.
        Failed: the directory cannot be used, for instance because the disk is full.
    """
    directory = directory.absolute()
    with in_our_words(directory):
        return _running(directory) or _started(directory, idle, binary)


def find(directory: Path) -> Endpoint | None:
    """The server of ``directory`` if one runs; never starts one."""
    directory = directory.absolute()
    with in_our_words(directory):
        return _running(directory)


def stop(directory: Path) -> bool:
    """End the server of ``directory`` with its data on disk; whether there was one.

    Returns when the server and its nanny are gone. Stopping twice is safe.

    Raises:
        Unavailable: it did not end in time.
    """
    directory = directory.absolute()
    with in_our_words(directory):
        if not (directory / nanny.START_LOCK).exists():
            return False
        with _start_lock(directory):
            return _ended(directory)


def _running(directory: Path) -> Endpoint | None:
    record = _record(directory)
    if record is None or not _is_held(directory / nanny.NANNY_LOCK):
        return None
    if not _is_held(directory / nanny.ALIVE_LOCK) or not _is_listening(record.socket):
        return None
    return _endpoint(record)


def _started(directory: Path, idle: timedelta, binary: Path | None) -> Endpoint:
    make_private(directory)
    with _start_lock(directory) as start_fd:
        if running := _running(directory):
            return running
        _ended(directory)
        program = made_executable(
            binary or choose_binary(packaged_binary()), private=directory
        ).absolute()
        launch = _Launch(directory, program, idle, socket_path(directory, SOCKET), start_fd)
        try:
            return launch.with_data_if_it_can_be_read()
        except _ServerExited as exited:
            raise Unavailable(exited.message, **exited.facts) from None


@dataclass(frozen=True, slots=True)
class _Launch:
    """One start, under ``start.lock``."""

    directory: Path
    program: Path
    idle: timedelta
    socket: Path
    start_fd: int

    def with_data_if_it_can_be_read(self) -> Endpoint:
        """A server that refuses its data, and starts without, has its data set aside."""
        data = self.directory / DATA
        try:
            return self._run(refused=None)
        except _ServerExited as exited:
            if not exited.may_be_the_data or not holds_data(data):
                raise
            aside = free_name(self.directory)
            data.rename(aside)
            try:
                return self._run(refused=aside)
            except IfMemError:
                # The data was not the reason.
                shutil.rmtree(data, ignore_errors=True)
                aside.rename(data)
                raise exited from None

    def _run(self, *, refused: Path | None) -> Endpoint:
        data = self.directory / DATA
        data.mkdir(mode=0o700, exist_ok=True)
        reads, writes = os.pipe()
        order = {
            "directory": str(self.directory),
            "socket": str(self.socket),
            "command": [str(self.program), *_settings(data, self.socket)],
            "idle_s": self.idle.total_seconds(),
            "fresh": not holds_data(data),
            "refused": None if refused is None else str(refused),
            "start_fd": self.start_fd,
            "report_fd": writes,
        }
        with os.fdopen(reads, encoding="utf-8") as report:
            try:
                with opened_log(self.directory) as log:
                    said_before = log.tell()
                    self._call_nanny(json.dumps(order), log.fileno(), writes)
            finally:
                os.close(writes)
            outcome = json.loads(report.readline() or "{}")
        if "ready" in outcome:
            return _endpoint(nanny.Record(**outcome["ready"]))
        # It has reported and is leaving; who asks next finds nothing left.
        _wait_until_free(self.directory / nanny.NANNY_LOCK)
        if "failed" in outcome:
            raise Failed(f"the embedded server could not be started: {outcome['failed']}")
        raise _ServerExited(outcome.get("exited"), self.directory / LOG, said_before)

    def _call_nanny(self, order: str, log_fd: int, report_fd: int) -> None:
        # It detaches at once; from then on it is the report that says how things go.
        subprocess.run(
            [sys.executable, "-I", "-S", nanny.__file__, order],
            pass_fds=(self.start_fd, report_fd),
            stdin=subprocess.DEVNULL,
            stdout=log_fd,
            stderr=log_fd,
            start_new_session=True,
            cwd="/",
            # Nothing of the person's environment: it may hold credentials, and it stays around.
            env={
                name: os.environ[name]
                for name in ("PATH", "LD_LIBRARY_PATH", "TZ")
                if name in os.environ
            },
            check=False,
        )


class _ServerExited(Unavailable):
    """The server ended before it answered."""

    def __init__(self, status: int | None, log: Path, said_before: int) -> None:
        said = last_word(log, said_before) or "it said nothing; is the disk full?"
        super().__init__(
            f"the embedded server does not start: {said} (log: {log})",
            exit_status=status,
            log=str(log),
        )
        killed = status in (-signal.SIGKILL, -signal.SIGTERM)
        self.may_be_the_data = status not in (None, 0, nanny.CANNOT_RUN) and not killed


def _settings(data: Path, socket: Path) -> list[str]:
    settings = {
        "port": "0",
        "unixsocket": str(socket),
        "unixsocketperm": "600",
        "dir": str(data),
        "appendonly": "yes",
        "appendfsync": "everysec",
        "aof-load-truncated": "yes",
        "save": "",
        "maxmemory-policy": "noeviction",
        "enable-debug-command": "no",
        "daemonize": "no",
        # Reachable through the socket only, whose mode is the protection.
        "protected-mode": "no",
    }
    return [word for name, value in settings.items() for word in (f"--{name}", value)]


def _ended(directory: Path) -> bool:
    """Ends what holds the locks of the directory, under ``start.lock``; whether anything did."""
    locks = (directory / nanny.NANNY_LOCK, directory / nanny.ALIVE_LOCK)
    has_nanny, has_server = (_is_held(lock) for lock in locks)
    record = _record(directory)
    if record is not None and has_nanny:
        with contextlib.suppress(ProcessLookupError):
            os.kill(record.nanny, signal.SIGTERM)
    elif record is not None and has_server:
        _end_orphan(record)
    for lock in locks:
        _wait_until_free(lock)
    if record is not None:
        # Left behind when both were killed.
        Path(record.socket).unlink(missing_ok=True)
        os.truncate(directory / nanny.ALIVE_LOCK, 0)
    return has_nanny or has_server


def _end_orphan(record: nanny.Record) -> None:
    try:
        with nanny.Conversation(record.socket) as conversation:
            conversation.ask("SHUTDOWN")
    except ConnectionError:
        # It closes the connection instead of answering, or is already ending.
        return
    except OSError:
        with contextlib.suppress(ProcessLookupError):
            os.kill(record.pid, signal.SIGTERM)


def _wait_until_free(lock: Path) -> None:
    for _ in range(_LOOKS):
        if not _is_held(lock):
            return
        select.select([], [], [], _LOOK_S)
    raise Unavailable(
        f"the embedded server of {lock.parent} does not end; see its log {lock.parent / LOG}",
        lock=str(lock),
    )


def _record(directory: Path) -> nanny.Record | None:
    try:
        return nanny.Record(**json.loads((directory / nanny.ALIVE_LOCK).read_bytes()))
    except (FileNotFoundError, NotADirectoryError, ValueError, TypeError):
        # No server, or one that is starting or ending.
        return None


def _endpoint(record: nanny.Record) -> Endpoint:
    return Endpoint(
        socket=Path(record.socket),
        pid=record.pid,
        fresh=record.fresh,
        refused=None if record.refused is None else Path(record.refused),
    )


def _is_held(lock: Path) -> bool:
    try:
        descriptor = os.open(lock, os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        # Shared, so that two who look at once do not take each other for the holder.
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def _is_listening(socket: str) -> bool:
    try:
        with nanny.Conversation(socket):
            return True
    except (FileNotFoundError, ConnectionRefusedError):
        return False
    except OSError:
        # A full queue of callers, for instance: somebody is there.
        return True


@contextlib.contextmanager
def _start_lock(directory: Path) -> Iterator[int]:
    descriptor = os.open(directory / nanny.START_LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield descriptor
    finally:
        # Unlocked by name: a process forked meanwhile by another thread has it open too.
        fcntl.flock(descriptor, fcntl.LOCK_UN)
        os.close(descriptor)
