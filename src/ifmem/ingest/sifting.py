"""Whether a walk of a directory would have given one file: the same rules, asked from the file."""

from __future__ import annotations

import os
from pathlib import Path

from ifmem.ingest import credentials, folders, ignore, reasons

OUTSIDE = "lies outside the project"


def why_left_out(path: str, root: str) -> str | None:
    """Why a walk of ``root`` would leave out the file at ``path``; None when it would give it.

    Args:
        path: absolute, its links resolved; it need not exist.
        root: a directory, likewise.
    """
    if not path.startswith(root.rstrip("/") + "/"):
        return OUTSIDE
    if ignore.kept_out(root, is_dir=True):
        return reasons.OWN_IGNORE
    if credentials.in_guarded_folder(path) or credentials.by_name(path, path.rsplit("/", 1)[1]):
        return reasons.CREDENTIALS
    folder = root
    ignores = ignore.above(root).within(root, _entries(root))
    *between, name = path[len(root.rstrip("/")) + 1 :].split("/")
    for part in between:
        folder = f"{folder.rstrip('/')}/{part}"
        reason = folders.BY_NAME.get(part) or ignores.reason(folder, part, is_dir=True)
        entries = _entries(folder)
        if reason := reason or folders.marked(entries):
            return reason
        ignores = ignores.within(folder, entries)
    return ignores.reason(path, name, is_dir=False)


def resolved(path: str, directory: str) -> str:
    """The one spelling of a path as somebody standing in ``directory`` wrote it, links followed."""
    spelled = os.path.expanduser(path) if path.startswith("~") else path  # noqa: PTH111
    return os.path.realpath(Path(directory) / spelled)


def _entries(folder: str) -> frozenset[str]:
    try:
        return frozenset(os.listdir(folder))  # noqa: PTH208 - names, not paths
    except OSError:
        return frozenset()
