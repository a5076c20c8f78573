"""Where a document goes: which speciality, and which shard of it.

The rules read only the document and the shards as stored, never a clock or an order of arrival,
so a load that was interrupted and run again places every document as one that was not.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from ifmem.domain.document import Kind
from ifmem.domain.shard import Shard, Speciality

if TYPE_CHECKING:
    from pathspec import GitIgnoreSpec


@dataclass(frozen=True)
class PlacementRule:
    """Documents of these kinds, or under these paths, belong to this speciality."""

    speciality: Speciality
    kinds: frozenset[Kind] = frozenset()
    paths: tuple[str, ...] = ()
    """Patterns as in ``.gitignore``, matched below the loaded root, its own name included."""

    @cached_property
    def _spec(self) -> GitIgnoreSpec:
        # Every command reads the rules with its settings; only what loads applies them.
        from pathspec import GitIgnoreSpec

        return GitIgnoreSpec.from_lines(self.paths)

    def matches(self, kind: Kind, path: str) -> bool:
        """True when the kind or the path is one of the rule's."""
        return kind in self.kinds or bool(self.paths and self._spec.match_file(path))


DEFAULT_RULES = (
    PlacementRule(Speciality.COORDINATION_DECISION, kinds=frozenset({Kind.CHAT})),
    PlacementRule(
        Speciality.TESTING_VALIDATION,
        paths=(
            "tests/",
            "test/",
            "__tests__/",
            "spec/",
            "benchmarks/",
            "test_*.*",
            "*_test.*",
            "*.test.*",
            "*.spec.*",
            "conftest.py",
            "*junit*.xml",
            "coverage*.xml",
            "*test-results*",
            "*test_results*",
        ),
    ),
    PlacementRule(
        Speciality.COORDINATION_DECISION,
        paths=("decisions/", "adr/", "adrs/", "rfcs/", "minutes/", "*decision-record*"),
    ),
    PlacementRule(Speciality.FILES_GIT, kinds=frozenset({Kind.CODE, Kind.CONFIG, Kind.GIT_LOG})),
    PlacementRule(Speciality.ANALYSIS_SEARCH, kinds=frozenset({Kind.PROSE, Kind.DATA})),
)
"""The placement table when the configuration gives none; the first rule that matches wins."""


def speciality_of(kind: Kind, path: str, rules: Iterable[PlacementRule]) -> Speciality:
    """The speciality of the first rule that matches; without one, analysis and search.

    Args:
        path: relative to the parent of the loaded root.
    """
    for rule in rules:
        if rule.matches(kind, path):
            return rule.speciality
    return Speciality.ANALYSIS_SEARCH


@dataclass(frozen=True, slots=True)
class Placed:
    """The part goes into this shard."""

    shard: int
    opens: bool
    """The shard is a new sibling."""


@dataclass(frozen=True, slots=True)
class NoRoom:
    """Every shard of the speciality is full and the limit allows no further one."""

    speciality: Speciality
    shards: int


def place(
    tokens: int,
    speciality: Speciality,
    shards: Sequence[Shard],
    *,
    near: int | None,
    limit: int,
) -> Placed | NoRoom:
    """The shard for a part of ``tokens`` tokens, which is at most one capacity.

    The shard of its neighbours when it fits there, else the newest of the speciality that has
    room, else a new sibling while fewer than ``limit`` shards exist.
    """
    fitting = [s.number for s in shards if s.speciality is speciality and s.room >= tokens]
    if near in fitting:
        return Placed(near, opens=False)
    if fitting:
        return Placed(max(fitting), opens=False)
    if len(shards) < limit:
        return Placed(max((s.number for s in shards), default=0) + 1, opens=True)
    return NoRoom(speciality, shards=len(shards))


def cut_into_parts(passage_tokens: Sequence[int], capacity: int) -> list[range]:
    """Ranges of passages that each fit one shard: a single one unless the document is larger.

    Raises:
        ValueError: one passage alone is larger than ``capacity``.
    """
    parts: list[range] = []
    first, held = 0, 0
    for index, tokens in enumerate(passage_tokens):
        if tokens > capacity:
            raise ValueError(f"passage {index} has {tokens} tokens; a shard holds {capacity}")
        if held + tokens > capacity:
            parts.append(range(first, index))
            first, held = index, 0
        held += tokens
    if first < len(passage_tokens) or not parts:
        parts.append(range(first, len(passage_tokens)))
    return parts
