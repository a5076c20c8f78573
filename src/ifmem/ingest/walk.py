"""From the paths a person names to the files that may be read, in one stable order.

A folder link is never followed: what lies inside the named paths is found at its own place, and
what lies outside was not asked for. A file link is read where it stands when it leads to a file
inside, so that every file has one path except where somebody wrote a second one.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from heapq import merge
from pathlib import Path

from ifmem.domain.document import Skipped
from ifmem.errors import NotFound
from ifmem.ingest import credentials, folders, ignore, reasons
from ifmem.ingest.fence import Fence
from ifmem.ingest.listing import Entry, listed


@dataclass(frozen=True, slots=True)
class Found:
    """A file that may be read, as it was when it was met."""

    path: str
    """Absolute; its folder has no links on the way, its last part is as met."""
    size: int
    mtime_ns: int
    inode: int
    root: str
    """The named path under which it was found."""
    link: bool = False
    """The last part is a link; the other fields are those of the file it leads to."""


def walk(
    paths: Sequence[Path],
    *,
    allow: Sequence[str] = (),
    fence: Fence | None = None,
    on_skip: Callable[[Skipped], None],
) -> Iterator[Found]:
    """Every file to read below ``paths``, once each, sorted by the parts of its path.

    Args:
        allow: patterns, in the syntax of ignore files and for any depth, of paths to read
            although they hold credentials or are ignored.
        fence: nothing outside is looked at, and ``paths`` are what ``Fence.named`` gave.
        on_skip: told of each path left out, a folder as one; in no order when paths overlap.

    Raises:
        NotFound: one of ``paths`` does not exist; nothing is yielded.
    """
    named = {_resolved(path) if fence is None else str(path) for path in paths}
    tops = [one for one in named if not any(_lies_in(one, other) for other in named)]
    told: set[Skipped] = set()

    def tell(path: str, reason: str) -> None:
        skipped = Skipped(reasons.printable(path), reason)
        if len(named) > 1:
            if (reason in folders.OVERRULED and path in named) or skipped in told:
                return
            told.add(skipped)
        on_skip(skipped)

    permission = _Permission(ignore.Rules.of(map(_at_any_depth, allow)), tuple(tops), fence)
    walks = [_below(one, permission, tell) for one in named]
    return walks[0] if len(walks) == 1 else _once(merge(*walks, key=lambda one: _parts(one.path)))


_Tell = Callable[[str, str], None]


@dataclass(frozen=True, slots=True)
class _Permission:
    """What was told about which paths may be read."""

    allow: ignore.Rules
    roots: tuple[str, ...]
    fence: Fence | None = None

    def allows(self, path: str, name: str) -> bool:
        return self.allow.verdict(path[1:], name, is_dir=False) is True

    def contains(self, path: str) -> bool:
        return any(path == root or _lies_in(path, root) for root in self.roots)

    def target(self, link: str) -> str:
        """Where a link leads.

        Raises:
            OSError: nowhere, or outside the fence.
        """
        if self.fence is None:
            return os.path.realpath(link, strict=True)
        target = self.fence.resolve(link)
        if target is None:
            raise PermissionError
        return target

    def unreadable(self, error: OSError) -> str:
        """Why the system would not let us read; behind a fence always the same."""
        return reasons.unreadable(error) if self.fence is None else reasons.NOT_PERMITTED


@dataclass(slots=True)
class _Folder:
    """A folder being walked."""

    ignores: ignore.Ignores
    guarded: bool
    entries: Iterator[Entry] = field(default_factory=lambda: iter(()))


def _below(root: str, permission: _Permission, tell: _Tell) -> Iterator[Found]:
    """The files below one named path, or the file it names."""
    try:
        is_dir = stat.S_ISDIR(Path(root).stat().st_mode)
    except OSError as error:
        tell(root, permission.unreadable(error))
        return
    if not is_dir:
        found = _named_file(root, permission, tell)
        if found is not None:
            yield found
        return
    if ignore.kept_out(root, is_dir=True):
        tell(root, reasons.OWN_IGNORE)
        return
    guarded = credentials.in_guarded_folder(root)
    first = _opened(root, ignore.above(root), guarded, permission, tell, named=True)
    stack = [first] if first else []
    while stack:
        folder = stack[-1]
        for entry in folder.entries:
            if not entry.name.isascii() and not _is_utf8(entry.name):
                tell(entry.path, "its name is not valid UTF-8; rename it to load it")
            elif entry.is_symlink():
                if (linked := _linked(entry, root, folder, permission, tell)) is not None:
                    yield linked
            elif entry.is_dir(follow_symlinks=False):
                if (inner := _entered(entry, folder, permission, tell)) is not None:
                    stack.append(inner)
                    break
            elif (found := _file(entry, root, folder, permission, tell)) is not None:
                yield found
        else:
            stack.pop()


def _opened(
    path: str,
    ignores: ignore.Ignores,
    guarded: bool,
    permission: _Permission,
    tell: _Tell,
    *,
    named: bool = False,
) -> _Folder | None:
    try:
        entries = sorted(listed(path, permission.fence), key=lambda entry: entry.name)
    except OSError as error:
        tell(path, permission.unreadable(error))
        return None
    # Behind a fence a link must not bring rules, or the top of a repository, from outside.
    names = {e.name for e in entries if permission.fence is None or not e.is_symlink()}
    if not named and (reason := folders.marked(names)):
        tell(path, reason)
        return None
    return _Folder(ignores.within(path, names), guarded, iter(entries))


def _entered(entry: Entry, folder: _Folder, permission: _Permission, tell: _Tell) -> _Folder | None:
    name, path = entry.name, entry.path
    reason = folders.BY_NAME.get(name) or folder.ignores.reason(path, name, True)
    guarded = folder.guarded or name in credentials.FOLDERS
    if reason is None and guarded and not permission.allow.rules:
        reason = reasons.CREDENTIALS
    if reason is not None:
        tell(path, reason)
        return None
    return _opened(path, folder.ignores, guarded, permission, tell)


def _file(
    entry: Entry, root: str, folder: _Folder, permission: _Permission, tell: _Tell
) -> Found | None:
    name, path = entry.name, entry.path
    reason = folder.ignores.reason(path, name, False)
    if reason is None and (folder.guarded or credentials.by_name(path, name)):
        reason = reasons.CREDENTIALS
    if reason is not None and not permission.allows(path, name):
        tell(path, reason)
        return None
    try:
        return _found(path, entry.stat(follow_symlinks=False), root, tell)
    except OSError as error:
        tell(path, permission.unreadable(error))
        return None


def _linked(
    entry: Entry, root: str, folder: _Folder, permission: _Permission, tell: _Tell
) -> Found | None:
    """What a link inside a tree gives: the file it leads to, if that lies inside as well."""
    name, path = entry.name, entry.path
    try:
        target = permission.target(path)
        status = Path(target).stat()
    except OSError as error:
        gone = isinstance(error, FileNotFoundError) and permission.fence is None
        tell(path, "is a link to nothing" if gone else permission.unreadable(error))
        return None
    if stat.S_ISDIR(status.st_mode):
        tell(path, f"is a link to the folder {target}; links to folders are not followed")
        return None
    if not permission.contains(target):
        tell(path, "is a link to a file outside what was given; name the file to load it")
        return None
    reason = folder.ignores.reason(path, name, False) or _protected(target)
    if reason is None and (folder.guarded or credentials.by_name(path, name)):
        reason = reasons.CREDENTIALS
    if reason is not None and not permission.allows(path, name):
        tell(path, reason)
        return None
    return _found(path, status, root, tell, link=True)


def _named_file(path: str, permission: _Permission, tell: _Tell) -> Found | None:
    """A file somebody named: ignored by git or not, it is wanted; other protections stand."""
    spelled, name = Path(path), path.rsplit("/", 1)[1]
    try:
        target = os.path.realpath(path) if permission.fence is None else permission.target(path)
        reason = _protected(path) or (_protected(target) if target != path else None)
        if reason is not None and not permission.allows(path, name):
            tell(path, reason)
            return None
        return _found(path, spelled.stat(), path, tell, link=spelled.is_symlink())
    except OSError as error:
        tell(path, permission.unreadable(error))
        return None


def _protected(path: str) -> str | None:
    """Why a file is kept out wherever it is reached from."""
    if credentials.in_guarded_folder(path) or credentials.by_name(path, path.rsplit("/", 1)[1]):
        return reasons.CREDENTIALS
    return reasons.OWN_IGNORE if ignore.kept_out(path, is_dir=False) else None


def _found(
    path: str, status: os.stat_result, root: str, tell: _Tell, *, link: bool = False
) -> Found | None:
    if not stat.S_ISREG(status.st_mode):
        tell(path, _special(status.st_mode))
        return None
    return Found(path, status.st_size, status.st_mtime_ns, status.st_ino, root, link)


def _special(mode: int) -> str:
    if stat.S_ISFIFO(mode):
        return "is a named pipe"
    if stat.S_ISSOCK(mode):
        return "is a socket"
    return "is a device"


def _resolved(path: Path) -> str:
    """The one spelling of a named path: links on the way resolved, a file's own name kept."""
    try:
        if stat.S_ISDIR(path.stat().st_mode):
            return os.path.realpath(path, strict=True)
        return str(path.parent.resolve() / path.name)
    except PermissionError:
        return str(path.absolute())
    except (OSError, ValueError) as error:
        named = reasons.printable(str(path))
        raise NotFound(f"{named} does not exist", path=named) from error


def _once(found: Iterator[Found]) -> Iterator[Found]:
    last = None
    for one in found:
        if one.path != last:
            yield one
        last = one.path


def _parts(path: str) -> list[str]:
    return path.split("/")


def _lies_in(path: str, folder: str) -> bool:
    return path != folder and path.startswith(folder.rstrip("/") + "/")


def _at_any_depth(pattern: str) -> str:
    """A pattern for paths from the file system's root that means what it would in a project."""
    if pattern.startswith("/") or "/" not in pattern.removesuffix("/"):
        return pattern
    return f"**/{pattern}"


def _is_utf8(name: str) -> bool:
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True
