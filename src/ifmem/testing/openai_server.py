"""A stand-in for OpenAI's chat completions that keeps to OpenAI's caching rules as we read them.

Sources: [G] developers.openai.com, guide "Prompt caching", read 2026-11 · [S] the SDK, openai
3.54, ``completion_create_params.py`` · [M] OpenAI's migration notes for GPT-5.6 as they are in
its public repositories, read 2026-11 · [I] errors as users report them in public issues.

- Prompts of 1,024 tokens and more are cached, without being asked to [G]; a schema stands before
  the system message and is part of the prefix [G].
- Before GPT-5.6 a hit is 1,024 tokens or more in steps of 128, writing is free and not reported,
  and entries live 5 to 10 minutes after their last use (5 here) [G].
- From GPT-5.6 on a prefix is written and matched at breakpoints only, to the exact token: at those
  on content parts, at most 4 of them written and 80 looked at, and, in ``mode: implicit``, at one
  behind the newest message, which then takes one of the 4 [S, M]. It lives for 30 minutes at
  least [S]; here exactly so, from its last use. What is written is in ``cache_write_tokens``,
  inside ``prompt_tokens``, at 1.25 times the price of input [G].
- ``prompt_cache_key`` routes equal prefixes to one machine [G]. Here another key is always another
  machine: the real service only makes that likely. It has at most 64 characters [I].
- ``max_tokens`` is refused from GPT-5 on [I]; the fields of GPT-5.6 are refused by older models
  [M says not to send them; that it is an error is our guess].
- A strict schema names every property as required and allows no other (guide "Structured outputs").
- Cached tokens count towards the rate limits like all others [G]; each answer says in its headers
  what is left of the minute.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any

from ifmem import clock as system_clock
from ifmem.testing.chat_protocol import KEY, Chat, ChatServer, Problem, Prompted
from ifmem.testing.prefix_cache import Block, CachedCall, PrefixCache, cut, quick_count
from ifmem.testing.rate_limits import Allowance

LEAST_TOKENS = 1_024
STEP = 128
UNUSED = timedelta(minutes=5)
TTL = timedelta(minutes=30)

_MODELS = {"gpt-6-luna": 1_050_000, "gpt-5.4-nano": 400_000, "gpt-4o-mini": 128_000}
_MOST_WRITES = 4
_MOST_READS = 80
_LONGEST_KEY = 64


class OpenAIServer(ChatServer):
    """See the module; used as ``with OpenAIServer() as server:``, its address ``server.url``."""

    def __init__(
        self,
        *,
        models: Mapping[str, int] = _MODELS,
        key: str = KEY,
        clock: Callable[[], datetime] = system_clock.now,
        requests_per_minute: int = 10_000,
        tokens_per_minute: int = 50_000_000,
    ) -> None:
        super().__init__(models=models, key=key, clock=clock)
        self._requests = Allowance(requests_per_minute, clock)
        self._tokens = Allowance(tokens_per_minute, clock)
        self.cache = PrefixCache(clock=clock, least_tokens=LEAST_TOKENS)

    def check(self, chat: Chat) -> None:
        body = chat.body
        if len(body.get("prompt_cache_key") or "") > _LONGEST_KEY:
            message = "Invalid 'prompt_cache_key': string too long."
            raise self.problem(400, message, "string_above_max_length", "prompt_cache_key")
        if _version(chat.model) >= (5, 0) and "max_tokens" in body:
            message = (
                "Unsupported parameter: 'max_tokens' is not supported with this model."
                " Use 'max_completion_tokens' instead."
            )
            raise self.problem(400, message, "unsupported_parameter", "max_tokens")
        if _version(chat.model) < (5, 0) and "reasoning_effort" in body:
            raise self._unsupported("reasoning_effort")
        if not _has_breakpoints(chat.model):
            if "prompt_cache_options" in body:
                raise self._unsupported("prompt_cache_options")
            if any(part.marked for part in chat.parts):
                raise self._unsupported("prompt_cache_breakpoint")
        form = body.get("response_format") or {}
        if form.get("json_schema", {}).get("strict") and not _is_strict(chat.schema):
            message = "Invalid schema: 'additionalProperties' false and every key 'required'."
            raise self.problem(400, message, "invalid_json_schema", "response_format")

    def prompted(self, chat: Chat) -> Prompted:
        if _has_breakpoints(chat.model):
            call = self._at_breakpoints(chat)
            written = sum(call.written.values())
        else:
            call = self._in_steps(chat)
            written = 0
        return Prompted(
            usage={
                "prompt_tokens": call.prompt,
                "prompt_tokens_details": {
                    "cached_tokens": call.read,
                    "cache_write_tokens": written,
                },
            },
            begun=call.answer_begun,
        )

    def headers(self, chat: Chat) -> Mapping[str, str]:
        wanted = quick_count(chat.prompt) + chat.max_output
        if self._tokens.limit is not None and wanted > self._tokens.limit:
            raise self._too_fast(f"Request too large on tokens per min: Requested {wanted}.", {})
        wait = max(self._requests.wait(1), self._tokens.wait(wanted))
        if wait:
            raise self._too_fast(
                "Rate limit reached. Please try again later.",
                {"retry-after": str(wait)} | self._left(),
            )
        self._requests.take(1)
        self._tokens.take(wanted)
        return self._left()

    def _left(self) -> dict[str, str]:
        now, headers = self.clock(), {}
        for name, allowance in (("requests", self._requests), ("tokens", self._tokens)):
            reset = max(0.0, (allowance.full_at - now).total_seconds())
            headers[f"x-ratelimit-limit-{name}"] = str(allowance.limit)
            headers[f"x-ratelimit-remaining-{name}"] = str(allowance.left)
            headers[f"x-ratelimit-reset-{name}"] = f"{reset:.3f}s"
        return headers

    def _too_fast(self, message: str, headers: Mapping[str, str]) -> Problem:
        error = {"message": message, "type": "tokens", "param": None, "code": "rate_limit_exceeded"}
        return Problem(429, {"error": error}, headers)

    def _unsupported(self, name: str) -> Problem:
        message = f"Unsupported parameter: '{name}' is not supported with this model."
        return self.problem(400, message, "unsupported_parameter", name)

    def _at_breakpoints(self, chat: Chat) -> CachedCall:
        options = chat.body.get("prompt_cache_options") or {}
        blocks = [Block(piece, quick_count(piece)) for piece in chat.pieces]
        marks = [index for index, part in enumerate(chat.parts) if part.marked]
        implicit = options.get("mode", "implicit") == "implicit"
        written = marks[-(_MOST_WRITES - implicit) :]
        if implicit:
            written.append(len(blocks) - 1)
        return self.cache.call(
            _scope(chat),
            blocks,
            writes=dict.fromkeys(sorted(set(written)), TTL),
            reads=sorted({*marks[-_MOST_READS:], *written}),
            look_back=1,
        )

    def _in_steps(self, chat: Chat) -> CachedCall:
        blocks = cut(chat.prompt, STEP)
        whole = len(blocks) if blocks[-1].tokens == STEP else len(blocks) - 1
        return self.cache.call(
            _scope(chat), blocks, writes=dict.fromkeys(range(whole), UNUSED), reads=range(whole)
        )


def _scope(chat: Chat) -> str:
    return f"{chat.model}\0{chat.body.get('prompt_cache_key') or ''}"


def _version(model: str) -> tuple[int, int]:
    match = re.match(r"gpt-(\d+)(?:\.(\d+))?", model)
    return (int(match[1]), int(match[2] or 0)) if match else (0, 0)


def _has_breakpoints(model: str) -> bool:
    return _version(model) >= (5, 6)


def _is_strict(schema: Any) -> bool:
    """Every object names all its properties as required and allows no other."""
    if isinstance(schema, list):
        return all(_is_strict(item) for item in schema)
    if not isinstance(schema, Mapping):
        return True
    properties = schema.get("properties")
    if isinstance(properties, Mapping) and (
        schema.get("additionalProperties") is not False
        or set(schema.get("required", ())) != set(properties)
    ):
        return False
    return all(_is_strict(value) for value in schema.values())
