"""A shard: a bounded context of one speciality, and what it holds."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Speciality(StrEnum):
    """The four specialities of the seed, in the order of its shards 1 to 4."""

    FILES_GIT = "files-git"
    ANALYSIS_SEARCH = "analysis-search"
    TESTING_VALIDATION = "testing-validation"
    COORDINATION_DECISION = "coordination-decision"


@dataclass(frozen=True, slots=True, kw_only=True)
class Shard:
    """One shard as the store has it."""

    number: int
    """Counted from 1; the first four have the four specialities in order."""
    speciality: Speciality
    capacity: int
    """o200k tokens it may hold."""
    tokens: int = 0
    """o200k tokens of the document parts it holds; never above ``capacity``."""
    documents: int = 0
    generation: int = 0
    """Counts the changes that were more than appending; a new one voids a hot prefix."""

    @property
    def room(self) -> int:
        """Tokens that still fit."""
        return self.capacity - self.tokens
