"""Usage as servers of OpenAI's protocol report it, taken apart into buckets that never overlap.

Who says what (openai 3.54 ``CompletionUsage``; DeepSeek and llama.cpp as read 2026-11):

    OpenAI      prompt_tokens includes prompt_tokens_details.{cached_tokens,cache_write_tokens}
    DeepSeek    prompt_tokens = prompt_cache_hit_tokens + prompt_cache_miss_tokens
    vLLM        prompt_tokens_details only with --enable-prompt-tokens-details, and left out when
                nothing was cached
    llama.cpp   prompt_tokens_details.cached_tokens, or timings.cache_n beside the usage
    all         completion_tokens includes completion_tokens_details.reasoning_tokens; a few
                servers count those beside it, which their total_tokens shows
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ifmem.domain.usage import TokenUsage

_MOST = 10**12
"""More tokens than any call has: a server that reports them reports nonsense."""


@dataclass(frozen=True, slots=True)
class ReportedUsage:
    """What a server said a call took."""

    usage: TokenUsage
    cache_told: bool
    """False: it said nothing of its cache, and every prompt token counts as uncached."""


def usage_of(usage: object, timings: object = None) -> ReportedUsage:
    """The buckets of a usage object; they sum to the server's own totals.

    Args:
        usage: the JSON of ``usage``.
        timings: the JSON of llama.cpp's ``timings``, if there is one.

    Raises:
        ValueError: it cannot be: a count is missing, negative or no whole number, or the parts
            are more than the whole.
    """
    reported = _mapping(usage)
    prompt = _told(reported, "prompt_tokens")
    completion = _told(reported, "completion_tokens")
    if prompt is None or completion is None:
        raise ValueError(f"usage without prompt_tokens or completion_tokens: {reported}")
    details = _mapping(reported.get("prompt_tokens_details"))
    missed = _told(reported, "prompt_cache_miss_tokens")
    read = _first(
        _told(reported, "prompt_cache_hit_tokens"),
        _told(details, "cached_tokens"),
        _told(_mapping(timings), "cache_n"),
        prompt - missed if missed is not None else None,
    )
    written = _told(details, "cache_write_tokens") or 0
    uncached = prompt - (read or 0) - written
    contradicted = missed is not None and (read or 0) + missed != prompt
    if uncached < 0 or (read or 0) < 0 or contradicted:
        raise ValueError(f"cached tokens do not fit the prompt's: {reported}")
    output, reasoning = _generated(reported, prompt, completion)
    return ReportedUsage(
        TokenUsage(
            uncached=uncached,
            cache_write_other=written,
            cache_read=read or 0,
            output=output,
            reasoning=reasoning,
        ),
        cache_told=read is not None,
    )


def _generated(reported: Mapping[str, object], prompt: int, completion: int) -> tuple[int, int]:
    reasoning = _told(_mapping(reported.get("completion_tokens_details")), "reasoning_tokens") or 0
    if reasoning and reported.get("total_tokens") == prompt + completion + reasoning:
        return completion, reasoning
    if reasoning > completion:
        raise ValueError(f"more reasoning tokens than completion tokens: {reported}")
    return completion - reasoning, reasoning


def _told(counts: Mapping[str, object], name: str) -> int | None:
    value = counts.get(name)
    if value is None:
        return None
    # A bool is an int to Python, and none to a server.
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= _MOST:
        raise ValueError(f"{name} is no count of tokens: {value!r}")
    return value


def _first(*values: int | None) -> int | None:
    return next((value for value in values if value is not None), None)


def _mapping(value: object) -> Mapping[str, object]:
    return value if isinstance(value, Mapping) else {}
