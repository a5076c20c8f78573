"""A message: what one agent tells another, or all who follow a topic."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from ifmem.domain.finding import require_uuid
from ifmem.errors import Invalid

MAX_BODY_BYTES = 64 * 1024
"""Of the body as JSON. A longer text is loaded as a document, and the message names it."""
MAX_WORDS = 64
"""Characters of a kind of message."""
MAX_CORRELATION = 128
INBOX_LIMIT = 10_000
"""Messages that an agent may have waiting; what is sent to a full inbox is refused."""
SHORTEST_LIFE = timedelta(seconds=1)
LONGEST_LIFE = timedelta(days=30)
DEFAULT_LIFE = timedelta(days=7)

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,127}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """What a sender says, before the bus gives it a place and a time.

    Raises:
        Invalid: neither or both of ``to`` and ``topic``, a name, an id or a length that breaks
            its rule, a life outside one second to 30 days.
    """

    message_id: str
    """A uuid; sending it again changes nothing."""
    sender: str
    body: Mapping[str, Any] | str
    """An object of JSON-compatible values, or a text."""
    to: str | None = None
    """The one agent it is for."""
    topic: str | None = None
    """Or the topic whose followers get it."""
    action_type: str | None = None
    """What the reader is to make of it, in the sender's words: ``question``, ``proposal`` …"""
    reply_to: str | None = None
    """The id of the message that this one answers."""
    correlation_id: str | None = None
    """Whatever the sender uses to tell which messages belong together."""
    life: timedelta = DEFAULT_LIFE
    """How long it may wait to be acknowledged."""

    def __post_init__(self) -> None:
        require_uuid(self.message_id)
        require_name(self.sender, "sender")
        if (self.to is None) == (self.topic is None):
            raise Invalid("a message goes to one agent or to one topic: name `to` or `topic`")
        require_name(self.to if self.topic is None else self.topic, "recipient")
        if self.reply_to is not None:
            require_uuid(self.reply_to)
        _require_length(self.action_type, "action_type", MAX_WORDS)
        _require_length(self.correlation_id, "correlation_id", MAX_CORRELATION)
        if not SHORTEST_LIFE <= self.life <= LONGEST_LIFE:
            raise Invalid(
                "a message lives between one second and 30 days; "
                f"{self.life.total_seconds():g} seconds are asked for"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """A message as a recipient takes it from the inbox."""

    message: Message
    sequence: int
    """Its place among all messages of the space."""
    sent_ms: int
    """Milliseconds since 1970 by the server's clock, as ``expires_ms``."""
    expires_ms: int
    number: int
    """1 at first; more when it was taken before and not acknowledged in time."""


@dataclass(frozen=True, slots=True)
class OpenMessage:
    """A message that somebody has not acknowledged, as the store has it."""

    message_id: str
    sequence: int
    sent_ms: int
    expires_ms: int
    body: bytes
    recipients: tuple[str, ...]
    """Who is not done with it."""


@dataclass(frozen=True, slots=True)
class TopicFollowers:
    """Who follows a topic, and who does no more."""

    topic: str
    followers: tuple[str, ...]
    left: tuple[str, ...] = ()


def require_name(text: str | None, what: str) -> str:
    """The name itself when it can name an agent or a topic, otherwise ``Invalid``."""
    if text is None or _NAME.fullmatch(text) is None:
        raise Invalid(
            f"the {what} {(text or '')[:60]!r} is no name: up to 128 letters, digits and . _ @ -, "
            "the first a letter or digit"
        )
    return text


def _require_length(text: str | None, name: str, limit: int) -> None:
    if text is not None and not 0 < len(text) <= limit:
        raise Invalid(f"{name} has {len(text)} characters: give 1 to {limit}, or none at all")
