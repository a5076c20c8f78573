"""How each server of OpenAI's chat protocol wants to be asked.

The differences that matter here, and where each was read:

- ``max_completion_tokens``: OpenAI; its models with reasoning refuse ``max_tokens``
  (``unsupported_parameter``). All other servers know ``max_tokens``, the older ones nothing else
  (DeepSeek's and vLLM's API references, llama.cpp's server README).
- ``stream_options.include_usage``: all four, and Ollama; without it a stream tells no usage, so a
  server that refuses it is not one that can be accounted for.
- Content parts: OpenAI takes a list of them, and the cache boundary is the end of one. The chat
  templates behind the others are sure to take one string only.
- ``prompt_cache_key`` (at most 64 characters, else 400 ``string_above_max_length``),
  ``prompt_cache_options`` and ``prompt_cache_breakpoint``: OpenAI alone; the last two from GPT-5.6
  on (openai 3.54, ``completion_create_params``; prompt-caching guide, read 2026-11). From there on
  a prefix is matched at breakpoints only, and the one that OpenAI sets by itself stands behind the
  question: without ours no other question over the same documents would read them.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from types import MappingProxyType
from typing import Any, Literal

from ifmem.domain.model import ModelCall, ModelCard

Vendor = Literal["openai", "deepseek", "vllm", "llamacpp", ""]

PROMISED = timedelta(minutes=30)
"""The least lifetime of what a breakpoint writes, and the only one that can be asked for
(openai 3.54, ``PromptCacheOptions.ttl``)."""

_LONGEST_KEY = 64
_FIRST_WITH_BREAKPOINTS = (5, 6)
_GPT = re.compile(r"(?:^|[:/])gpt-(?!35)(\d{1,2})(?:\.(\d{1,2}))?(?![\d.])")
"""`gpt-35-turbo` is how Azure writes 3.5."""
_FIXED_EFFORT = re.compile(r"pro|chat|search|image")
"""Variants of GPT-5 and later that do not take every effort."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """One server's ways."""

    title: str
    """In messages to people."""
    base_url: str = ""
    """Empty: it has to be given."""
    needs_key: bool = False
    own: bool = False
    """One's own server, old ones of which tell no usage: it is estimated then."""
    output_limit: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    cache_hints: bool = False
    """It takes content parts and OpenAI's fields on caching."""


DIALECTS: Mapping[Vendor, Dialect] = MappingProxyType(
    {
        "openai": Dialect(
            title="OpenAI",
            base_url="https://api.openai.com/v1",
            needs_key=True,
            output_limit="max_completion_tokens",
            cache_hints=True,
        ),
        "deepseek": Dialect(title="DeepSeek", base_url="https://api.deepseek.com", needs_key=True),
        "vllm": Dialect(title="The vLLM server", own=True),
        "llamacpp": Dialect(title="The llama.cpp server", own=True),
        # Ollama, OpenRouter, any other: it may bill, so nothing is estimated.
        "": Dialect(title="The server"),
    }
)


def has_breakpoints(model: str) -> bool:
    """OpenAI's model takes explicit cache breakpoints: GPT-5.6 and later."""
    return _gpt_version(model) >= _FIRST_WITH_BREAKPOINTS


def chat_request(
    card: ModelCard, dialect: Dialect, call: ModelCall, *, question: str, max_output: int
) -> dict[str, Any]:
    """The request of a call, with its schema and everything else that the prefix depends on.

    Args:
        question: instead of the prompt's, to warm its prefix.
    """
    prompt = call.prompt
    request: dict[str, Any] = {
        "model": card.ref.model,
        "messages": [
            {"role": "system", "content": prompt.rules},
            {"role": "user", "content": _content(card, dialect, call, question)},
        ],
        "stream": True,
        "stream_options": {"include_usage": True},
        dialect.output_limit: max(1, min(max_output, card.max_output)),
    }
    if card.structured and prompt.schema is not None:
        # OpenAI puts the schema before the system message, inside the cached prefix: a call that
        # warms a prefix carries the same one.
        request["response_format"] = {
            "type": "json_schema",
            "json_schema": {
                "name": re.sub(r"[^A-Za-z0-9_-]", "_", prompt.name)[:64] or "answer",
                "schema": dict(prompt.schema),
                "strict": True,
            },
        }
    if dialect.cache_hints:
        request |= _cache_hints(card.ref.model, call) | _effort(card.ref.model)
    return request


def warming_output(model: str) -> int:
    """Tokens of a warming answer: one, except for models that think first.

    Those refuse a request whose answer cannot begin (OpenAI's 400: could not finish the message
    because the output limit was reached), and whether the prefix is kept then nobody says. They
    are asked for one word and given room to think.
    """
    return 64 if _effort(model) else 1


def is_marked(card: ModelCard, dialect: Dialect, call: ModelCall) -> bool:
    """The call's prefix ends at a breakpoint, so the provider promises to keep it."""
    return (
        dialect.cache_hints
        and has_breakpoints(card.ref.model)
        and call.lifetime is not None
        and bool(call.prompt.documents)
    )


def _content(card: ModelCard, dialect: Dialect, call: ModelCall, question: str) -> object:
    documents = call.prompt.documents
    if not documents:
        return question
    if not dialect.cache_hints:
        return f"{documents}\n\n{question}"
    first: dict[str, Any] = {"type": "text", "text": documents}
    if is_marked(card, dialect, call):
        first["prompt_cache_breakpoint"] = {"mode": "explicit"}
    return [first, {"type": "text", "text": question}]


def _cache_hints(model: str, call: ModelCall) -> dict[str, Any]:
    hints: dict[str, Any] = {}
    if call.cache_key:
        hints["prompt_cache_key"] = _bounded_key(call.cache_key)
    if has_breakpoints(model):
        # Explicit: OpenAI adds no breakpoint of its own behind the question, whose tokens would
        # be written, and paid for, at every call, and read at none. A call without a lifetime
        # has no breakpoint at all: nothing is kept, and no write is paid.
        hints["prompt_cache_options"] = {"mode": "explicit", "ttl": "30m"}
    return hints


def _effort(model: str) -> dict[str, Any]:
    # Finding a quote takes little thought, and thoughts count as output: at the default a short
    # answer can end before its first word.
    if _gpt_version(model) < (5, 0) or _FIXED_EFFORT.search(model):
        return {}
    return {"reasoning_effort": "low"}


def _bounded_key(key: str) -> str:
    return key if len(key) <= _LONGEST_KEY else hashlib.sha256(key.encode()).hexdigest()


def _gpt_version(model: str) -> tuple[int, int]:
    match = _GPT.search(model)
    return (int(match[1]), int(match[2] or 0)) if match else (0, 0)
