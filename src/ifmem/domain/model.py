"""Models: how one is named, what it can take, and by which rules its provider caches."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

from ifmem.domain.prompt import Prompt
from ifmem.domain.usage import TokenUsage

EXTRACTIVE = "extractive"
"""The model that is none: sentences of the sources, chosen by code."""
LOCAL = "local"
"""The model in this process."""


@dataclass(frozen=True, slots=True)
class ModelRef:
    """A provider's model: ``anthropic:claude-haiku-5-5``; ``extractive`` and ``local`` alone."""

    provider: str
    model: str = ""

    @classmethod
    def parse(cls, name: str) -> ModelRef:
        """The model of a name.

        Raises:
            ValueError: no provider, or a provider without a model.
        """
        provider, colon, model = name.strip().partition(":")
        if not provider or (colon and not model):
            raise ValueError(f"{name!r} names no model: write PROVIDER:MODEL")
        if not colon and provider not in {EXTRACTIVE, LOCAL}:
            raise ValueError(
                f"{name!r} names no model: write PROVIDER:MODEL, `{LOCAL}` or `{EXTRACTIVE}`"
            )
        return cls(provider, model)

    def __str__(self) -> str:
        return f"{self.provider}:{self.model}" if self.model else self.provider


class Caching(StrEnum):
    """Who decides what a provider keeps of a prompt."""

    NONE = "none"
    BREAKPOINT = "breakpoint"
    """We mark the boundary (Anthropic)."""
    IMPLICIT = "implicit"
    """The provider finds equal prefixes itself (OpenAI, DeepSeek, vLLM)."""
    OBJECT = "object"
    """A cache is made, named, paid by the hour and deleted (Gemini)."""
    ENGINE = "engine"
    """The engine's own key-value cache, saved to a file (llama.cpp)."""


class Warming(StrEnum):
    """What makes a prefix readable for the next call."""

    FIRST_CALL = "first call"
    ZERO_TOKENS = "zero tokens"
    """A call that generates nothing (Anthropic's ``max_tokens: 0``)."""
    TWO_QUESTIONS = "two questions"
    """A prefix is stored once two different prompts have shared it (DeepSeek)."""
    CREATE = "create"
    """The cache object is made (Gemini)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheRules:
    """By which rules a provider caches a model's prompts; each adapter cites its source."""

    caching: Caching
    warming: Warming = Warming.FIRST_CALL
    least_tokens: int = 0
    """A shorter prefix is not cached."""
    lifetimes: tuple[timedelta, ...] = ()
    """That can be asked for, ascending; empty when the provider promises none."""
    read_extends: bool = True
    """A read starts the lifetime anew."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelCard:
    """What is known of a model before it is called."""

    ref: ModelRef
    window: int
    """Tokens of prompt and answer together, in the model's own count."""
    max_output: int
    cache: CacheRules
    tokens_per_o200k: float
    """How many of its tokens one o200k token makes, until real usage says better."""
    structured: bool
    """It keeps to a JSON schema; else it answers in free text."""
    exact_count: bool = False
    """``count`` is the model's own tokeniser, not an estimate."""


class Purpose(StrEnum):
    """What a call is for: the lines of the account."""

    ANSWER = "answer"
    """A shard's answer to a question."""
    DISPUTE = "dispute"
    """A shard's answer to the other side's quote."""
    SYNTHESIS = "synthesis"
    LIBRARIAN = "librarian"
    """A librarian's answer from the archive."""
    WARM = "warm"
    KEEP_ALIVE = "keep_alive"
    REPACK = "repack"
    """Warming what was packed anew."""
    JUDGE = "judge"
    """Whether claims of one topic contradict each other."""
    STORAGE = "storage"
    """Hours of a cache object; not a call."""


BACKGROUND = frozenset({Purpose.KEEP_ALIVE, Purpose.REPACK, Purpose.JUDGE, Purpose.STORAGE})
"""Spent without a question; so is WARM when it names none. They have a limit of their own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelCall:
    """One call, with what the account must know of it."""

    call_id: str
    """Of its row in the ledger; another one for every attempt."""
    prompt: Prompt
    purpose: Purpose
    max_output: int
    """Tokens; 0 only for warming."""
    question_id: str | None = None
    shard: int | None = None
    generation: int | None = None
    speciality: str | None = None
    lifetime: timedelta | None = None
    """For how long the prefix shall stay cached; None: not at all, or as the provider does."""
    handle: str | None = None
    """Of the cache object or engine slot that holds the prefix, from an earlier completion."""
    cache_key: str = ""
    """Names the shard to providers that route equal prefixes to one machine."""
    limit: int | None = None
    """Pico-dollars that the question may cost, all its calls together."""
    deadline: float | None = None
    """Seconds of ``clock.monotonic`` by which the caller needs the answer: no attempt begins later;
    None while it waits for as long as it takes."""
    begun: Callable[[], None] | None = field(default=None, compare=False, repr=False)
    """Called when the first token of the answer comes: from then on others can read the prefix."""


class Stop(StrEnum):
    """Why a model stopped."""

    END = "end"
    LENGTH = "length"
    """The answer was cut off at ``max_output``."""
    REFUSED = "refused"
    """The model declined."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RateLimits:
    """What the vendor's headers said is left; None where they say nothing."""

    requests_left: int | None = None
    tokens_left: int | None = None
    """Input tokens."""
    resets_in: timedelta | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Completion:
    """What came of a call."""

    text: str
    stop: Stop
    usage: TokenUsage
    model: str
    """As the provider names what answered."""
    first_token_ms: float | None
    """From the call to the first token of the answer; None when none came."""
    total_ms: float
    request_id: str | None = None
    """The vendor's, to ask its support about."""
    handle: str | None = None
    """Of the cache object or engine slot that now holds the prefix."""
    cached_until: datetime | None = None
    """As the provider promised."""
    miss_reason: str | None = None
    """Why the prefix was not read from the cache, in the provider's word."""
    limits: RateLimits | None = None
