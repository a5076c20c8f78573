"""The rules of exports: what the content digest is over, and how paths move between machines."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping

from ifmem.errors import Invalid


def content_digest(members: Iterable[tuple[str, int, str]]) -> str:
    """The digest over all facts: of each member's name, rows and digest, in the order of the file.

    How they were packed and when is not part of it.
    """
    lines = "".join(f"{name} {rows} {sha256}\n" for name, rows, sha256 in members)
    return hashlib.sha256(f"ifmem content 1\n{lines}".encode()).hexdigest()


def relative_to(root: str, source: str) -> str | None:
    """The path of a source below its root; None when it does not lie there."""
    prefix = root.rstrip("/") + "/"
    if not root.startswith("/") or not source.startswith(prefix):
        return None
    path = source.removeprefix(prefix)
    return path if _stays_below(path) else None


def source_of(root: str, path: str, *, below: bool) -> str:
    """The source that ``relative_to`` took apart.

    Raises:
        Invalid: the path leads out of its root.
    """
    if not below:
        return path
    if not root.startswith("/") or not _stays_below(path):
        raise Invalid(f"{path[:200]!r} does not lie below {root[:200]!r}")
    return f"{root.rstrip('/')}/{path}"


def require_moves(moved: Mapping[str, str]) -> dict[str, str]:
    """The moves without trailing slashes, the longest first.

    Raises:
        Invalid: one is no absolute path.
    """
    for path in (*moved.keys(), *moved.values()):
        if not path.startswith("/") or ".." in path.split("/") or "\0" in path:
            raise Invalid(f"--root takes absolute paths, OLD=NEW: {path[:200]!r} is none")
    bare = {old.rstrip("/") or "/": new.rstrip("/") or "/" for old, new in moved.items()}
    return dict(sorted(bare.items(), key=lambda pair: (-len(pair[0]), pair[0])))


def moved(path: str, moves: Mapping[str, str]) -> str:
    """Where a path lies here: the longest directory that was moved decides."""
    for old, new in moves.items():
        if path == old:
            return new
        if path.startswith(old if old == "/" else old + "/"):
            return f"{new.rstrip('/')}/{path.removeprefix(old).lstrip('/')}"
    return path


def _stays_below(path: str) -> bool:
    return path != "" and not path.startswith("/") and ".." not in path.split("/")
