"""Tokens of one model call, in buckets that never overlap, as the vendor counts them."""

from __future__ import annotations

from dataclasses import dataclass, fields


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenUsage:
    """Every token of a call is in exactly one bucket, whatever the vendor includes in what.

    Anthropic's ``input_tokens`` leave the cache out, those of OpenAI and Gemini include it, and
    Gemini's thoughts are not in its candidates: each adapter takes that apart.
    """

    uncached: int = 0
    """Prompt tokens at the full price."""
    cache_write_5m: int = 0
    cache_write_1h: int = 0
    cache_write_other: int = 0
    """Written for a time that is neither five minutes nor an hour."""
    cache_read: int = 0
    output: int = 0
    """Without ``reasoning``."""
    reasoning: int = 0

    def __post_init__(self) -> None:
        least = min(
            self.uncached,
            self.cache_write_5m,
            self.cache_write_1h,
            self.cache_write_other,
            self.cache_read,
            self.output,
            self.reasoning,
        )
        if least < 0:
            name = next(f.name for f in fields(self) if getattr(self, f.name) < 0)
            raise ValueError(f"{name} cannot be negative: {getattr(self, name)}")

    def __add__(self, other: TokenUsage) -> TokenUsage:
        # Spelled out: an account adds up hundreds of thousands of these.
        return TokenUsage(
            uncached=self.uncached + other.uncached,
            cache_write_5m=self.cache_write_5m + other.cache_write_5m,
            cache_write_1h=self.cache_write_1h + other.cache_write_1h,
            cache_write_other=self.cache_write_other + other.cache_write_other,
            cache_read=self.cache_read + other.cache_read,
            output=self.output + other.output,
            reasoning=self.reasoning + other.reasoning,
        )

    @property
    def cache_write(self) -> int:
        """Prompt tokens written to a cache, for whatever time."""
        return self.cache_write_5m + self.cache_write_1h + self.cache_write_other

    @property
    def prompt(self) -> int:
        """All prompt tokens."""
        return self.uncached + self.cache_write + self.cache_read

    @property
    def generated(self) -> int:
        """All tokens that the model wrote."""
        return self.output + self.reasoning
