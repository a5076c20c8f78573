"""Where a path lies as against a caller's roots, told from its letters alone."""

from __future__ import annotations

import re
from collections.abc import Iterable
from urllib.parse import unquote, urlsplit

_FILE_URL = re.compile(r"(?:git\+)?file:", re.IGNORECASE)
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*:")


def lies_in(path: str, roots: Iterable[str]) -> bool:
    """True when the path is one of the roots or below one; all without links, ``.`` and ``..``."""
    return any(path == root or path.startswith(root.rstrip("/") + "/") for root in roots)


def leads_to(path: str, roots: Iterable[str]) -> bool:
    """True when one of the roots lies below the path."""
    return any(lies_in(root, (path,)) for root in roots)


def path_of_source(source: str) -> str | None:
    """The path that a document's name stands for, also a relative one; None when it is no path.

    ``file:`` and ``git+file:`` URLs stand for paths; other schemes (``https:``, ``chat:``) do not.
    """
    if _FILE_URL.match(source):
        try:
            return unquote(urlsplit(source.removeprefix("git+")).path)
        except ValueError:
            return ""
    return None if _SCHEME.match(source) else source
