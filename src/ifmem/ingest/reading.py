"""What a reader gives: the text of a source in parts, before masking and cutting."""

from __future__ import annotations

from dataclasses import dataclass

from ifmem.domain.document import Kind


class Unreadable(Exception):
    """The bytes are not what their format says; the argument is the reason for the report."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A stretch of a source that is cited by itself: a turn, a cell, a page, or all of it."""

    text: str
    kind: Kind
    name: str
    """The file name whose rules of cutting fit this part: ``cell.py``, ``page.md``."""
    header: str = ""
    speaker: str | None = None
    said_at: str | None = None
    locator: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """The parts of a source in their order."""

    parts: tuple[Part, ...]
    kind: Kind
    format: str
    group: str | None = None
