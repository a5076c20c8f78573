"""What the verbs about agents' messages and topics take."""

from __future__ import annotations

from typing import Any

import msgspec


class SendCall(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    body: dict[str, Any] | str
    to: str | None = None
    """The agent; or ``topic``."""
    topic: str | None = None
    id: str | None = None
    sender: str | None = None
    """None: the daemon itself."""
    action_type: str | None = None
    reply_to: str | None = None
    correlation_id: str | None = None
    expires_seconds: float | None = None
    """How long it may wait to be acknowledged; None: a week."""
    durable: bool = True


class ReceiveCall(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    agent: str
    limit: int = 10
    wait_seconds: float = 0.0
    visibility_seconds: float = 60.0
    """After this, what is not acknowledged is delivered again."""


class AcknowledgeMessagesCall(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    agent: str
    ids: tuple[str, ...]
    durable: bool = True


class FollowTopicCall(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    agent: str
    topic: str
    durable: bool = True


class UnfollowTopicCall(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    agent: str
    topic: str
    durable: bool = True
