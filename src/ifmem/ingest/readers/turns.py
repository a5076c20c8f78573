"""One message of a chat log, whatever its program calls the fields."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from ifmem.ingest.decode import clean

CONVERSATION_IDS = (
    *("conversation_id", "conversationId", "session_id", "sessionId"),
    *("chat_id", "thread_id", "channel_id"),
)
_SPEAKERS = ("role", "speaker", "author", "from", "sender", "name")
_TEXTS = ("content", "text", "message", "body", "value")
_TIMES = ("timestamp", "time", "created_at", "date", "create_time", "createdAt", "ts")
_ROLES = frozenset(
    (
        *("user", "assistant", "system", "developer", "tool", "function", "human"),
        *("gpt", "ai", "bot", "model", "agent", "chatgpt"),
    )
)
_LEVELS = ("level", "levelname", "severity")
"""A row with one of these is a line of a program's log, whatever else it holds."""
_ENOUGH = 0.8


@dataclass(frozen=True, slots=True)
class Turn:
    """What somebody said."""

    speaker: str
    text: str
    said_at: str | None
    sure: bool
    """The record is a message beyond doubt, not some row that has a name and a text."""


def turn_of(record: object) -> Turn | None:
    """The turn a record holds, or None when it holds none with text."""
    if not isinstance(record, Mapping):
        return None
    inner = next(
        (held for key in ("message", "payload") if isinstance(held := record.get(key), Mapping)),
        None,
    )
    message = inner if inner is not None else record
    speaker = _speaker(message) or _speaker(record)
    if speaker is None or any(key in record for key in _LEVELS):
        return None
    text = next((text for key in _TEXTS if (text := _text(message.get(key)))), "")
    if not text:
        return None
    said_at = _time(record) or _time(message)
    sure = speaker.lower() in _ROLES or "speaker" in message or said_at is not None
    return Turn(clean(speaker), clean(text), said_at, sure)


def is_dialogue(turns: Sequence[Turn], records: Sequence[object]) -> bool:
    """Whether records that gave these turns are a chat, not rows of data.

    Session logs hold events besides messages, each with its ``type``; other rows that are no
    turn speak against a chat.
    """
    if not turns:
        return False
    others = [r for r in records if not (isinstance(r, Mapping) and ("type" in r or "role" in r))]
    strangers = sum(turn_of(record) is None for record in others)
    if strangers > (1 - _ENOUGH) * len(records):
        return False
    speakers = {turn.speaker for turn in turns}
    if len(turns) == 1:
        return speakers.pop().lower() in _ROLES
    return all(turn.sure for turn in turns) or len(speakers) < len(turns)


def first_text(record: Mapping[str, object], keys: Sequence[str]) -> str | None:
    """The first of these fields that holds text."""
    for key in keys:
        value = record.get(key)
        if isinstance(value, str) and value.strip():
            return clean(value.strip())
    return None


def _speaker(record: Mapping[str, object]) -> str | None:
    for key in _SPEAKERS:
        value = record.get(key)
        if isinstance(value, Mapping):
            value = first_text(value, ("name", "role", "username", "display_name"))
        if isinstance(value, str) and value.strip():
            # A name on one line: it opens the rendered turn.
            return " ".join(value.split())
    return None


def _text(content: object) -> str:
    if isinstance(content, str):
        return content.strip()
    if isinstance(content, Mapping):
        content = content.get("parts", content.get("text"))
        return _text(content)
    if isinstance(content, list):
        return "\n\n".join(_blocks(content))
    return ""


def _blocks(blocks: Sequence[object]) -> Iterator[str]:
    for block in blocks:
        text = block if isinstance(block, str) else None
        if isinstance(block, Mapping) and block.get("type", "text") in _TEXT_BLOCKS:
            text = block.get("text")
        if isinstance(text, str) and text.strip():
            yield text.strip()


_TEXT_BLOCKS = ("text", "input_text", "output_text")


def _time(record: Mapping[str, object]) -> str | None:
    """When it was said: text as the log has it, seconds or milliseconds since 1970 as ISO 8601."""
    for key in _TIMES:
        value = record.get(key)
        if isinstance(value, str) and value.strip():
            return clean(value.strip())
        if isinstance(value, int | float) and not isinstance(value, bool) and value > 0:
            seconds = value / 1000 if value > 1e11 else value
            try:
                return datetime.fromtimestamp(seconds, UTC).isoformat()
            except (OverflowError, ValueError, OSError):
                continue
    return None
