"""How Anthropic's Messages API reads a request's prompt: blocks in order, breakpoints, refusals.

Sources: "docs" are the vendor's pages under build-with-claude/, "SDK" is anthropic 2.12.0.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import msgspec

from ifmem.testing.prefix_cache import Block

MOST_BREAKPOINTS = 4
"""docs prompt-caching: "up to 4 cache breakpoints"."""
LOOK_BACK = 20
"""docs prompt-caching: at most 20 positions per breakpoint are checked, itself the first."""
LIFETIMES = {"5m": timedelta(minutes=5), "1h": timedelta(hours=1)}
"""SDK types/cache_control_ephemeral_param.py; 5m when none is given."""


class InvalidRequest(Exception):
    """The API would answer 400 ``invalid_request_error`` with this message."""


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """What ``diagnostics`` compares of two requests (docs cache-diagnostics): hashes only."""

    model: str
    tools: bytes
    system: bytes
    messages: tuple[bytes, ...]
    blocks: tuple[tuple[bytes, int], ...]
    cached_tokens: int
    """Up to the last breakpoint."""


@dataclass(frozen=True, slots=True)
class ReadPrompt:
    """A request's prompt as the cache sees it."""

    blocks: Sequence[Block]
    breakpoints: Mapping[int, timedelta]
    """Lifetimes by the index of the block that has the mark."""
    fingerprint: Fingerprint

    @property
    def tokens(self) -> int:
        return sum(block.tokens for block in self.blocks)


def read_prompt(body: Mapping[str, Any], count: Callable[[str], int]) -> ReadPrompt:
    """The blocks of a request in the order of the cache: tools, system, messages.

    docs prompt-caching: "the order tools, system, then messages". docs structured-outputs: the
    format adds to the system prompt, so another schema breaks the cache from there on.

    Raises:
        InvalidRequest: the API would not take it.
    """
    tools = [("tool", tool) for tool in body.get("tools") or []]
    system = _format_block(body) + [("system", part) for part in _parts(body.get("system") or [])]
    turns = [_turn(message) for message in body.get("messages") or []]
    if not turns:
        raise InvalidRequest("messages: at least one message is required")
    parts = tools + system + [part for turn in turns for part in turn]
    blocks = [_block(role, part, count) for role, part in parts]
    breakpoints = _breakpoints([part for _, part in parts], body.get("cache_control"))
    last = max(breakpoints, default=-1)
    fingerprint = Fingerprint(
        model=str(body.get("model")),
        tools=_digest(tools),
        system=_digest(system),
        messages=tuple(_digest(turn) for turn in turns),
        blocks=tuple((hashlib.sha256(block.data).digest(), block.tokens) for block in blocks),
        cached_tokens=sum(block.tokens for block in blocks[: last + 1]),
    )
    return ReadPrompt(blocks, breakpoints, fingerprint)


def refuse_bad_parameters(body: Mapping[str, Any]) -> None:
    """What the API refuses whatever the prompt is.

    docs prompt-caching (pre-warming): ``max_tokens: 0`` goes neither with ``stream``, nor with a
    structured output, nor with thinking. docs structured-outputs: an object's schema says
    ``additionalProperties: false``.

    Raises:
        InvalidRequest: the API would not take it.
    """
    most = body.get("max_tokens")
    if not isinstance(most, int) or most < 0:
        raise InvalidRequest("max_tokens: Field required")
    schema = _format(body)
    if most == 0:
        for name, given in {
            "stream": body.get("stream"),
            "output_config.format": schema,
            "thinking": (body.get("thinking") or {}).get("type") == "enabled",
        }.items():
            if given:
                raise InvalidRequest(f"max_tokens: 0 is not supported with {name}")
    if schema is not None:
        _refuse_open_objects(schema)


