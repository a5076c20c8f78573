"""The bytes of a file at one moment: all of them, unchanged while they were read, or a reason."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable

from ifmem.domain.document import Skipped
from ifmem.ingest import reasons
from ifmem.ingest.fence import Fence
from ifmem.ingest.walk import Found

_CHUNK = 1 << 20
_ATTEMPTS = 2


def snapshot(
    found: Found,
    *,
    max_bytes: int,
    fence: Fence | None = None,
    read: Callable[[int, int], bytes] = os.read,
) -> bytes | Skipped:
    """The content of a file.

    Args:
        max_bytes: a larger file is not read at all.
        fence: what was opened is not read when it lies outside.
        read: how bytes leave an open file, as ``os.read`` does it.
    """
    # A pipe that took the file's place must not block us, nor a link lead us elsewhere.
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | (0 if found.link else os.O_NOFOLLOW)
    for _ in range(_ATTEMPTS):
        try:
            descriptor = os.open(found.path, flags)
            try:
                if fence is not None and not fence.holds(descriptor):
                    return Skipped(found.path, reasons.NOT_PERMITTED)
                content = _read_once(descriptor, max_bytes, read)
            finally:
                os.close(descriptor)
        except OSError as error:
            told = reasons.unreadable(error) if fence is None else reasons.NOT_PERMITTED
            return Skipped(found.path, told)
        if isinstance(content, str):
            return Skipped(found.path, content)
        if content is not None:
            return content
    return Skipped(found.path, reasons.CHANGED)


def _read_once(
    descriptor: int, max_bytes: int, read: Callable[[int, int], bytes]
) -> bytes | str | None:
    """The bytes; a reason not to read them; or None when they changed meanwhile."""
    before = os.fstat(descriptor)
    if not stat.S_ISREG(before.st_mode):
        return reasons.CHANGED
    if before.st_size > max_bytes:
        return reasons.too_large(before.st_size, max_bytes)
    chunks: list[bytes] = []
    size = 0
    while chunk := read(descriptor, min(before.st_size + 1, _CHUNK)):
        chunks.append(chunk)
        size += len(chunk)
        if size > before.st_size:
            # Do not run after a writer: this snapshot is lost already.
            return None
    unchanged = _state(os.fstat(descriptor)) == _state(before) and size == before.st_size
    return b"".join(chunks) if unchanged else None


def _state(status: os.stat_result) -> tuple[int, int, int]:
    # The change time as well: a writer can put the modification time back.
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns
