"""The rounds of one question: who is asked next, and when it is enough.

asking ──round ended, found──────────────▶ settling
asking ──round ended, nothing found──────▶ asking (the next by score, then all), else done
settling ──answers exclude each other────▶ disputing (once)
settling ──a shard lacks something───────▶ searching
settling ──neither, or no round left─────▶ done
disputing ──round ended──────────────────▶ settling
searching ──shards to ask────────────────▶ following; none ▶ done
following ──round ended, new evidence────▶ settling; none ▶ done
any ──deadline, budget───────────────────▶ done
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum


class Phase(StrEnum):
    """What the runtime is doing for the question."""

    ASKING = "asking"
    DISPUTING = "disputing"
    SEARCHING = "searching"
    FOLLOWING = "following"
    DONE = "done"


class End(StrEnum):
    """Why no further shard is asked."""

    ANSWERED = "answered"
    """Found, and nothing is in dispute or lacking that a shard not asked could tell."""
    NOT_FOUND = "not found"
    """Every shard was asked."""
    ROUNDS = "rounds"
    NOTHING_NEW = "nothing new"
    DEADLINE = "deadline"
    BUDGET = "budget"


# What the runtime must do.
@dataclass(frozen=True, slots=True)
class Ask:
    """Ask these shards at once."""

    shards: tuple[int, ...]
    lacking: str = ""
    """What the others said is missing; empty in the first round."""


@dataclass(frozen=True, slots=True)
class Dispute:
    """Show each of these pairs the other's quotes."""

    pairs: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class Search:
    """Find the shards among these that may hold what is lacking, best first."""

    lacking: str
    among: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Finish:
    """Answer with what was found."""

    end: End


Effect = Ask | Dispute | Search | Finish


# What happened.
@dataclass(frozen=True, slots=True)
class RoundEnded:
    """Every shard of the round answered or gave up."""

    found: frozenset[int]
    """All shards with evidence so far, after this round."""
    evidence: int
    """Pieces of evidence so far."""
    exclusions: tuple[tuple[int, int], ...] = ()
    """Pairs of shards whose answers cannot both hold."""
    lacking: Mapping[int, str] = field(default_factory=dict)
    """What each shard with an answer says is missing."""


@dataclass(frozen=True, slots=True)
class Routed:
    """The shards that may hold what is lacking."""

    shards: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class DeadlinePassed:
    """Time is up."""


@dataclass(frozen=True, slots=True)
class BudgetSpent:
    """A further call would pass a limit."""


Event = RoundEnded | Routed | DeadlinePassed | BudgetSpent


@dataclass(frozen=True, slots=True)
class Coordination:
    """One question on its way through rounds."""

    others: tuple[int, ...]
    """Shards not asked yet that may be, by score, best first."""
    most_rounds: int
    phase: Phase = Phase.ASKING
    round: int = 1
    widened: int = 0
    """Times the first round was repeated with further shards."""
    disputed: bool = False
    evidence: int = 0
    followed: frozenset[str] = frozenset()
    """What was lacking and has been searched for."""
    lacking: str = ""
    """What is being searched for."""

    @classmethod
    def begin(
        cls, first: Iterable[int], others: Iterable[int], *, most_rounds: int
    ) -> tuple[Coordination, Effect]:
        """The first round.

        Args:
            first: the shards that the question was routed to.
            others: further shards that may be asked, by score.
            most_rounds: at least 1.
        """
        asked = tuple(dict.fromkeys(first))
        rest = tuple(dict.fromkeys(n for n in others if n not in asked))
        return cls(rest, most_rounds), Ask(asked)

    def step(self, event: Event) -> tuple[Coordination, Effect | None]:
        """The next state, and what is to be done; what comes when done, or unasked, changes
        nothing.
        """
        match event:
            case _ if self.phase is Phase.DONE:
                return self, None
            case DeadlinePassed():
                return self._finish(End.DEADLINE)
            case BudgetSpent():
                return self._finish(End.BUDGET)
            case Routed(shards):
                return self._routed(shards)
            case RoundEnded() if self.phase is Phase.SEARCHING:
                return self, None
            case RoundEnded(found) if not found:
                return self._widen()
            case RoundEnded(_, evidence) if self.phase is Phase.FOLLOWING and (
                evidence <= self.evidence
            ):
                return self._finish(End.NOTHING_NEW)
            case RoundEnded():
                return replace(self, evidence=event.evidence)._settle(event)

    def _widen(self) -> tuple[Coordination, Effect]:
        """After a round in which nothing was found: the next by score, then all."""
        if self.phase is not Phase.ASKING or not self.others:
            return self._finish(End.NOT_FOUND)
        count = 1 if self.widened == 0 else len(self.others)
        asked, rest = self.others[:count], self.others[count:]
        return replace(self, others=rest, widened=self.widened + 1), Ask(asked)

    def _settle(self, event: RoundEnded) -> tuple[Coordination, Effect]:
        open_dispute = bool(event.exclusions) and not self.disputed
        lacking = self._next_lacking(event)
        if not open_dispute and lacking is None:
            return self._finish(End.ANSWERED)
        if self.round >= self.most_rounds:
            return self._finish(End.ROUNDS)
        if open_dispute:
            state = replace(self, phase=Phase.DISPUTING, round=self.round + 1, disputed=True)
            return state, Dispute(event.exclusions)
        assert lacking is not None
        followed = self.followed | {_normal(lacking)}
        state = replace(self, phase=Phase.SEARCHING, followed=followed, lacking=lacking)
        return state, Search(lacking, self.others)

    def _next_lacking(self, event: RoundEnded) -> str | None:
        """What is lacking, not searched for yet, and might be found in a shard not asked."""
        if not self.others:
            return None
        said = (event.lacking[shard] for shard in sorted(event.lacking))
        return next(
            (one for one in said if _normal(one) and _normal(one) not in self.followed), None
        )

    def _routed(self, shards: tuple[int, ...]) -> tuple[Coordination, Effect | None]:
        if self.phase is not Phase.SEARCHING:
            return self, None
        asked = tuple(dict.fromkeys(n for n in shards if n in self.others))
        if not asked:
            return self._finish(End.ANSWERED)
        rest = tuple(n for n in self.others if n not in asked)
        state = replace(self, others=rest, phase=Phase.FOLLOWING, round=self.round + 1)
        return state, Ask(asked, self.lacking)

    def _finish(self, end: End) -> tuple[Coordination, Effect]:
        return replace(self, phase=Phase.DONE), Finish(end)


def _normal(text: str) -> str:
    return " ".join(text.lower().split())
