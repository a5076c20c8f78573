"""The fence around what a caller may have read: directories, links followed.

Links are followed here and not by the system, so that a path which is refused tells nothing of
what lies outside: it is given up at the first step that is missing, and ``..`` is refused where
what lies above is none of the caller's business. What was opened is looked at once more by its
descriptor: a link that was put in between leads nowhere.
"""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ifmem.engine.fencing import leads_to, lies_in

_MOST_LINKS = 40
_LONGEST_PATH = 4_096
_READ = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class Fence:
    """Directories outside which nothing is read."""

    roots: tuple[str, ...]
    """Absolute, without links."""

    @classmethod
    def around(cls, directories: Iterable[str]) -> Fence:
        """A fence around those of the directories that are there."""
        roots = []
        for directory in directories:
            if directory.startswith("/") and "\0" not in directory:
                real = os.path.realpath(directory)
                roots += [real] if Path(real).is_dir() else []
        return cls(tuple(roots))

    def resolve(self, path: str) -> str | None:
        """Where a path leads; None when nothing is there, or it lies outside."""
        return self._follow(path, also_missing=False)

    def place(self, path: str) -> str | None:
        """Where a path leads or, when nothing is there, would be; None when that is outside."""
        return self._follow(path, also_missing=True)

    def named(self, path: str) -> str | None:
        """The one spelling of what a caller names, a file's own name kept.

        None when it is absent, cannot be opened, or lies outside.
        """
        target = self.resolve(path)
        if target is None or not self._opens(target):
            return None
        parent, _, name = path.rstrip("/").rpartition("/")
        if Path(target).is_dir() or name in (".", ".."):
            return target
        folder = self.resolve(parent or "/")
        return target if folder is None else f"{folder.rstrip('/')}/{name}"

    def holds(self, descriptor: int) -> bool:
        """Whether what was opened lies inside, whatever its path said."""
        try:
            return lies_in(_path_of(descriptor), self.roots)
        except (OSError, UnicodeError):
            return False

    def _opens(self, path: str) -> bool:
        try:
            descriptor = os.open(path, _READ)
        except OSError:
            return False
        try:
            return self.holds(descriptor)
        finally:
            os.close(descriptor)

    def _follow(self, path: str, *, also_missing: bool) -> str | None:
        if not path.startswith("/") or len(path) > _LONGEST_PATH:
            return None
        waiting = path.split("/")[::-1]
        here, links = "/", 0
        while waiting:
            part = waiting.pop()
            if part in ("", "."):
                continue
            if part == "..":
                if not (lies_in(here, self.roots) or leads_to(here, self.roots)):
                    return None
                here = here.rpartition("/")[0] or "/"
                continue
            step = f"{here.rstrip('/')}/{part}"
            try:
                is_link = stat.S_ISLNK(os.lstat(step).st_mode)
                target = str(Path(step).readlink()) if is_link else ""
            except FileNotFoundError:
                return self._missing(step, waiting) if also_missing else None
            except (OSError, ValueError):
                return None
            if not is_link:
                here = step
                continue
            links += 1
            if links > _MOST_LINKS:
                return None
            here = "/" if target.startswith("/") else here
            waiting += target.split("/")[::-1]
        return here if lies_in(here, self.roots) else None

    def _missing(self, step: str, waiting: list[str]) -> str | None:
        rest = [part for part in reversed(waiting) if part not in ("", ".")]
        if ".." in rest or not lies_in(step, self.roots):
            return None
        return "/".join((step, *rest))


def _path_of(descriptor: int) -> str:
    if sys.platform == "darwin":
        import fcntl

        found = fcntl.fcntl(descriptor, fcntl.F_GETPATH, bytes(1_024))
        return os.fsdecode(found.split(b"\0", 1)[0])
    # A name that is no more has " (deleted)" at its end, which its folder does not feel.
    return str(Path(f"/proc/self/fd/{descriptor}").readlink())
