"""The account of a space: calls are committed before they are made, and limits kept."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TypeVar

from ifmem import clock
from ifmem.domain.ledger import AskedQuestion, LedgerRow
from ifmem.domain.model import Completion
from ifmem.domain.price import pico, usd
from ifmem.engine.budgets import Denied, Limits, Purse, Which
from ifmem.engine.masking import mask
from ifmem.errors import BudgetExceeded, IfMemError
from ifmem.model_settings import BudgetSettings
from ifmem.store import ledger
from ifmem.store.database import Database

T = TypeVar("T")

_SETTING = {
    Which.QUESTION: "budget.per_question",
    Which.DAY: "budget.per_day",
    Which.BACKGROUND: "budget.background_per_day",
}
_SUBJECT = {
    Which.QUESTION: "this question",
    Which.DAY: "the questions of today",
    Which.BACKGROUND: "what is spent today without a question",
}
_NOT_SENT = "the caller went away before it was sent"
_LEFT_BEHIND = "the daemon ended before its end was seen"


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftToday:
    """What a UTC day still allows."""

    questions: Purse
    background: Purse
    resets_at: datetime
    """When the next day begins."""


class LedgerAccounts:
    """The account in a space's store: ``llm.port.Accounts``.

    A day is a UTC day, and a call is charged to the one it began on.
    """

    def __init__(
        self,
        database: Database,
        budget: BudgetSettings,
        *,
        now: Callable[[], datetime] = clock.now,
    ) -> None:
        self._database = database
        self._limits = Limits(
            question=pico(budget.per_question),
            day=pico(budget.per_day),
            background=pico(budget.background_per_day),
        )
        self._now = now

    @property
    def limits(self) -> Limits:
        """As set; a question may have been given another one."""
        return self._limits

    async def intend(self, row: LedgerRow, *, limit: int | None) -> None:
        """Commit a call with its upper bound before it is made.

        A caller that goes away meanwhile will not make the call: it costs nothing.

        Args:
            limit: pico-dollars that its question may cost, all its calls together; None: as the
                settings say.

        Raises:
            BudgetExceeded: a limit would be passed; no row was written.
            Refused: a call has that id already.
        """
        limits = self._limits_of(row, limit)
        try:
            decision = await self._write(partial(ledger.intend, row=row, limits=limits))
        except asyncio.CancelledError:
            # Works are done in order: this one finds the row, or that there is none.
            self._database.write(
                partial(ledger.fail, call_id=row.call_id, error=_NOT_SENT, at=self._stamp())
            )
            raise
        if isinstance(decision, Denied):
            is_own = limit is not None and limit != self._limits.question
            raise refusal(decision, resets_at=_midnight_after(row.at), is_own=is_own)

    async def settle(
        self,
        call_id: str,
        completion: Completion,
        *,
        cost: int,
        storage_token_hours: int | None = None,
    ) -> None:
        """Commit what a call cost, also when the caller goes away meanwhile.

        The same call again changes nothing; one that was lost before is settled now.

        Args:
            storage_token_hours: of a cache object, as it was held; None: as intended.
        """
        await self._write(
            partial(
                ledger.settle,
                call_id=call_id,
                completion=completion,
                cost=cost,
                at=self._stamp(),
                storage_token_hours=storage_token_hours,
            )
        )

    async def fail(self, call_id: str, error: IfMemError) -> None:
        """The call ended without service: it cost nothing."""
        await self._write(
            partial(ledger.fail, call_id=call_id, error=_told(error), at=self._stamp())
        )

    async def lose(self, call_id: str, error: IfMemError | None) -> None:
        """The call's end was not seen: it may have cost up to its bound."""
        told = "its end was not seen" if error is None else _told(error)
        await self._write(partial(ledger.lose, call_id=call_id, error=told, at=self._stamp()))

    async def lose_all_intents(self) -> int:
        """At a start: the calls that a crash left under way are unknown; how many."""
        return await self._write(
            partial(ledger.lose_all_intents, error=_LEFT_BEHIND, at=self._stamp())
        )

    async def record_question(self, question: AskedQuestion) -> None:
        """Remember what a question would have cost without this memory."""
        await self._write(partial(ledger.record_question, question=question))

    async def left_today(self) -> LeftToday:
        """What of today's limits is spent and left."""
        now = self._now()
        today = now.astimezone(UTC).date().isoformat()
        questions, background = await asyncio.to_thread(
            self._database.read_together,
            lambda connection: [
                ledger.spent(connection, which, today) for which in (Which.DAY, Which.BACKGROUND)
            ],
        )
        return LeftToday(
            questions=Purse(which=Which.DAY, limit=self._limits.day, spent=questions.most),
            background=Purse(
                which=Which.BACKGROUND, limit=self._limits.background, spent=background.most
            ),
            resets_at=_midnight_after(clock.stamp(now)),
        )

    async def spent_on(self, question_id: str) -> ledger.Spent:
        """What the calls of a question cost, and may have cost."""
        return await asyncio.to_thread(
            self._database.read,
            lambda connection: ledger.spent(connection, Which.QUESTION, question_id),
        )

    def _limits_of(self, row: LedgerRow, limit: int | None) -> Limits:
        question = limit
        if limit is None and row.question_id is not None and not row.background:
            question = self._limits.question
        return Limits(question=question, day=self._limits.day, background=self._limits.background)

    def _stamp(self) -> str:
        return clock.stamp(self._now())

    async def _write(self, work: Callable[[sqlite3.Connection], T]) -> T:
        # Shielded: an ending that is known must be written although its caller was cancelled.
        outcome: Future[T] = self._database.write(work)
        return await asyncio.shield(asyncio.wrap_future(outcome))


def refusal(denied: Denied, *, resets_at: datetime, is_own: bool) -> BudgetExceeded:
    """The error for a call that would pass a limit.

    Args:
        is_own: the question was given a limit of its own.
    """
    which, needed = denied.purse.which, denied.needed
    facts: dict[str, object] = {
        "which": str(which),
        "limit_usd": usd(denied.purse.limit),
        "spent_usd": usd(denied.purse.spent),
        "needed_usd": usd(needed),
        "resets_at": None if which is Which.QUESTION else clock.stamp(resets_at),
    }
    more = f"raise {_SETTING[which]}"
    if which is Which.QUESTION and is_own:
        more = "allow it more (--max-cost)"
    elif which is not Which.QUESTION:
        more = f"wait until {clock.stamp(resets_at)}, or {more}"
    return BudgetExceeded(
        f"{_SUBJECT[which]} may cost ${facts['limit_usd']}, ${facts['spent_usd']} of it is spent, "
        f"and the next call may cost ${facts['needed_usd']}: {more}",
        **facts,
    )


def _midnight_after(at: str) -> datetime:
    """When the UTC day of a moment ends."""
    return datetime.fromisoformat(at[:10]).replace(tzinfo=UTC) + timedelta(days=1)


def _told(error: IfMemError) -> str:
    return mask(f"{type(error).__name__}: {error.message}").text[:500]
