"""The home directory of a memory: made private, refused when it is not ours to write in."""

from __future__ import annotations

import asyncio
import fcntl
import os
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from ifmem.clock import monotonic
from ifmem.errors import NotPermitted, Unavailable

DAEMON_LOCK = "daemon.lock"
"""Held by the daemon for as long as it lives."""
DAEMON_LOG = "daemon.log"
START_LOCK = "start.lock"
"""Held by whoever starts or stops the daemon."""
_LOOK_S = 0.02


def prepare_home(home: Path) -> None:
    """Make the home, for its owner only, or see that the one there can be used.

    Raises:
        NotPermitted: it is a file, belongs to somebody else, or cannot be written.
    """
    advice = "name another directory with --home or IFMEM_HOME"
    try:
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = home.stat()
    except (FileExistsError, NotADirectoryError) as error:
        raise NotPermitted(
            f"the home {home} is a file or lies below one: {advice}", home=str(home)
        ) from error
    except OSError as error:
        raise NotPermitted(
            f"the home {home} cannot be made ({error.strerror}): {advice}", home=str(home)
        ) from error
    if status.st_uid != os.geteuid():
        raise NotPermitted(
            f"the home {home} belongs to user {status.st_uid} and you are {os.geteuid()}: {advice}",
            home=str(home),
            owner=status.st_uid,
        )
    if status.st_mode & stat.S_IWOTH:
        raise NotPermitted(
            f"anybody may write in the home {home}: run `chmod 700 {home}`, or {advice}",
            home=str(home),
        )
    if not os.access(home, os.W_OK | os.X_OK):
        raise _read_only(home)


@asynccontextmanager
async def held(lock: Path, *, within: float) -> AsyncIterator[None]:
    """Hold a lock file, waiting at most ``within`` seconds for it.

    Raises:
        Unavailable: another process still holds it.
        NotPermitted: the file cannot be made.
    """
    try:
        fd = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise _read_only(lock.parent) from error
    try:
        deadline = monotonic() + within
        # Looked at again and again, because a thread blocked in flock cannot be cancelled:
        # Ctrl-C would have to wait for the other process.
        while not _try_lock(fd):
            if monotonic() >= deadline:
                raise Unavailable(
                    f"another process has held {lock} for {within:.0f} seconds: wait for it, "
                    f"or look into {lock.parent / DAEMON_LOG}",
                    lock=str(lock),
                )
            await asyncio.sleep(_LOOK_S)
        yield
    finally:
        os.close(fd)


def is_held(lock: Path) -> bool:
    """Whether a living process holds the lock file."""
    try:
        fd = os.open(lock, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        return not _try_lock(fd)
    finally:
        os.close(fd)


def _try_lock(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _read_only(home: Path) -> NotPermitted:
    return NotPermitted(
        f"the home {home} cannot be written: make it writable, or name another directory with "
        "--home or IFMEM_HOME",
        home=str(home),
    )
