"""Messages as JSON: what the sender said, as the bus and the store keep it unread."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import msgspec

from ifmem.domain.message import DEFAULT_LIFE, MAX_BODY_BYTES, Message
from ifmem.errors import Invalid

SCHEMA_VERSION = "1.0"


class _Message(msgspec.Struct, frozen=True, omit_defaults=True):
    message_id: str
    sender: str
    body: dict[str, Any] | str
    to: str | None = None
    topic: str | None = None
    action_type: str | None = None
    reply_to: str | None = None
    correlation_id: str | None = None
    life_seconds: float = DEFAULT_LIFE.total_seconds()
    schema_version: str = ""


def to_json(message: Message) -> bytes:
    """The message as one JSON object; absent fields are left out.

    Raises:
        Invalid: the body is no JSON, or larger than a message may be.
    """
    body = message.body if isinstance(message.body, str) else dict(message.body)
    try:
        size = len(msgspec.json.encode(body))
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise Invalid(
            f"the body cannot be written as JSON: {error}; use text, numbers, lists and objects"
        ) from error
    if size > MAX_BODY_BYTES:
        raise Invalid(
            f"the body takes {size:,} bytes; the limit is {MAX_BODY_BYTES:,}: load the text as a "
            "document and name it",
            bytes=size,
            limit=MAX_BODY_BYTES,
        )
    return msgspec.json.encode(
        _Message(
            message_id=message.message_id,
            sender=message.sender,
            body=body,
            to=message.to,
            topic=message.topic,
            action_type=message.action_type,
            reply_to=message.reply_to,
            correlation_id=message.correlation_id,
            life_seconds=message.life.total_seconds(),
            schema_version=SCHEMA_VERSION,
        )
    )


def parse(data: bytes) -> Message:
    """The message that ``to_json`` wrote; fields of a later version are passed over.

    Raises:
        Invalid: the bytes are no message.
    """
    try:
        shape = msgspec.json.decode(data, type=_Message)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise Invalid(f"this is no message: {error}") from error
    return Message(
        message_id=shape.message_id,
        sender=shape.sender,
        body=shape.body,
        to=shape.to,
        topic=shape.topic,
        action_type=shape.action_type,
        reply_to=shape.reply_to,
        correlation_id=shape.correlation_id,
        life=timedelta(seconds=shape.life_seconds),
    )
