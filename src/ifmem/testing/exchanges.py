"""What goes between a client and a loopback server: requests, answers, and faults to order."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What a client asked."""

    method: str
    path: str
    """Without its query."""
    query: Mapping[str, str]
    headers: Mapping[str, str]
    """By name in lower case."""
    raw: bytes
    body: Any
    """The JSON of ``raw``; None when that is empty or no JSON."""


@dataclass(frozen=True, slots=True)
class Reply:
    """A whole answer: JSON, or the bytes as they are."""

    body: object
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    begin: Callable[[], None] | None = None
    """Called right before the first byte is sent; where a stream has its generator."""


@dataclass(frozen=True, slots=True)
class Event:
    """One server-sent event; ``data`` is written as JSON, a ``str`` as it is (``[DONE]``)."""

    data: object
    name: str = ""

    def encode(self) -> bytes:
        data = self.data.encode() if isinstance(self.data, str) else msgspec.json.encode(self.data)
        head = f"event: {self.name}\n".encode() if self.name else b""
        return head + b"data: " + data + b"\n\n"


@dataclass(frozen=True, slots=True)
class Stream:
    """An answer in server-sent events, each sent as soon as the iterable gives it."""

    events: Iterable[Event]
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Answer:
    """Fault: this answer, whatever was asked; ``answer`` is not called."""

    status: int
    body: object
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class HangUp:
    """Fault: the request is read and the connection ends without a byte; nothing is answered."""


@dataclass(frozen=True, slots=True)
class CutStream:
    """Fault: the stream ends after so many events.

    The connection breaks off in the middle of the body; ``cleanly``, the body ends properly, as
    behind a proxy that gave up: only the protocol's own last event is missing.
    """

    after: int
    cleanly: bool = False


@dataclass(frozen=True, slots=True)
class Malformed:
    """Fault: a whole answer, or a stream's event of this number (from 0), is no JSON."""

    event: int = 0
    text: str = '{"cut'


@dataclass(frozen=True, slots=True)
class Hold:
    """Fault: nothing is sent (after so many events) until ``release`` is set, or the server ends.

    With ``after=0`` the request was taken, ``answer`` has returned, and its answer has not begun.
    ``reached`` is set when the server holds; ``abandoned`` when the client has closed meanwhile.
    """

    after: int = 0
    release: threading.Event = field(default_factory=threading.Event)
    reached: threading.Event = field(default_factory=threading.Event)
    abandoned: threading.Event = field(default_factory=threading.Event)


Fault = Answer | HangUp | CutStream | Malformed | Hold
