"""What came of asking librarians for one question: the answer of one, or why there is none."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta

import msgspec

from ifmem import clock
from ifmem.domain.model import EXTRACTIVE, LOCAL
from ifmem.domain.price import usd
from ifmem.domain.quota import Allowance, Denied
from ifmem.engine.quotas import Tier
from ifmem.errors import BudgetExceeded, IfMemError, QuotaExhausted, Unavailable
from ifmem.model_settings import Dollars
from ifmem.runtime.consulted import most_telling
from ifmem.runtime.consulting import usage_shape
from ifmem.runtime.librarian_answering import Told
from ifmem.runtime.question_account import QuestionAccount
from ifmem.store.archive_query_rows import ArchiveQuery
from ifmem.wire.answers import Answer, PassedOver
from ifmem.wire.calls import Filters


class Asked(msgspec.Struct, frozen=True):
    """What was asked beside the question, as the queue keeps it."""

    filters: Filters = Filters()
    model: str | None = None
    """None: whichever the librarians have."""
    max_cost: Dollars | None = None
    max_tokens: int | None = None
    """o200k tokens of the answer; None: as long as it is."""
    on_channel: bool = False
    """It came over the channel of queries, and its answer goes there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Librarian:
    """One of the swarm, as it is set."""

    number: int
    model: str
    capacity: int
    allowance: Allowance

    @property
    def tier(self) -> Tier:
        """Whom to ask first."""
        if self.model == EXTRACTIVE:
            return Tier.EXTRACTIVE
        return Tier.LOCAL if self.model == LOCAL else Tier.VENDOR


@dataclass(slots=True)
class Tries:
    """What came of asking librarians for one question, so far."""

    query: ArchiveQuery
    asked: Asked
    account: QuestionAccount
    deadline: float
    """Seconds of ``clock.monotonic``."""
    passed_over: list[PassedOver] = field(default_factory=list)
    denied: list[Denied] = field(default_factory=list)
    errors: list[IfMemError] = field(default_factory=list)
    unbelieved: tuple[Librarian, Told] | None = None
    """One who was served and whose words are no answer."""
    started: int = field(default_factory=clock.stopwatch_ns)

    def pass_over(self, one: Librarian, reason: str, denied: Denied | None = None) -> None:
        """That one did not answer."""
        until = None if denied is None else clock.stamp(denied.until)
        self.passed_over.append(PassedOver(one.number, one.model, reason, until))
        if denied is not None:
            self.denied.append(denied)


def answer_of(tries: Tries, one: Librarian, told: Told) -> Answer:
    """The answer of a librarian, with what all tries cost."""
    told_by = f"librarian-{one.number}"
    return Answer(
        answer=told.answer,
        found=told.found,
        citations=list(told.citations),
        shards_asked=[],
        shards_missing=[],
        model=one.model,
        usage=usage_shape(tries.account.usage),
        cost_usd=usd(tries.account.cost),
        elapsed_ms=clock.milliseconds_since(tries.started),
        query_id=tries.query.query_id,
        routing=f"from the archive, by {told_by} ({one.model})",
        confidence=told.confidence,
        missing=told.missing,
        unverified=told.unverified,
        librarian=one.number,
        passed_over=tries.passed_over,
    )


def raise_if_nobody(tries: Tries) -> None:
    """The error of a question that no librarian has answered; nothing when one was served.

    Raises:
        QuotaExhausted: one may be asked after a reset.
        IfMemError: none could be asked.
    """
    if tries.denied:
        raise exhausted(tries.query.query_id, _resets_at(tries), tries.passed_over)
    if tries.unbelieved is not None:
        return
    stopped = [one for one in tries.errors if isinstance(one, BudgetExceeded)]
    if stopped:
        raise stopped[0]
    if tries.errors:
        raise most_telling(tries.errors)
    raise Unavailable("there is no librarian that could be asked: see `ifmem librarians`")


def _resets_at(tries: Tries) -> datetime:
    return min(one.until for one in tries.denied)


def exhausted(query_id: str, resets_at: datetime, passed_over: list[PassedOver]) -> QuotaExhausted:
    """The error of a question that is kept for a reset."""
    at = clock.stamp(resets_at)
    return QuotaExhausted(
        f"no librarian may be asked before {at}: the question is kept, and its answer read after "
        f"that with `ifmem ask --answer {query_id}`",
        resets_at=at,
        query_id=query_id,
        librarians=msgspec.to_builtins(passed_over),
    )


def after(moment: datetime, now: datetime) -> datetime:
    """A moment that has not come yet."""
    return max(moment, now + timedelta(seconds=1))
