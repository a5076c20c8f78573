"""A passage as stored, with what is needed to rank, show and cite it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Passage:
    """A passage as stored, with what is needed to rank, show and cite it."""

    passage_id: int
    content_id: int
    ordinal: int
    sha256: str
    shard: int
    source: str
    title: str
    kind: str
    group: str | None
    first_line: int
    last_line: int
    tokens: int
    header: str
    speaker: str | None
    said_at: str | None
    locator: str | None
    text: str

    @property
    def public_id(self) -> str:
        """The id people see; derived from the content, so it is the same after every reload."""
        return f"{self.sha256[:16]}:{self.ordinal}"

    @property
    def is_turn(self) -> bool:
        """True for a turn of a chat, whose neighbours say what it is about."""
        return self.speaker is not None
