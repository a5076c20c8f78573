"""Reading what a model wrote: JSON with whatever stands around it, or a plain sentence."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

MOST_CHARACTERS = 200_000
"""A longer answer is none: no question needs it, and reading it would take its time."""
MOST_QUOTES = 32
"""Quotes looked at of one answer; the prompt asks for eight."""
MOST_QUOTE_CHARACTERS = 4_000
"""A longer quote proves nothing in particular."""
_MOST_OBJECTS = 200
"""Places at which an answer is tried to be read as JSON."""

_THOUGHT = re.compile(r"<think>.*?(?:</think>|\Z)", re.DOTALL | re.IGNORECASE)
_CODE_FENCE = re.compile(r"^```[\w-]*[ \t]*$", re.MULTILINE)
_ABSTAINS = re.compile(
    r"\W*(?:not found|not in (?:the )?(?:archive|documents?)|no answer\b|none\W*$|unknown\W*$|n/a\b"
    r"|(?:i|we) (?:do not|don't|cannot|can't|could not|couldn't) (?:know|find|answer|tell)"
    r"|(?:the|these) documents? (?:do|does) not|there is no (?:information|mention|answer))",
    re.IGNORECASE,
)
_LACKS_NOTHING = re.compile(r"\W*(?:none|nothing|null|no|n/?a|not applicable)?\W*", re.IGNORECASE)
_decoder = json.JSONDecoder()


@dataclass(frozen=True, slots=True)
class ClaimedQuote:
    """What a model says a document holds."""

    document: int | None
    """None: it named none that could be read."""
    quote: str
    claim: str


@dataclass(frozen=True, slots=True)
class WrittenAnswer:
    """A model's answer as it wrote it; nothing of it is believed yet."""

    found: bool
    quotes: tuple[ClaimedQuote, ...] = ()
    answer: str = ""
    missing: str = ""
    malformed: int = 0
    """Quotes that had no shape that could be read."""


@dataclass(frozen=True, slots=True)
class Unreadable:
    """An answer that is no answer, and why."""

    reason: str


def read_structured(text: str, *, cut: bool = False) -> WrittenAnswer | Unreadable:
    """The JSON answer in a text, with or without a code fence and prose around it.

    Args:
        text: what the model wrote.
        cut: it was cut off at its limit: quotes that are whole are kept.
    """
    if len(text) > MOST_CHARACTERS:
        return Unreadable(f"an answer of {len(text):,} characters")
    bare = _THOUGHT.sub("", text)
    quotes: list[Any] = []
    for value in _objects(bare):
        if _is_answer(value):
            return _written(value)
        if "quote" in value:
            quotes.append(value)
    if quotes:
        # Quotes are looked up by code, so those that are whole count without the rest.
        salvaged, malformed = _quotes(quotes)
        return WrittenAnswer(bool(salvaged), salvaged, malformed=malformed)
    return Unreadable("an answer cut off before its end" if cut else "an answer that is no JSON")


def read_free(text: str) -> WrittenAnswer | Unreadable:
    """The plain answer in a text: one that says it found nothing has ``found`` false."""
    if len(text) > MOST_CHARACTERS:
        return Unreadable(f"an answer of {len(text):,} characters")
    bare = _CODE_FENCE.sub("", _THOUGHT.sub("", text)).strip()
    if not bare:
        return Unreadable("an empty answer")
    if _ABSTAINS.match(bare):
        return WrittenAnswer(False)
    return WrittenAnswer(True, answer=bare)


def _objects(text: str) -> Iterator[dict[str, Any]]:
    """The JSON objects in a text, the outermost first; one that cannot be read is entered."""
    at = text.find("{")
    for _ in range(_MOST_OBJECTS):
        if at < 0:
            return
        value, end = _decoded(text, at)
        if isinstance(value, dict):
            yield value
        at = text.find("{", end)


def _decoded(text: str, at: int) -> tuple[Any, int]:
    try:
        return _decoder.raw_decode(text, at)
    except (ValueError, RecursionError):
        return None, at + 1


def _is_answer(value: dict[str, Any]) -> bool:
    return "found" in value or "quotes" in value or "answer" in value


def _written(value: dict[str, Any]) -> WrittenAnswer:
    quotes, malformed = _quotes(value.get("quotes"))
    # Without the word, what it gave speaks for itself.
    found = value.get("found")
    return WrittenAnswer(
        found=found if isinstance(found, bool) else bool(quotes),
        quotes=quotes,
        answer=_text(value.get("answer")),
        missing=_lacking(value.get("missing")),
        malformed=malformed,
    )


def _quotes(value: object) -> tuple[tuple[ClaimedQuote, ...], int]:
    if value is None:
        return (), 0
    if not isinstance(value, list):
        return (), 1
    read = [_quote(one) for one in value[:MOST_QUOTES]]
    kept = tuple(one for one in read if one is not None)
    return kept, len(value) - len(kept)


def _quote(value: object) -> ClaimedQuote | None:
    if not isinstance(value, dict):
        return None
    quote = value.get("quote")
    if not isinstance(quote, str) or not quote.strip() or len(quote) > MOST_QUOTE_CHARACTERS:
        return None
    return ClaimedQuote(_number(value.get("document")), quote, _text(value.get("claim")))


def _number(value: object) -> int | None:
    """A document's number; models also write ``"3"`` and ``3.0``."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return value
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, str) and (match := re.fullmatch(r"\D{0,12}(\d{1,6})\D{0,3}", value)):
        return int(match[1])
    return None


def _lacking(value: object) -> str:
    """What is missing; models also write that nothing is."""
    said = _text(value)
    return "" if _LACKS_NOTHING.fullmatch(said) else said


def _text(value: object) -> str:
    return value.strip() if isinstance(value, str) else ""
