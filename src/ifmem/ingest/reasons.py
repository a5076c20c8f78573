"""The words in which a skipped path says why."""

from __future__ import annotations

import errno

CHANGED = "changed while it was read; load it again"
VANISHED = "is no longer there"
BINARY = "is binary"
UNKNOWN_ENCODING = "encoding not recognised"
CREDENTIALS = "holds credentials; load it with [ingest] allow"
OWN_IGNORE = "ignored by .ifmemignore"
GIT_IGNORE = "ignored by .gitignore"
NOT_PERMITTED = "not permitted"
NAMED = "its path looks like it holds a credential; rename it to load it"

_UNITS = ("KiB", "MiB", "GiB", "TiB")
_BY_ERRNO = {
    errno.ELOOP: "is a link that leads back to itself",
    errno.ENOENT: VANISHED,
    errno.ENOTDIR: VANISHED,
    errno.ENAMETOOLONG: "its path is too long for this system",
}


def unreadable(error: OSError) -> str:
    """Why the system would not let us read."""
    known = _BY_ERRNO.get(error.errno or 0)
    return known or f"not readable: {(error.strerror or 'unknown error').lower()}"


def too_large(size: int, limit: int) -> str:
    """Why a file of ``size`` bytes was not read."""
    return f"is {in_words(size)}; the limit is {in_words(limit)} ([ingest] max_file_bytes)"


def in_words(size: int) -> str:
    """A number of bytes for people: ``812 bytes``, ``32 MiB``, ``2.5 GiB``.

    Rounded down to a tenth, so that a size under a limit never reads as one over it.
    """
    if size < 1024:
        return f"{size} bytes"
    power = min((size.bit_length() - 1) // 10, len(_UNITS))
    whole, tenth = divmod(size * 10 // 1024**power, 10)
    unit = _UNITS[power - 1]
    return f"{whole} {unit}" if not tenth and power < 3 else f"{whole}.{tenth} {unit}"


def printable(path: str) -> str:
    """A path that any output can carry: bytes that are not UTF-8 become ``\\xNN``."""
    return path.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
