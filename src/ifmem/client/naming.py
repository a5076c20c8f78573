"""What a search is restricted to, and how a caller names it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, TypedDict

from ifmem.errors import Invalid
from ifmem.places import project_file
from ifmem.wire.calls import Filters
from ifmem.wire.naming import citation, dollars, is_moment, moment, question, source_name

__all__ = [
    "Scope",
    "Where",
    "WhereAndWhen",
    "citation",
    "dollars",
    "filters",
    "is_moment",
    "moment",
    "question",
    "source_name",
]

Scope = Literal["project", "space"]


class Where(TypedDict, total=False):
    """What a search or a list may be restricted to; what is left out restricts nothing."""

    source: str | Sequence[str]
    """Paths with everything below them, URLs, or patterns with ``*``."""
    group: str | None
    """Only documents of this group."""
    author: str | None
    """Only findings of this author."""
    until: str | None
    """Nothing after this moment; a date means the whole day."""
    at: str | None
    """What was believed at this moment, later corrections undone: of ``recall`` and ``findings``
    only."""
    scope: Scope | None
    """``space`` for everything, ``project`` for what lies below the nearest ``.ifmem.toml``;
    None is ``project`` where there is such a file."""


class WhereAndWhen(Where, total=False):
    """The same, and from when on."""

    since: str | None
    """Nothing before this date or time."""


def filters(directory: Path, where: Where, *, since: str | None = None) -> Filters:
    """What a search is restricted to, as seen from a directory.

    Raises:
        Invalid: a moment cannot be read, or there is no project to restrict to.
    """
    source = where.get("source", ())
    until, at = where.get("until"), where.get("at")
    sources = (source,) if isinstance(source, str) else tuple(source)
    return Filters(
        source=tuple(source_name(one, directory) for one in sources),
        group=where.get("group"),
        author=where.get("author"),
        since=moment(since) if since else None,
        until=moment(until, end_of_day=True) if until else None,
        root=_root(directory, where.get("scope")),
        at=moment(at, end_of_day=True) if at else None,
    )


def _root(directory: Path, scope: Scope | None) -> str | None:
    if scope == "space":
        return None
    project = project_file(directory)
    if project is not None:
        return os.path.realpath(project.parent)
    if scope == "project":
        raise Invalid(
            f"there is no .ifmem.toml at or above {directory}, so there is no project here: "
            "use --scope space"
        )
    return None
