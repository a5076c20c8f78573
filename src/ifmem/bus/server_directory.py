"""The directory of an embedded server: what lies where, and whose it is."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from ifmem.bus.nanny import START_LOCK
from ifmem.errors import Failed, NotPermitted

LOG = "server.log"
DATA = "data"
SOCKET = "bus.sock"

_LARGEST_LOG = 1 << 20
_REMEDY = "choose another home with --home"


@contextlib.contextmanager
def in_our_words(directory: Path) -> Iterator[None]:
    """Turns what the operating system says about the directory into an error of ours."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise NotPermitted(f"{directory} may not be used: {reason}; {_REMEDY}") from error
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise Failed(f"{directory} is on a full disk: make room, or {_REMEDY}") from error
        raise Failed(f"{directory} cannot be used: {reason}; {_REMEDY}") from error


def make_private(directory: Path) -> None:
    """Make sure that the directory exists, is ours and is closed to everybody else.

    Raises:
        NotPermitted: it is another user's, or is open and holds files that are not ours to close.
    """
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = directory.stat()
    if found.st_uid != os.geteuid():
        raise NotPermitted(f"{directory} belongs to another user; {_REMEDY}")
    if found.st_mode & 0o077 == 0:
        return
    if not (directory / START_LOCK).exists() and any(directory.iterdir()):
        raise NotPermitted(f"{directory} is open to others and holds other files; {_REMEDY}")
    directory.chmod(0o700)


def opened_log(directory: Path) -> IO[bytes]:
    """The server's log, open for appending at its end; a long one is put by first."""
    log = directory / LOG
    with contextlib.suppress(FileNotFoundError):
        if log.stat().st_size > _LARGEST_LOG:
            log.replace(log.with_suffix(".log.1"))
    descriptor = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.lseek(descriptor, 0, os.SEEK_END)
    return os.fdopen(descriptor, "wb", buffering=0)


def last_word(log: Path, after: int) -> str:
    """The last warning in the log beyond the byte ``after``, else its last line there."""
    with contextlib.suppress(OSError), log.open("rb") as file:
        file.seek(after)
        lines = [line for line in file.read(1 << 16).decode(errors="replace").splitlines() if line]
        warnings = [line for line in lines if " # " in line]
        if lines:
            return (warnings or lines)[-1].rpartition(" # ")[2].strip()
    return ""


def holds_data(data: Path) -> bool:
    """Whether a server has written there."""
    return data.is_dir() and any(path.is_file() for path in data.rglob("*"))


def free_name(directory: Path) -> Path:
    """The first ``refused-<n>`` that is not taken."""
    taken = {path.name for path in directory.glob("refused-*")}
    number = 1
    while f"refused-{number}" in taken:
        number += 1
    return directory / f"refused-{number}"
