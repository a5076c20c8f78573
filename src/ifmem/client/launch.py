"""Reaching the daemon of a home: connect to the one that runs, start one, or end it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
import threading
from importlib import metadata
from pathlib import Path

import msgspec

from ifmem.client.connection import Connection
from ifmem.client.home import (
    DAEMON_LOCK,
    DAEMON_LOG,
    START_LOCK,
    held,
    is_held,
    prepare_home,
)
from ifmem.clock import monotonic
from ifmem.errors import NotPermitted, Refused, Unavailable, from_wire
from ifmem.settings import Settings, server_of, without_password
from ifmem.sockets import DAEMON_SOCKET, socket_path
from ifmem.wire.calls import PROTOCOL
from ifmem.wire.shapes import Hello

START_S = 180.0
"""A daemon may have to rebuild the indexes of millions of tokens before it is ready."""
STOP_S = 60.0
"""It finishes the write it has begun, and the embedded server saves its data."""
_HELLO_S = 15.0
_EXIT_S = 5.0


class _EndedError(Unavailable):
    """The daemon hung up instead of greeting."""


class _Ready(msgspec.Struct, frozen=True):
    """The one line a starting daemon writes: that it listens, or why it does not."""

    ready: bool = False
    socket: str = ""
    pid: int = 0
    error: str | None = None
    message: str = ""
    exit_code: int = 1
    facts: dict[str, object] = msgspec.field(default_factory=dict)


async def reach(settings: Settings) -> Path:
    """The socket of the home's daemon, which is started when none runs.

    Raises:
        NotPermitted: the home cannot be used, or another process owns it.
        Unavailable: the daemon does not start, or is of another version.
    """
    connection = await connect(settings)
    await connection.close()
    return socket_path(settings.home_path, DAEMON_SOCKET)


async def connect(settings: Settings, *, adopt: bool = False) -> Connection:
    """A connection to the home's daemon, as ``reach`` finds it.

    Args:
        adopt: a daemon that is started now takes over keys that another store has written.
    """
    home = settings.home_path
    prepare_home(home)
    for again in (True, False):
        connection = await _connect(home) or await _start(settings, home, adopt)
        try:
            await _greet(connection, home, settings)
        except BaseException as error:
            await connection.close()
            # One that was just ending may still have accepted us: its successor is started.
            if again and isinstance(error, _EndedError):
                continue
            raise
        return connection
    raise AssertionError("unreachable")


async def join(settings: Settings) -> Connection | None:
    """A connection to the home's daemon if one runs; none is started.

    Raises:
        Unavailable: it is just ending, or of another version.
    """
    connection = await _connect(settings.home_path)
    if connection is None:
        return None
    try:
        await _greet(connection, settings.home_path, settings)
    except BaseException:
        await connection.close()
        raise
    return connection


async def stop(settings: Settings) -> bool:
    """End the home's daemon and the embedded server; whether one of them ran.

    Returns when their processes are gone. Works without a daemon, and with one of another version.

    Raises:
        Unavailable: the daemon does not end.
    """
    home = settings.home_path
    if not home.is_dir():
        return False
    prepare_home(home)
    async with held(home / START_LOCK, within=START_S):
        ran = await _stop_daemon(home)
        from ifmem.bus import embedded

        return await asyncio.to_thread(embedded.stop, home / "bus") or ran


async def _stop_daemon(home: Path) -> bool:
    lock = home / DAEMON_LOCK
    connection = await _connect(home)
    if connection is None and not is_held(lock):
        return False
    pid = None
    if connection is not None:
        try:
            async with asyncio.timeout(_HELLO_S):
                # Not greeted: the daemon of another version is ended as well.
                pid = (await connection.call("hello", returns=Hello, space="default")).pid
                await connection.call("stop", returns=dict, space="default")
        except (TimeoutError, Unavailable):
            # It may end faster than it answers; the lock below tells.
            pass
        finally:
            await connection.close()
    async with held(lock, within=STOP_S):
        await _until_gone(pid)
    return True


async def _until_gone(pid: int | None) -> None:
    """Wait until a process that has given up its lock has really ended, though not for ever."""
    deadline = monotonic() + _EXIT_S
    while pid is not None and monotonic() < deadline:
        if not _runs(pid):
            return
        await asyncio.sleep(0.01)


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except OSError:
        return False
    try:
        # In a container nobody may wait for orphans: an ended one keeps its number, as a zombie.
        state = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    except OSError:
        return True
    return state.rpartition(")")[2].split()[0] not in ("Z", "X")


async def _connect(home: Path) -> Connection | None:
    socket = socket_path(home, DAEMON_SOCKET)
    try:
        return await Connection.open(socket, log=home / DAEMON_LOG)
    except PermissionError as error:
        raise NotPermitted(
            f"the daemon's socket {socket} is not yours to use: name another --home"
        ) from error
    except OSError:
        return None


async def _start(settings: Settings, home: Path, adopt: bool) -> Connection:
    """Start the daemon, or join the one that somebody else is just starting."""
    deadline = monotonic() + START_S
    async with held(home / START_LOCK, within=START_S):
        while True:
            if connection := await _connect(home):
                return connection
            if not is_held(home / DAEMON_LOCK):
                break
            # It is about to listen (its starter was killed) or about to end.
            if monotonic() >= deadline:
                raise _not_ready(home)
            await asyncio.sleep(0.02)
        await _spawn(settings, home, adopt)
        if connection := await _connect(home):
            return connection
    raise Unavailable(
        f"the daemon started and ended again: its log is {home / DAEMON_LOG}", home=str(home)
    )


async def _spawn(settings: Settings, home: Path, adopt: bool) -> None:
    read_end, write_end = os.pipe()
    try:
        _detach(settings, home, adopt, write_end)
    finally:
        os.close(write_end)
    line = await _first_line(read_end, home)
    try:
        said = msgspec.json.decode(line, type=_Ready)
    except msgspec.DecodeError as error:
        raise Unavailable(
            f"the daemon ended before it was ready: its log is {home / DAEMON_LOG}", home=str(home)
        ) from error
    if said.error is not None:
        raise from_wire(msgspec.to_builtins(said))


def _detach(settings: Settings, home: Path, adopt: bool, ready_fd: int) -> None:
    given = msgspec.json.encode(msgspec.structs.replace(settings, home=str(home)))
    log = os.open(home / DAEMON_LOG, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    command = [sys.executable, "-m", "ifmem.entrypoints.daemon", *(["--adopt"] if adopt else [])]
    try:
        process = subprocess.Popen(
            [*command, "--ready-fd", str(ready_fd)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=log,
            pass_fds=(ready_fd,),
            # Searches run side by side: one thread each is faster than all on every core.
            env={"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", **os.environ},
            # Its own session: Ctrl-C and a closed terminal are the caller's. Its own place: no
            # module lying where the caller stands can be imported by mistake.
            start_new_session=True,
            cwd=home,
        )
    finally:
        os.close(log)
    assert process.stdin is not None
    # A daemon that dies at once closes its end; the missing ready line then tells of it.
    with contextlib.suppress(BrokenPipeError), process.stdin as pipe:
        pipe.write(given)
    # The starter may live long: without somebody who waits, an ended daemon stays as a zombie.
    threading.Thread(target=process.wait, name="ifmem-daemon-wait", daemon=True).start()


async def _first_line(read_end: int, home: Path) -> bytes:
    reader = asyncio.StreamReader(limit=2**20)
    loop = asyncio.get_running_loop()
    transport, _ = await loop.connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(read_end, "rb", 0)
    )
    try:
        async with asyncio.timeout(START_S):
            return await reader.readline()
    except TimeoutError as error:
        raise _not_ready(home) from error
    finally:
        transport.close()


async def _greet(connection: Connection, home: Path, settings: Settings) -> None:
    try:
        async with asyncio.timeout(_HELLO_S):
            hello = await connection.call("hello", returns=Hello, space="default")
    except Unavailable as error:
        raise _EndedError(error.message, **error.facts) from error
    except TimeoutError as error:
        raise Unavailable(
            f"the daemon of {home} does not answer: its log is {home / DAEMON_LOG}; "
            "`ifmem down` ends it",
            home=str(home),
        ) from error
    ours = metadata.version("ifmem")
    if (hello.version, hello.protocol) != (ours, PROTOCOL):
        raise Unavailable(
            f"the daemon of this home is ifmem {hello.version}, this is {ours}: run `ifmem down`",
            daemon=hello.version,
            client=ours,
        )
    redis = settings.redis.url
    if settings.role == "client" and hello.role != "client":
        raise Refused(
            "the daemon of this home owns a store and is no client: run `ifmem down`, then "
            "repeat, or name another --home",
            role=hello.role,
        )
    if redis and server_of(redis) != server_of(hello.redis):
        raise Refused(
            f"the daemon of this home runs with {hello.redis or 'the embedded server'}, not with "
            f"{without_password(redis)}: run `ifmem down`, then repeat, or name another --home",
            redis=hello.redis,
        )


def _not_ready(home: Path) -> Unavailable:
    return Unavailable(
        f"the daemon is not ready after {START_S:.0f} seconds: its log is {home / DAEMON_LOG}",
        home=str(home),
    )
