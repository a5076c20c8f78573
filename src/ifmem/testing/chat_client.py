"""A plain client of OpenAI's chat protocol, to test the stand-ins without our own adapter."""

from __future__ import annotations

import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from ifmem.testing.chat_protocol import KEY

_PATIENCE_SECONDS = 30
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))
"""Without the proxies of the environment: what it asks is on loopback."""


@dataclass(slots=True)
class Said:
    """What came back."""

    status: int
    headers: Mapping[str, str]
    text: str = ""
    finish: str | None = None
    usage: Mapping[str, Any] = field(default_factory=dict)
    error: Mapping[str, Any] = field(default_factory=dict)

    @property
    def cached(self) -> int:
        """As OpenAI reports it."""
        return int((self.usage.get("prompt_tokens_details") or {}).get("cached_tokens", 0))

    @property
    def written(self) -> int:
        """Tokens that are charged as a write."""
        return int((self.usage.get("prompt_tokens_details") or {}).get("cache_write_tokens", 0))


def ask(url: str, model: str, *content: object, key: str = KEY, **further: object) -> Said:
    """Ask one question in a stream, with its usage.

    Args:
        content: of the user's message: one string alone, or parts and strings that become parts.
        further: more fields of the request.
    """
    parts = [part(piece) if isinstance(piece, str) else piece for piece in content]
    alone = content[0] if len(content) == 1 and isinstance(content[0], str) else None
    body: dict[str, object] = {
        "model": model,
        "messages": [
            {"role": "system", "content": "Answer."},
            {"role": "user", "content": alone or parts},
        ],
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    return post(f"{url}/v1/chat/completions", body | further, key=key)


def part(text: str, *, marked: bool = False) -> dict[str, object]:
    """A part of a message, with a cache breakpoint behind it or without."""
    content: dict[str, object] = {"type": "text", "text": text}
    return content | ({"prompt_cache_breakpoint": {"mode": "explicit"}} if marked else {})


def post(url: str, body: object, *, key: str = KEY) -> Said:
    """Send a body and read the stream, or the error, that comes back."""
    request = urllib.request.Request(
        url,
        data=msgspec.json.encode(body),
        headers={"authorization": f"Bearer {key}", "content-type": "application/json"},
    )
    try:
        with _OPENER.open(request, timeout=_PATIENCE_SECONDS) as response:
            said = Said(response.status, dict(response.headers))
            for chunk in _chunks(response.read()):
                _add(said, chunk)
            return said
    except urllib.error.HTTPError as refused:
        with refused:
            answer = msgspec.json.decode(refused.read())
            return Said(refused.code, dict(refused.headers), error=answer.get("error", answer))


def _chunks(stream: bytes) -> Iterator[Any]:
    for line in stream.decode().split("\n"):
        if line.startswith("data: ") and line != "data: [DONE]":
            yield msgspec.json.decode(line.removeprefix("data: "))


def _add(said: Said, chunk: Mapping[str, Any]) -> None:
    said.usage = chunk.get("usage") or said.usage
    for choice in chunk["choices"]:
        said.text += choice["delta"].get("content") or ""
        said.finish = choice["finish_reason"] or said.finish
