"""What is loaded: a document, and the passages it is cut into."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """What a document is, as far as splitting, placement and ranking care."""

    CODE = "code"
    CONFIG = "config"
    PROSE = "prose"
    DATA = "data"
    CHAT = "chat"
    GIT_LOG = "git-log"


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """One passage of a text: where it lies and what encloses it.

    The spans of a text cover it without gap or overlap, so joining them gives the text back.
    """

    start: int
    """First character, counted from 0."""
    end: int
    """One past the last character."""
    first_line: int
    """Line of the first character, counted from 1."""
    last_line: int
    """Line of the last character that is not white space, or ``first_line``."""
    header: str = ""
    """The enclosing definitions or headings, outermost first, joined by `` > ``."""
    speaker: str | None = None
    said_at: str | None = None
    """When a chat turn was said, as its log has it."""
    locator: str | None = None
    """Where a reader finds it when lines mean little: ``page 3``, ``cell 12``, a row id."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """What a reader made of one source: masked text cut into passages, not yet placed."""

    source: str
    """Absolute path, URL or ``chat:<id>``."""
    sha256: str
    """Hex digest of the bytes as read, before decoding and masking."""
    format: str
    """The reader that made the text: ``text``, ``notebook``, ``html``, ``chat``, ``pdf`` …"""
    kind: Kind
    text: str
    spans: tuple[Span, ...]
    size: int
    """Bytes read."""
    masked: int = 0
    """Credentials masked in ``text``."""
    group: str | None = None
    """What the document belongs to when a question may ask for only that: a conversation."""


@dataclass(frozen=True, slots=True)
class Skipped:
    """A path that was not loaded, and why."""

    path: str
    reason: str
