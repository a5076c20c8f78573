"""What a folder holds, listed so that nobody can put another folder in its place."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from ifmem.ingest.fence import Fence


class Entry(Protocol):
    """What is asked of an entry; ``os.DirEntry`` answers it."""

    @property
    def name(self) -> str: ...

    @property
    def path(self) -> str: ...

    def is_symlink(self) -> bool: ...

    def is_dir(self, *, follow_symlinks: bool = True) -> bool: ...

    def stat(self, *, follow_symlinks: bool = True) -> os.stat_result: ...


def listed(path: str, fence: Fence | None) -> Sequence[Entry]:
    """The entries of a folder, in no order.

    Raises:
        OSError: it cannot be listed, or lies outside the fence.
    """
    if fence is None:
        with os.scandir(path) as listing:
            return list(listing)
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        if not fence.holds(descriptor):
            raise PermissionError
        with os.scandir(descriptor) as listing:
            return [_seen(path, entry) for entry in listing]
    finally:
        os.close(descriptor)


@dataclass(frozen=True, slots=True)
class _Seen:
    """An entry as it was while its folder was open."""

    name: str
    path: str
    link: bool
    folder: bool
    status: os.stat_result | None

    def is_symlink(self) -> bool:
        return self.link

    def is_dir(self, *, follow_symlinks: bool = True) -> bool:
        return self.folder

    def stat(self, *, follow_symlinks: bool = True) -> os.stat_result:
        if self.status is None:
            raise FileNotFoundError
        return self.status


def _seen(folder: str, entry: os.DirEntry[str]) -> _Seen:
    link, is_dir = entry.is_symlink(), entry.is_dir(follow_symlinks=False)
    try:
        status = None if link or is_dir else entry.stat(follow_symlinks=False)
    except OSError:
        status = None
    return _Seen(entry.name, f"{folder.rstrip('/')}/{entry.name}", link, is_dir, status)
