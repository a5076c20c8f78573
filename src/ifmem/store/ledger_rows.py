"""Calls as rows of the store: the columns, and the way there and back."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import msgspec

from ifmem.domain.ledger import CallState, LedgerRow
from ifmem.domain.model import Purpose
from ifmem.domain.price import Price
from ifmem.domain.usage import TokenUsage

BUCKETS = (
    *("uncached", "cache_write_5m", "cache_write_1h", "cache_write_other", "cache_read"),
    *("output", "reasoning"),
)
_BEFORE = (
    *("call_id", "at", "state", "purpose", "model", "question_id", "shard", "generation"),
    *("prompt_name", "prompt_version", "prefix_sha256", "prefix_tokens", "question_tokens"),
    *("prompt_o200k", "bound", "price"),
)
_AFTER = (
    *("cost", "storage_token_hours", "reported_model", "first_token_ms", "total_ms"),
    *("request_id", "error", "settled_at"),
)
_ALL = (*_BEFORE, *BUCKETS, *_AFTER)
COLUMNS = ", ".join(_ALL)
INSERT = f"INSERT INTO model_call ({COLUMNS}) VALUES ({', '.join('?' * len(_ALL))})"
"""Takes ``values_of`` a row."""


def values_of(row: LedgerRow) -> tuple[Any, ...]:
    """What is written for a call, in the order of the columns."""
    price = msgspec.json.encode(row.price).decode()
    held = [price if name == "price" else getattr(row, name) for name in _BEFORE]
    usage = [getattr(row.usage, bucket) for bucket in BUCKETS]
    return (*held, *usage, *(getattr(row, name) for name in _AFTER))


def row_of(values: Sequence[Any]) -> LedgerRow:
    """The call that was written so."""
    named = dict(zip(_ALL, values, strict=True))
    usage = TokenUsage(**{bucket: named.pop(bucket) for bucket in BUCKETS})
    state, purpose = CallState(named.pop("state")), Purpose(named.pop("purpose"))
    price = _price(named.pop("price"))
    return LedgerRow(state=state, purpose=purpose, price=price, usage=usage, **named)


@lru_cache(maxsize=1_000)
def _price(text: str) -> Price:
    """A price as it was written; thousands of rows share one."""
    return msgspec.json.decode(text, type=Price)
