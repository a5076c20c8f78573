"""Cutting shards that have outgrown their model: what moves where.

Documents keep their order, and the first ones stay, so the prompt of a shard that is cut begins as
it did. What is planned is done in one transaction.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ifmem.domain.shard import Speciality

FILLED = 0.9
"""Of its budget, how far a shard is filled: counts that turn out a tenth higher cut nothing."""
UNCHANGED = 0.05
"""A capacity that would change by less stays."""


@dataclass(frozen=True, slots=True)
class HeldPart:
    """A document, or as much of it as fits one shard."""

    part_id: int
    tokens: int
    """o200k."""


@dataclass(frozen=True, slots=True)
class PackedShard:
    """A shard with its parts in order, and what its model can take."""

    number: int
    speciality: Speciality
    capacity: int
    budget: int | None
    """o200k tokens; None: no model bounds it."""
    parts: tuple[HeldPart, ...]

    @property
    def tokens(self) -> int:
        """o200k tokens it holds."""
        return sum(part.tokens for part in self.parts)


@dataclass(frozen=True, slots=True)
class Move:
    """A part changes its shard."""

    part: HeldPart
    giver: int
    taker: int


@dataclass(frozen=True, slots=True)
class Packing:
    """What brings every shard within its budget, as far as that can be."""

    moves: tuple[Move, ...] = ()
    opened: Mapping[int, Speciality] = field(default_factory=dict)
    """New shards by number."""
    capacities: Mapping[int, int] = field(default_factory=dict)
    """Shards whose capacity changes, those opened among them."""

    @property
    def givers(self) -> frozenset[int]:
        """Shards that lose a part."""
        return frozenset(move.giver for move in self.moves)

    @property
    def takers(self) -> frozenset[int]:
        """Shards that get one."""
        return frozenset(move.taker for move in self.moves)


def plan_packing(
    shards: Sequence[PackedShard], *, budgets: Mapping[Speciality, int], limit: int
) -> Packing:
    """What to move so that no shard holds more than its model can take.

    A part larger than the budget stays, alone: its model is given passages of it. Where the limit
    of shards is reached, the rest stays as well.

    Args:
        budgets: what a new sibling of a speciality may hold, o200k.
        limit: shards that a space may have.
    """
    packer = _Packer(shards, budgets, limit)
    for shard in shards:
        if shard.budget is not None and shard.tokens > shard.budget:
            packer.cut(shard, shard.budget)
    return packer.packing(shards)


class _Packer:
    """The shards as the plan leaves them."""

    def __init__(
        self, shards: Sequence[PackedShard], budgets: Mapping[Speciality, int], limit: int
    ) -> None:
        self._budgets = budgets
        self._limit = limit
        self._held = {shard.number: shard.tokens for shard in shards}
        self._bounds = {
            shard.number: shard.capacity if shard.budget is None else int(FILLED * shard.budget)
            for shard in shards
        }
        self._of = {shard.number: shard.speciality for shard in shards}
        self._opened: dict[int, Speciality] = {}
        self._moves: list[Move] = []

    def cut(self, shard: PackedShard, budget: int) -> None:
        kept = 0
        full = any(part.tokens > budget for part in shard.parts)
        for part in shard.parts:
            if part.tokens > budget:
                continue
            if not full and kept + part.tokens <= self._bounds[shard.number]:
                kept += part.tokens
                continue
            full = True
            taker = self._taker(shard, part)
            if taker is not None:
                self._moves.append(Move(part, shard.number, taker))
                self._held[shard.number] -= part.tokens
                self._held[taker] += part.tokens

    def _taker(self, giver: PackedShard, part: HeldPart) -> int | None:
        """The newest sibling with room, else a new one; none when there may be no more."""
        fitting = [
            number
            for number, speciality in self._of.items()
            if speciality is giver.speciality
            and number != giver.number
            and self._held[number] + part.tokens <= self._bounds[number]
        ]
        if fitting:
            return max(fitting)
        bound = int(FILLED * self._budgets[giver.speciality])
        if len(self._of) >= self._limit or part.tokens > bound:
            return None
        number = max(self._of) + 1
        self._of[number] = self._opened[number] = giver.speciality
        self._held[number], self._bounds[number] = 0, bound
        return number

    def packing(self, shards: Sequence[PackedShard]) -> Packing:
        capacities = {number: self._bounds[number] for number in self._opened}
        for shard in shards:
            bound = self._bounds[shard.number]
            # What could not be moved still has to fit: a capacity is never below what is held.
            held = self._held[shard.number]
            wanted = max(bound, held)
            if abs(wanted - shard.capacity) > UNCHANGED * shard.capacity or held > shard.capacity:
                capacities[shard.number] = wanted
        return Packing(tuple(self._moves), self._opened, capacities)
