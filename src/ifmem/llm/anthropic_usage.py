"""What Anthropic reports of a call's tokens, taken apart into buckets that never overlap."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ifmem.domain.usage import TokenUsage


def token_usage(reported: Mapping[str, Any]) -> TokenUsage:
    """The buckets of a ``usage`` object (SDK 2.12: ``types/usage.py``).

    ``input_tokens`` leaves the cache out: the prompt is the sum of three numbers.
    ``output_tokens`` includes the thinking. What was written without saying for how long is
    ``cache_write_other``. Numbers that are missing or null are zero.
    """
    written = _number(reported, "cache_creation_input_tokens")
    split = reported.get("cache_creation") or {}
    hour = min(_number(split, "ephemeral_1h_input_tokens"), written)
    minutes = min(_number(split, "ephemeral_5m_input_tokens"), written - hour)
    generated = _number(reported, "output_tokens")
    details = reported.get("output_tokens_details") or {}
    thinking = min(_number(details, "thinking_tokens"), generated)
    return TokenUsage(
        uncached=_number(reported, "input_tokens"),
        cache_write_5m=minutes,
        cache_write_1h=hour,
        cache_write_other=written - hour - minutes,
        cache_read=_number(reported, "cache_read_input_tokens"),
        output=generated - thinking,
        reasoning=thinking,
    )


def brought_up_to_date(reported: Mapping[str, Any], later: Mapping[str, Any]) -> dict[str, Any]:
    """A stream's first ``usage`` with the cumulative one of its last event laid over it."""
    return {**reported, **{name: value for name, value in later.items() if value is not None}}


def _number(reported: Mapping[str, Any], name: str) -> int:
    value = reported.get(name)
    return max(0, value) if isinstance(value, int) else 0
