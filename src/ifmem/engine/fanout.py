"""Scatter and gather of one question: duplicates end here, and the deadline always answers.

asking --Answered (last one)--> done
asking --GaveUp (last one)----> done, the failed named as missing
asking --DeadlinePassed-------> done, the silent named as missing
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Answered(Generic[Result]):
    """A shard answered, perhaps with nothing."""

    shard: int
    result: Result


@dataclass(frozen=True, slots=True)
class GaveUp:
    """A shard could not answer."""

    shard: int


@dataclass(frozen=True, slots=True)
class DeadlinePassed:
    """Time is up."""


@dataclass(frozen=True, slots=True)
class FanOut(Generic[Result]):
    """One question on its way through the shards."""

    waiting_for: frozenset[int]
    results: tuple[tuple[int, Result], ...] = ()
    missing: frozenset[int] = frozenset()

    @classmethod
    def of(cls, shards: Iterable[int]) -> FanOut[Result]:
        """A question that was just sent to these shards."""
        return cls(frozenset(shards))

    @property
    def done(self) -> bool:
        """Nothing more is waited for."""
        return not self.waiting_for

    def step(self, event: Answered[Result] | GaveUp | DeadlinePassed) -> FanOut[Result]:
        """The state after an event; what comes late or twice changes nothing."""
        match event:
            case DeadlinePassed():
                return replace(
                    self, waiting_for=frozenset(), missing=self.missing | self.waiting_for
                )
            case Answered(shard, _) | GaveUp(shard) if shard not in self.waiting_for:
                return self
            case Answered(shard, result):
                return replace(
                    self,
                    waiting_for=self.waiting_for - {shard},
                    results=(*self.results, (shard, result)),
                )
            case GaveUp(shard):
                return replace(
                    self,
                    waiting_for=self.waiting_for - {shard},
                    missing=self.missing | {shard},
                )
