"""What a model is told, split where the provider's cache is split."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """Rules, then documents, then the cache boundary, then the question.

    Two prompts over the same documents share every byte up to the boundary; more documents only
    append to them. What changes from call to call stands in ``question`` alone.
    """

    name: str
    version: int
    """Grows with every change of wording, so an account says what was asked how."""
    rules: str
    """The system's instructions: never recalled text."""
    documents: str
    """Recalled text, fenced and attributed; empty when nothing is to be kept hot."""
    question: str
    schema: Mapping[str, Any] | None = field(default=None, hash=False)
    """JSON schema of the answer; an adapter without structured output leaves it out."""

    @property
    def prefix_sha256(self) -> str:
        """Names what stands before the boundary."""
        return _digest(self.rules, self.documents)


@lru_cache(maxsize=64)
def _digest(rules: str, documents: str) -> str:
    # A call asks for it some ten times, and a shard has half a megabyte. Every prompt over a shard
    # holds the same string, which is found here by identity.
    prefix = f"{rules}\0{documents}"
    return hashlib.sha256(prefix.encode("utf-8", "surrogatepass")).hexdigest()
