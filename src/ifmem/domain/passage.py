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
    trust: str = "user"
    """``captured`` when nothing but hooks of agents brought its document."""
    loaded_at: str | None = None
    """When its document was last read, ISO-8601 UTC; None where only the shard is known."""

    @property
    def author(self) -> str:
        """Who said it, or else who brought it: the ``user``, or what was ``captured``."""
        return self.speaker or self.trust

    @property
    def time(self) -> str | None:
        """When it was said, or else read."""
        return self.said_at or self.loaded_at

    @property
    def public_id(self) -> str:
        """The id people see; derived from the content, so it is the same after every reload."""
        return f"{self.sha256[:16]}:{self.ordinal}"

    @property
    def is_turn(self) -> bool:
        """True for a turn of a chat, whose neighbours say what it is about."""
        return self.speaker is not None
