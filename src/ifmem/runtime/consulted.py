"""What came of asking one shard."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ifmem.engine.shard_answers import Said
from ifmem.errors import (
    ConfigError,
    ContextOverflow,
    Failed,
    IfMemError,
    Invalid,
    NotFound,
    NotPermitted,
    RateLimited,
    Unavailable,
)
from ifmem.wire.answers import CitationShape

_TELLING = (
    *(ConfigError, NotPermitted, NotFound, Invalid, ContextOverflow, RateLimited, Unavailable),
    *(Failed, IfMemError),
)
"""Errors by how much they tell the person what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Consulted:
    """What came of asking one shard."""

    shard: int
    model: str
    found: bool = False
    citations: tuple[CitationShape, ...] = ()
    said: tuple[Said, ...] = ()
    """With places in ``citations``."""
    whole: bool = True
    hot: bool = False
    why_cold: str | None = None
    confidence: float = 0.0
    missing: str = ""
    unverified: int = 0
    rounds: int = 1
    fell_back_from: tuple[str, ...] = ()
    error: str | None = None
    """Why it did not answer."""
    silent: bool = False
    """It holds nothing that a model could be asked about."""
    failure: IfMemError | None = None
    """The error of the last model, when none of them could be asked."""

    @property
    def answer(self) -> str:
        """What it says; the quotes when it has no sentence of its own."""
        return " ".join(one.text for one in self.said) or " ".join(
            one.quote for one in self.citations
        )


def most_telling(errors: Sequence[IfMemError]) -> IfMemError:
    """Of several errors the one that most tells the person what to do."""
    return min(
        errors,
        key=lambda error: next(n for n, kind in enumerate(_TELLING) if isinstance(error, kind)),
    )
