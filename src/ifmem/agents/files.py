"""The agents' files on the disk: read, copied beside themselves, and replaced in one step."""

from __future__ import annotations

import contextlib
import difflib
import os
import re
import shutil
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from ifmem.agents.unreadable import UnreadableError
from ifmem.engine.masking import mask
from ifmem.errors import Failed

_CONTEXT = 3
_HUNK = re.compile(r"([-+])(\d+)(?=[, ])")


@dataclass(frozen=True, slots=True)
class Change:
    """What becomes of one file; None: there is no file."""

    path: Path
    before: str | None
    after: str | None

    @property
    def diff(self) -> str:
        """What changes, as a unified diff, credentials in the lines around it masked."""
        old, new = _lines(self.before), _lines(self.after)
        # Only what lies between the common beginning and end: the state of Claude Code, which is
        # in the same file, can have a hundred thousand lines.
        start = max(_common(old, new) - _CONTEXT, 0)
        end = max(_common(old[start:][::-1], new[start:][::-1]) - _CONTEXT, 0)
        parts = difflib.unified_diff(
            old[start : len(old) - end],
            new[start : len(new) - end],
            os.devnull if self.before is None else str(self.path),
            os.devnull if self.after is None else str(self.path),
            n=_CONTEXT,
        )
        return mask("".join(_shown(line, start) for line in parts)).text


def read(path: Path) -> str | None:
    """The text of a file, its line ends as they are; None where there is none.

    Raises:
        UnreadableError: it cannot be read as text.
    """
    try:
        return path.read_bytes().decode()
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise UnreadableError(f"it cannot be read: {error}") from error


def write(change: Change, now: datetime) -> Path | None:
    """Replace the file, after a copy of it was made beside it; the copy's path.

    The file appears in one step, with the mode and owner it had; a link to it stays a link.

    Raises:
        Failed: somebody changed the file meanwhile, or the disk refuses.
    """
    # The file itself, where its name is a link, as in a directory of dot files.
    path = Path(os.path.realpath(change.path))
    try:
        if read(path) != change.before:
            raise Failed(f"{path} was changed by somebody else just now: run the same again")
        backup = _copied(path, now) if change.before is not None else None
        if change.after is None:
            path.unlink()
        elif change.after != change.before:
            _replace(path, change.after)
    except (OSError, UnreadableError, UnicodeEncodeError) as error:
        raise Failed(f"{path} cannot be written: {error}", path=str(path)) from error
    return backup


def _copied(path: Path, now: datetime) -> Path:
    stamp = now.astimezone(UTC).strftime("%Y%m%dT%H%M%SZ")
    for number in range(1, 1_000):
        suffix = f".ifmem-{stamp}" + (f"-{number}" if number > 1 else "") + ".bak"
        copy = path.with_name(path.name + suffix)
        if not copy.exists():
            shutil.copy2(path, copy)
            return copy
    raise Failed(f"{path.parent} is full of copies of {path.name}: remove those you do not need")


def _replace(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(text.encode())
            file.flush()
            os.fsync(file.fileno())
        _as_before(path, temporary)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _as_before(path: Path, temporary: Path) -> None:
    """Give the new file the mode and owner of the old one, or those of any new file."""
    try:
        old = path.stat()
    except FileNotFoundError:
        # What mkstemp makes is for the owner alone, which for a project's file is too little.
        mask_of_process = os.umask(0o077)
        os.umask(mask_of_process)
        temporary.chmod(0o666 & ~mask_of_process)
        return
    temporary.chmod(old.st_mode & 0o7777)
    if (old.st_uid, old.st_gid) != (os.geteuid(), os.getegid()):
        with contextlib.suppress(PermissionError):
            os.chown(temporary, old.st_uid, old.st_gid)


def _shown(line: str, start: int) -> str:
    """A line of a diff that began so many lines into the file."""
    if line.startswith("@@ "):
        return _HUNK.sub(lambda found: f"{found[1]}{int(found[2]) + start}", line)
    return line if line.endswith("\n") else line + "\n\\ No newline at end of file\n"


def _lines(text: str | None) -> list[str]:
    return [] if text is None else text.splitlines(keepends=True)


def _common(left: Iterable[str], right: Iterable[str]) -> int:
    """How many lines are equal from the beginning on."""
    count = 0
    for one, other in zip(left, right, strict=False):
        if one != other:
            break
        count += 1
    return count
