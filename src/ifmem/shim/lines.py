"""Cutting a stream into lines of JSON-RPC, and reading what each is."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

Id = int | str

PARSE_ERROR, INVALID_REQUEST, INTERNAL_ERROR = -32700, -32600, -32603
_SAMPLE_BYTES = 512
_MOST_DIGITS = 4_000
_ID = rb'(-?\d{1,18}|"(?:[^"\\]|\\.)*")'
# An id is at the top of the message when only plain fields stand before it, or nothing after it.
_ID_FIRST = rb'\s*\{(?:\s*"\w+"\s*:\s*"[^"\\]*"\s*,)*\s*"id"\s*:\s*' + _ID + rb"\s*[,}]"
_ID_LAST = rb'"id"\s*:\s*' + _ID + rb"\s*\}\s*\Z"


class TooLong(NamedTuple):
    """A line above the limit, of which nothing was kept."""

    id: Id | None
    """Whose request it is, where its beginning or its end says so."""


class Lines:
    """Lines out of chunks, none longer than a limit that may change on the way."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._parts: list[bytes] = []
        self._bytes = 0
        self._head: bytes | None = None
        """Of a line that is being passed over."""
        self._tail = b""

    def feed(self, chunk: bytes) -> Iterator[bytes | TooLong]:
        """The lines that a chunk completes, without their ends."""
        *ends, rest = chunk.split(b"\n")
        for part in ends:
            self._take(part)
            line = self.end()
            if line is not None:
                yield line
        self._take(rest)

    def end(self) -> bytes | TooLong | None:
        """What stands there without a line's end; None for nothing, and for an empty line."""
        line, head, tail = b"".join(self._parts), self._head, self._tail
        self._parts, self._bytes, self._head, self._tail = [], 0, None, b""
        if head is not None:
            return TooLong(_id_in(head, tail))
        return line if line.strip() else None

    def _take(self, part: bytes) -> None:
        if self._head is None and self._bytes + len(part) > self.limit:
            whole = b"".join(self._parts)
            self._head = (whole + part[:_SAMPLE_BYTES])[:_SAMPLE_BYTES]
            self._tail = whole[-_SAMPLE_BYTES:]
            self._parts = []
        if self._head is None:
            self._parts.append(part)
            self._bytes += len(part)
        else:
            self._tail = (self._tail + part[-_SAMPLE_BYTES:])[-_SAMPLE_BYTES:]


def parsed(line: bytes) -> dict[str, Any] | None:
    """The message of a line; None when it is JSON and no object.

    Raises:
        ValueError: it is no JSON.
    """
    try:
        message = json.loads(line.decode(), parse_int=_short, parse_constant=_refuse)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    return message if isinstance(message, dict) else None


def known_id(message: dict[str, Any] | None) -> Id | None:
    """The id of a message when it is one that an answer can carry."""
    number = message.get("id") if message else None
    if isinstance(number, str):
        return number if _is_whole(number) else None
    return number if isinstance(number, int) and not isinstance(number, bool) else None


def is_message(message: dict[str, Any]) -> bool:
    """Whether it is a request, a notification or an answer of JSON-RPC 2.0."""
    number = known_id(message)
    if message.get("jsonrpc") != "2.0" or ("id" in message and number is None):
        return False
    if "method" in message:
        return isinstance(message["method"], str) and isinstance(message.get("params", {}), dict)
    return number is not None and ("result" in message or "error" in message)


def line_of(message: object) -> bytes:
    """A message as a line."""
    return json.dumps(message, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


def result(number: Id, value: object) -> bytes:
    """The answer to a request."""
    return line_of({"jsonrpc": "2.0", "id": number, "result": value})


def error(number: Id | None, code: int, message: str, data: object = None) -> bytes:
    """The refusal of a request, or of a line whose id is not known."""
    told = {"code": code, "message": message} | ({} if data is None else {"data": data})
    return line_of({"jsonrpc": "2.0", "id": number, "error": told})


def _id_in(head: bytes, tail: bytes) -> Id | None:
    found = re.match(_ID_FIRST, head) or re.search(_ID_LAST, tail)
    if found is None:
        return None
    try:
        return known_id({"id": json.loads(found[1])})
    except ValueError:
        return None


def _is_whole(text: str) -> bool:
    """Whether it can be sent: JSON can also write half of a character."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _short(digits: str) -> int | None:
    # Python refuses to read longer ones. The line is passed on as it is, for the server to judge.
    return int(digits) if len(digits) <= _MOST_DIGITS else None


def _refuse(constant: str) -> float:
    raise ValueError(f"{constant} is no JSON")
