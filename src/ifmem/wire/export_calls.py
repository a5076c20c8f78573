"""What export and import take, and what they answer."""

from __future__ import annotations

import msgspec


class ExportCall(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    path: str
    """Absolute; a file on the host of the daemon."""
    force: bool = False
    """Replace a file that is there."""


class Exported(msgspec.Struct, frozen=True):
    path: str
    bytes: int
    findings: int
    documents: int
    tokens: int
    """o200k tokens of the documents and of the findings' claims."""
    content_sha256: str
    """The same for every export of the same facts."""
    seconds: float


class ImportCall(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    path: str
    """Absolute; a file on the host of the daemon."""
    moved: dict[str, str] = {}
    """By directory as it was there, where it is here."""
    dry_run: bool = False
    """Check everything and say what would be done."""


class Taken(msgspec.Struct, frozen=True):
    """What became of the rows of one member."""

    new: int = 0
    known: int = 0
    """There already, the same."""
    differing: int = 0
    """There already, otherwise: ours stayed."""
    blocked: int = 0
    """Forgotten here: not taken."""
    left: int = 0
    """Not taken: cursors and what means something to the source alone."""


class Differing(msgspec.Struct, frozen=True):
    """Something that is here otherwise than in the export: ours stayed."""

    member: str
    id: str


class Imported(msgspec.Struct, frozen=True):
    path: str
    outcome: str
    """``restored`` into an empty space, ``merged``, ``known`` when nothing was new; ``checked`` for
    a dry run."""
    content_sha256: str
    """Of the export."""
    source: str
    """The store id it was exported from."""
    at: str
    """When it was exported."""
    findings: int
    """New here."""
    documents: int
    """New here."""
    tokens: int
    """o200k tokens of what is new."""
    masked: int
    """Credentials masked that the export still held."""
    members: dict[str, Taken]
    differing: list[Differing]
    """The first hundred."""
    seconds: float
