"""The account of a time: what was spent on what, and what would have been in other ways."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction

from ifmem.domain.ledger import AskedQuestion, CallState, LedgerRow
from ifmem.domain.model import ModelCard, Purpose
from ifmem.domain.price import Price
from ifmem.domain.usage import TokenUsage
from ifmem.engine.asked_shards import answered_question, measured_ratios
from ifmem.engine.baselines import Baseline, baselines

_NOT_KNOWN = frozenset({CallState.UNKNOWN, CallState.INTENT})


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """What a model's calls for one purpose used and cost."""

    model: str
    purpose: Purpose
    background: bool
    calls: int = 0
    failed: int = 0
    """Of these, without service and without cost."""
    unknown: int = 0
    """Of these, under way or with an end that was not seen."""
    usage: TokenUsage = field(default_factory=TokenUsage)
    cost: int = 0
    """Pico-dollars that are known."""
    held: int = 0
    """Pico-dollars that the unknown calls may have cost."""
    storage_token_hours: int = 0
    """Of objects that have ended."""

    def with_call(self, row: LedgerRow) -> Line:
        """The line with one more call."""
        is_unknown = row.state in _NOT_KNOWN
        stored = row.storage_token_hours if row.state is CallState.SETTLED else 0
        return Line(
            model=self.model,
            purpose=self.purpose,
            background=self.background,
            calls=self.calls + 1,
            failed=self.failed + (row.state is CallState.FAILED),
            unknown=self.unknown + is_unknown,
            usage=self.usage + row.usage,
            cost=self.cost + row.cost,
            held=self.held + (row.bound if is_unknown else 0),
            storage_token_hours=self.storage_token_hours + stored,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class PricedModel:
    """A model of the account: by which prices, and how long its tokens are."""

    model: str
    prices: tuple[Price, ...]
    """That its calls were charged by, each once, in the order of time."""
    ratio: Fraction
    """Its tokens for one o200k token."""
    is_measured: bool
    """The ratio is that of the log; else what the model's card says."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """All of it. Money is in pico-dollars."""

    lines: tuple[Line, ...]
    models: tuple[PricedModel, ...]
    answered: int
    """Questions that models answered: those that the baselines are about."""
    cached_answers: int
    """Questions answered from the answer cache, without a call."""
    uncalled: int
    """Other questions without a call that was served."""
    baselines: tuple[Baseline, ...]

    @property
    def cost(self) -> int:
        """What is known to have been spent, on everything."""
        return sum(line.cost for line in self.lines)

    @property
    def at_most(self) -> int:
        """The same if each unknown call cost its bound."""
        return self.cost + sum(line.held for line in self.lines)

    @property
    def usage(self) -> TokenUsage:
        """All tokens."""
        return sum((line.usage for line in self.lines), TokenUsage())

    @property
    def background(self) -> tuple[Line, ...]:
        """What was spent without a question."""
        return tuple(line for line in self.lines if line.background)

    @property
    def storage(self) -> tuple[Line, ...]:
        """What keeping cache objects cost."""
        return tuple(line for line in self.lines if line.purpose is Purpose.STORAGE)


def account(
    rows: Iterable[LedgerRow],
    questions: Iterable[AskedQuestion],
    cards: Mapping[str, ModelCard],
) -> Account:
    """The account of these calls and questions, both in the order of time.

    Args:
        cards: by model; what cannot be said without a missing one is left out, with the reason.
    """
    held = list(rows)
    lines: dict[tuple[str, Purpose, bool], Line] = {}
    of_question: dict[str, list[LedgerRow]] = {}
    prices: dict[str, dict[Price, None]] = {}
    for row in held:
        key = (row.model, row.purpose, row.background)
        before = lines.get(key) or Line(model=key[0], purpose=key[1], background=key[2])
        lines[key] = before.with_call(row)
        prices.setdefault(row.model, {})[row.price] = None
        if row.question_id is not None:
            of_question.setdefault(row.question_id, []).append(row)
    measured = measured_ratios(held)
    ratios = {model: measured.get(model) or _said(cards.get(model)) for model in prices}
    asked = list(questions)
    called = [one for one in asked if not one.cached_answer]
    found = [answered_question(one, of_question.get(one.question_id, []), ratios) for one in called]
    answered = [one for one in found if one is not None]
    return Account(
        lines=tuple(lines[key] for key in sorted(lines)),
        models=tuple(
            PricedModel(
                model=model,
                prices=tuple(prices[model]),
                ratio=ratios[model],
                is_measured=model in measured,
            )
            for model in sorted(prices)
        ),
        answered=len(answered),
        cached_answers=len(asked) - len(called),
        uncalled=len(called) - len(answered),
        baselines=baselines(answered, ratios, cards),
    )


def saving(ours: int, baseline: int) -> Fraction | None:
    """The share of a baseline's cost that was not spent: negative when more was.

    None where the baseline costs nothing.
    """
    return 1 - Fraction(ours, baseline) if baseline else None


def _said(card: ModelCard | None) -> Fraction:
    """As a model's card says; of a model that is not known any more, as o200k counts."""
    return Fraction(1) if card is None else Fraction(str(card.tokens_per_o200k))
