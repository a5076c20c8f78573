"""The ledger: one row for each model call, written before it and settled after it."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from ifmem.domain.model import BACKGROUND, Purpose
from ifmem.domain.price import Price
from ifmem.domain.usage import TokenUsage


class CallState(StrEnum):
    """How far a call is known."""

    INTENT = "intent"
    """Under way; it costs at most its bound."""
    SETTLED = "settled"
    """The provider reported its usage."""
    FAILED = "failed"
    """It ended without service and without cost."""
    UNKNOWN = "unknown"
    """Its end was not seen: it cost something between nothing and its bound."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerRow:
    """A call in the account."""

    call_id: str
    at: str
    """When it was begun, ISO-8601 UTC."""
    state: CallState
    purpose: Purpose
    model: str
    question_id: str | None
    shard: int | None
    generation: int | None
    prompt_name: str
    prompt_version: int
    prefix_sha256: str
    prefix_tokens: int
    """The model's tokens before the cache boundary, as estimated before the call."""
    question_tokens: int
    """Those after it, as estimated before the call."""
    prompt_o200k: int = 0
    """The whole prompt in o200k tokens, to measure the model's own count by; 0: not counted."""
    bound: int
    """Pico-dollars it costs at most."""
    price: Price
    """As it held when the call began."""
    usage: TokenUsage = field(default_factory=TokenUsage)
    cost: int = 0
    """Pico-dollars; of an unknown call 0, and ``bound`` is the other end of the interval."""
    storage_token_hours: int = 0
    """Of a cache object, rounded up; only in rows of that purpose."""
    reported_model: str = ""
    first_token_ms: float | None = None
    total_ms: float | None = None
    request_id: str | None = None
    error: str | None = None
    settled_at: str | None = None

    @property
    def background(self) -> bool:
        """Spent without a question."""
        return self.purpose in BACKGROUND or (
            self.purpose is Purpose.WARM and self.question_id is None
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class AskedQuestion:
    """What a question would have cost without this memory: the basis of every baseline."""

    question_id: str
    at: str
    question_tokens: int
    """o200k."""
    asked_tokens: int
    """o200k tokens held by the shards that were asked: what a full re-read would send."""
    corpus_tokens: int
    """o200k tokens of all shards: what one single window would hold."""
    retrieved_tokens: int
    """o200k tokens of what ``recall`` returns for it: what retrieval alone would send."""
    model: str
    """Of the shard answers; several are joined with `+`."""
    cached_answer: bool = False
    """Answered from the answer cache, without a call."""
