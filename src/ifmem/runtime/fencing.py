"""Guarantee 10: what a caller over MCP names lies inside its roots, or is not permitted.

Outside, absent and unreadable are one answer, so that nobody learns what lies outside by asking.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from ifmem.engine.fencing import lies_in, path_of_source
from ifmem.errors import NotPermitted
from ifmem.ingest import reasons
from ifmem.ingest.fence import Fence


def fence_of(within: Sequence[str] | None, *, elsewhere: bool = False) -> Fence | None:
    """The fence of a call; None when it may name anything.

    Args:
        elsewhere: the directories are those of another host, taken as they are spelled.
    """
    if within is None:
        return None
    return Fence(tuple(within)) if elsewhere else Fence.around(within)


def require_named(fence: Fence, path: str) -> str:
    """The one spelling of a file or directory that may be read.

    Raises:
        NotPermitted: it lies outside, is not there, or cannot be read.
    """
    named = fence.named(path)
    if named is None:
        raise not_permitted(path)
    return named


def require_source(fence: Fence | None, source: str, *, elsewhere: bool = False) -> str:
    """The name of a document inside the fence, a path in its one spelling; a URL as it is.

    Args:
        elsewhere: the paths are those of another host, where this one cannot follow links.

    Raises:
        NotPermitted: it is a path, also in a ``file:`` URL, and leads outside.
    """
    path = path_of_source(source)
    if fence is None or path is None:
        return source
    if elsewhere:
        is_plain = path == os.path.normpath(path) and lies_in(path, fence.roots)
        place = path if is_plain else None
    else:
        place = fence.place(path)
    if place is None:
        raise not_permitted(source)
    return place if path == source else source


def not_permitted(named: str) -> NotPermitted:
    """The one answer to whoever names what they may not, or cannot, have read."""
    shown = reasons.printable(named[:200]).replace("\0", "\\0")
    return NotPermitted(
        f"{shown} is not permitted: name a file or directory inside the roots of this caller by "
        "its absolute path",
        path=shown,
    )
