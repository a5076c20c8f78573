"""Which folders a walk leaves out as one: other programs' stores, dependencies and caches."""

from __future__ import annotations

from collections.abc import Container

from ifmem.ingest import reasons

VERSION_CONTROL = "is a version control folder"
DEPENDENCIES = "holds installed dependencies"
CACHE = "is a cache"
OVERRULED = frozenset((reasons.GIT_IGNORE, VERSION_CONTROL, DEPENDENCIES, CACHE))
"""Reasons that do not hold for a path somebody named."""

BY_NAME = {
    **dict.fromkeys((".git", ".hg", ".svn", ".bzr", ".jj", "CVS", "_darcs"), VERSION_CONTROL),
    **dict.fromkeys(("node_modules", "bower_components", "__pypackages__"), DEPENDENCIES),
    **dict.fromkeys(("__pycache__", ".mypy_cache", ".ruff_cache", ".pytest_cache"), CACHE),
    **dict.fromkeys((".tox", ".nox", ".eggs", ".hypothesis", ".gradle", ".terraform"), CACHE),
    **dict.fromkeys((".import_linter_cache", ".ipynb_checkpoints"), CACHE),
}
_MARKS = {"pyvenv.cfg": DEPENDENCIES, "CACHEDIR.TAG": CACHE}


def marked(names: Container[str]) -> str | None:
    """What a folder with these entries is, if one of them says so."""
    return next((what for mark, what in _MARKS.items() if mark in names), None)
