"""Real text to measure on: files of the running interpreter's library and of this machine."""

from __future__ import annotations

import os
import sysconfig
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ifmem import tokens
from ifmem.errors import Refused

_LONGEST_TOKENS = 30_000
"""A longer file would decide alone how full a shard gets."""
_SUFFIXES = frozenset({".py", ".pyi", ".txt", ".rst", ".md", ".html", ".json", ".c", ".h", ".toml"})
_PASSED_OVER = frozenset({"site-packages", "__pycache__", "test", "tests", "idlelib"})


@dataclass(frozen=True, slots=True)
class Copied:
    """Which text was copied, and how much."""

    files: int
    tokens: int
    bytes: int
    roots: tuple[str, ...]
    """The trees it was taken from, in the order used."""


def library_files() -> Iterator[Path]:
    """Python sources of the standard library, without its tests, in sorted order."""
    return files_below(standard_library(), suffixes=frozenset({".py"}), without=_PASSED_OVER)


def standard_library() -> Path:
    """The directory of the running interpreter's standard library."""
    return Path(sysconfig.get_path("stdlib"))


def machine_trees() -> tuple[Path, ...]:
    """Trees of text that most machines have: library, installed packages, documentation."""
    trees = (
        standard_library(),
        Path(sysconfig.get_path("purelib")),
        Path(sysconfig.get_path("include")),
        Path("/usr/lib/python3"),
        Path("/usr/share/doc"),
        Path("/usr/include"),
    )
    return tuple(tree for tree in trees if tree.is_dir())


def name_of(tree: Path) -> str:
    """What a report calls a tree: never a path that only one machine has."""
    known = {
        standard_library(): f"the standard library of Python {sysconfig.get_python_version()}",
        Path(sysconfig.get_path("purelib")): "the installed Python packages",
        Path(sysconfig.get_path("include")): "Python's C headers",
    }
    return known.get(tree) or (str(tree) if tree.is_relative_to("/usr") else tree.name)


def files_below(
    tree: Path, *, suffixes: frozenset[str] = _SUFFIXES, without: frozenset[str] = frozenset()
) -> Iterator[Path]:
    """Files of text below a tree, in sorted order."""
    for folder, below, names in os.walk(tree):
        below[:] = sorted(name for name in below if name not in without)
        for name in sorted(names):
            path = Path(folder, name)
            if path.suffix in suffixes and path.is_file() and not path.is_symlink():
                yield path


def copy_text(files: Iterator[Path], root: Path, into: Path, *, at_least: int) -> Copied:
    """Copy files, taken from the iterator one by one, until they hold so many tokens.

    Raises:
        Refused: the files have fewer tokens than that.
    """
    taken = counted = size = 0
    while counted < at_least:
        path = next(files, None)
        if path is None:
            raise Refused(f"{root} has only {counted:,} of the {at_least:,} tokens needed")
        text = _text_of(path)
        held = tokens.count(text)
        if not 0 < held <= _LONGEST_TOKENS:
            continue
        copy = into / path.relative_to(root)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_text(text, encoding="utf-8", newline="")
        taken, counted, size = taken + 1, counted + held, size + copy.stat().st_size
    return Copied(taken, counted, size, (name_of(root),))


def copy_from_trees(trees: Sequence[Path], into: Path, *, at_least: int) -> Copied:
    """Copy text of several trees, one after the other, each file once, until it is enough.

    Raises:
        Refused: all of them together have fewer tokens.
    """
    taken = counted = size = 0
    used = []
    for tree in trees:
        inner = [other for other in trees if tree in other.parents]
        files = (path for path in files_below(tree) if not _lies_below(path, inner))
        folder = into / tree.name
        used.append(name_of(tree))
        try:
            got = copy_text(files, tree, folder, at_least=at_least - counted)
        except Refused:
            got = _measured(folder)
        taken, counted, size = taken + got.files, counted + got.tokens, size + got.bytes
        if counted >= at_least:
            return Copied(taken, counted, size, tuple(used))
    raise Refused(
        f"the trees {', '.join(used)} have only {counted:,} of the {at_least:,} tokens needed: "
        "name a directory with more text"
    )


def _lies_below(path: Path, trees: Sequence[Path]) -> bool:
    return any(path.is_relative_to(tree) for tree in trees)


def _measured(folder: Path) -> Copied:
    files = list(files_below(folder))
    held = sum(tokens.count(_text_of(path)) for path in files)
    return Copied(len(files), held, sum(path.stat().st_size for path in files), (folder.name,))


def _text_of(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8")
    except (OSError, UnicodeDecodeError):
        return ""
