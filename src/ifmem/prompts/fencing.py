"""Recalled text as data: each document between two marks that it cannot contain."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

MARK_CHARACTERS = 12
_SHA256_SHOWN = 16
_JOINER = "\u2060"
"""A word joiner: it takes no room, and parts the characters of a template's token."""
# What chat templates read as their own: <|im_start|>, <｜User｜>, <s>, <start_of_turn>, [INST] …
# An engine that cuts the whole prompt into tokens would take them for turns of a conversation.
_TEMPLATE = re.compile(
    r"<(?=[|｜]|/?(?:s|bos|eos|pad|unk|think|start_of_turn|end_of_turn)>|<SYS>>|</SYS>>)"
    r"|\[(?=/?(?:INST|SYSTEM_PROMPT|AVAILABLE_TOOLS|TOOL_CALLS|TOOL_RESULTS)\])"
)
_LINE_ENDS = {ord(end): f"\\u{ord(end):04x}" for end in "\x85\u2028\u2029"}
"""Those that JSON leaves as they are: a name with one must not begin a line."""
_PARTED = re.compile(f"([<\\[]){_JOINER}")


@dataclass(frozen=True)
class FencedDocument:
    """A text as a prompt shows it: numbered, attributed, and closed by a mark of its own."""

    number: int
    """From 1, in the order of the prompt."""
    source: str
    sha256: str
    """Of the document as read."""
    text: str

    @cached_property
    def fenced(self) -> str:
        """The line that opens it, its text, and the line that closes it."""
        return fenced(
            f"document {self.number}",
            self.text,
            f"source={quoted(self.source)} sha256={self.sha256[:_SHA256_SHOWN]}",
        )


def fenced(name: str, text: str, attributes: str = "") -> str:
    """A text between two lines that it cannot contain.

    The mark is made from the digest of the text and does not occur in it, so nothing in the text
    closes it.

    Args:
        name: what it is, one or two plain words.
        text: recalled from somewhere, to be shown as data.
        attributes: of whoever fences it, on one line; names and texts in them are ``quoted``.
    """
    text = harmless(text)
    mark = _mark(text)
    return (
        f"<{name} mark={mark}{' ' if attributes else ''}{attributes}>\n"
        f"{text}{'' if text.endswith(chr(10)) else chr(10)}"
        f"</{name} mark={mark}>\n"
    )


def quoted(text: str) -> str:
    """A name or a short text on one line, as a JSON string: it cannot end the line it is on."""
    return json.dumps(harmless(text), ensure_ascii=False).translate(_LINE_ENDS)


def fence(documents: Iterable[FencedDocument]) -> str:
    """The documents one after the other; the list is not closed, so more may be appended."""
    return "".join(document.fenced for document in documents)


def harmless(text: str) -> str:
    """The text with the tokens of chat templates parted by a joiner; other text as it is."""
    return _TEMPLATE.sub(lambda match: match[0] + _JOINER, text)


def as_written(quote: str) -> str:
    """A quote from a prompt as its source has it."""
    return _PARTED.sub(r"\1", quote)


def number_ranges(numbers: Sequence[int]) -> str:
    """Ascending numbers for people and models: ``1-3, 7``."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ", ".join(f"{r[0]}-{r[-1]}" if len(r) > 1 else str(r[0]) for r in runs)


def _mark(text: str) -> str:
    """A mark that does not occur in the text: the first of those its digests give."""
    attempt = 0
    while True:
        digest = hashlib.sha256(f"{attempt}\0{text}".encode("utf-8", "replace")).hexdigest()
        if digest[:MARK_CHARACTERS] not in text:
            return digest[:MARK_CHARACTERS]
        attempt += 1