def why_missed(before: Fingerprint, now: Fingerprint) -> Mapping[str, object] | None:
    """The reason that ``diagnostics`` gives, by the structure of two requests alone.

    docs cache-diagnostics: model, system, tools, messages in this order; messages that were only
    appended to are no divergence. SDK types/cache_miss_*.py for the shapes. The missed tokens are
    "what would have been read had the prefix matched": the cached part behind the common one.
    """
    appended = now.messages[: len(before.messages)] == before.messages
    for kind, same in {
        "model_changed": before.model == now.model,
        "system_changed": before.system == now.system,
        "tools_changed": before.tools == now.tools,
        "messages_changed": appended,
    }.items():
        if not same:
            common = 0 if kind == "model_changed" else _common_tokens(before.blocks, now.blocks)
            missed = max(0, before.cached_tokens - common)
            return {"type": kind, "cache_missed_input_tokens": missed}
    return None


def _common_tokens(one: Sequence[tuple[bytes, int]], other: Sequence[tuple[bytes, int]]) -> int:
    tokens = 0
    for mine, theirs in zip(one, other, strict=False):
        if mine != theirs:
            break
        tokens += mine[1]
    return tokens


def _turn(message: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    role = message.get("role")
    if role not in {"user", "assistant"}:
        raise InvalidRequest(f"messages: unexpected role {role!r}")
    return [(str(role), part) for part in _parts(message.get("content") or [])]


def _parts(content: str | Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    parts: list[Mapping[str, Any]] = (
        [{"type": "text", "text": content}] if isinstance(content, str) else list(content)
    )
    for part in parts:
        if part.get("type") == "text" and not str(part.get("text") or "").strip():
            raise InvalidRequest("text content blocks must contain non-whitespace text")
    return parts


def _format(body: Mapping[str, Any]) -> Mapping[str, Any] | None:
    given = (body.get("output_config") or {}).get("format")
    return None if given is None else given["schema"]


def _format_block(body: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    schema = _format(body)
    return [] if schema is None else [("system", {"type": "format", "schema": schema})]


def _block(role: str, part: Mapping[str, Any], count: Callable[[str], int]) -> Block:
    compared = {name: value for name, value in part.items() if name != "cache_control"}
    data = role.encode() + b"\0" + msgspec.json.encode(compared, order="sorted")
    text = part["text"] if part.get("type") == "text" else data.decode()
    return Block(data, count(text))


def _breakpoints(parts: Sequence[Mapping[str, Any]], automatic: Any) -> dict[int, timedelta]:
    marks = {
        index: part["cache_control"]
        for index, part in enumerate(parts)
        if part.get("cache_control") is not None
    }
    if automatic is not None:
        # docs prompt-caching: a mark on top of the request counts as one on the last block.
        marks[len(parts) - 1] = automatic
    if len(marks) > MOST_BREAKPOINTS:
        raise InvalidRequest(
            f"A maximum of {MOST_BREAKPOINTS} blocks with cache_control may be provided. "
            f"Found {len(marks)}."
        )
    shorter = None
    found = {}
    for index, mark in sorted(marks.items()):
        ttl = mark.get("ttl") or "5m"
        if mark.get("type") != "ephemeral" or ttl not in LIFETIMES:
            raise InvalidRequest("cache_control: ephemeral with a ttl of 5m or 1h is expected")
        if ttl == "1h" and shorter is not None:
            # docs prompt-caching: longer lifetimes come before shorter ones.
            raise InvalidRequest("a ttl='1h' block must not come after a ttl='5m' block")
        shorter = index if ttl == "5m" else shorter
        found[index] = LIFETIMES[ttl]
    return found


def _refuse_open_objects(schema: Any) -> None:
    if isinstance(schema, Mapping):
        if schema.get("type") == "object" and schema.get("additionalProperties") is not False:
            raise InvalidRequest(
                "output_config.format.schema: For 'object' type, 'additionalProperties' must be "
                "explicitly set to false"
            )
        for value in schema.values():
            _refuse_open_objects(value)
    elif isinstance(schema, list):
        for value in schema:
            _refuse_open_objects(value)


def _digest(parts: Sequence[tuple[str, Mapping[str, Any]]]) -> bytes:
    """Of what is said, without the marks, which the cache does not compare."""
    compared = [
        (role, {name: value for name, value in part.items() if name != "cache_control"})
        for role, part in parts
    ]
    return hashlib.sha256(msgspec.json.encode(compared, order="sorted")).digest()
