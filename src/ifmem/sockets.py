"""Where the Unix sockets of a home lie: in the home, or near the root when its path is too long."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from ifmem.errors import NotPermitted

DAEMON_SOCKET = "daemon.sock"
MCP_SOCKET = "mcp.sock"
"""Where the shims of agents speak MCP with the daemon."""
MAX_SOCKET_BYTES = 100
"""The kernel takes 107 bytes on Linux and 103 on macOS, without the closing NUL."""


def socket_path(home: Path, name: str) -> Path:
    """Where the socket ``name`` of a home lies; the same for every process of one user.

    Raises:
        NotPermitted: the short directory exists and belongs to somebody else.
    """
    plain = home / name
    if len(os.fsencode(plain)) <= MAX_SOCKET_BYTES:
        return plain
    # Needed for long paths only, and every hook of an agent pays for what is imported above.
    import hashlib

    short = f"{hashlib.sha256(os.fsencode(home)).hexdigest()[:16]}-{name}"
    for place in _private_places():
        if len(os.fsencode(place / short)) <= MAX_SOCKET_BYTES:
            return _private(place) / short
    raise NotPermitted(
        f"{home} is too long a path for a socket, and so is every private place: choose a --home "
        "with a shorter path",
        path=str(home),
    )


def _private_places() -> list[Path]:
    """Where short socket paths may lie: the user's run-time directory, else a temporary one."""
    import tempfile

    own = f"ifmem-{os.geteuid()}"
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    places = [Path(runtime)] if runtime and Path(runtime).is_dir() else []
    return [place / own for place in (*places, Path(tempfile.gettempdir()), Path("/tmp"))]


def _private(directory: Path) -> Path:
    directory.mkdir(mode=0o700, exist_ok=True)
    # In a shared temporary directory anybody can make the name first, or point it elsewhere.
    status = directory.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid():
        raise NotPermitted(
            f"{directory} belongs to somebody else: choose a --home with a shorter path, "
            "so that its socket fits inside",
            path=str(directory),
        )
    if stat.S_IMODE(status.st_mode) != 0o700:
        directory.chmod(0o700)
    return directory
