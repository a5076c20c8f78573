"""Refusals on their way to the audit: masked, counted, and written where there is a store."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from functools import partial

from ifmem import clock
from ifmem.engine.masking import mask
from ifmem.engine.refusals import WINDOW_SECONDS, Refusal, RefusalCounts
from ifmem.errors import IfMemError
from ifmem.store import audit
from ifmem.store.database import Database

log = logging.getLogger(__name__)

Note = Callable[[Refusal], "Future[None] | None"]
"""Begins to write a row of the audit; what is given back, if anything, tells when it is there."""

_CALLERS = ("agent", "worker", "sender", "actor", "posted_by", "by")
_LONGEST_TEXT = 500
_LONGEST_GIVEN = 10_000


class AuditedRefusals:
    """Refusals, of which the audit is told as ``engine/refusals.py`` says."""

    def __init__(self, note: Note) -> None:
        self._note = note
        self._counts = RefusalCounts()
        self._looking: asyncio.TimerHandle | None = None

    async def add(self, refusal: Refusal) -> None:
        """Have one audited; whoever reads the audit after that finds it there."""
        refusal = Refusal(
            actor=_harmless(refusal.actor),
            action=_harmless(refusal.action),
            reason=_harmless(refusal.reason),
            subject=_harmless(refusal.subject),
        )
        is_first = self._counts.is_first(refusal, clock.monotonic())
        if self._looking is None:
            self._look_later()
        if is_first and (written := self._note(refusal)) is not None:
            await asyncio.shield(asyncio.wrap_future(written))

    def close(self) -> None:
        """Write what was counted since the last look."""
        if self._looking is not None:
            self._looking.cancel()
        for refusal in self._counts.all():
            self._note(refusal)

    def _look_later(self) -> None:
        self._looking = asyncio.get_running_loop().call_later(WINDOW_SECONDS, self._look)

    def _look(self) -> None:
        self._looking = None
        for refusal in self._counts.ended(clock.monotonic()):
            self._note(refusal)
        if len(self._counts):
            self._look_later()


def refusal_of(method: str, params: object, error: IfMemError, *, otherwise: str) -> Refusal:
    """What the audit is told of a call that was refused.

    Args:
        method: the verb.
        params: what it was given: it says who calls, where the verb has a name for that.
        error: why.
        otherwise: who is named when nobody is known.
    """
    named = [getattr(params, name, None) for name in _CALLERS]
    finding = getattr(params, "finding", None)
    if isinstance(finding, Mapping):
        named.append(finding.get("worker_id"))
    subject = next((str(one) for one in error.facts.values() if one), "-")
    return Refusal(
        actor=next((one for one in named if isinstance(one, str) and one), otherwise),
        action=method,
        reason=error.message,
        subject=subject,
    )


def into_store(database: Database) -> Note:
    """Notes refusals in the audit of a space."""

    def note(refusal: Refusal) -> Future[None]:
        row = partial(
            audit.note,
            entry=clock.new_id(),
            at=clock.stamp(clock.now()),
            action=refusal.action,
            actor=refusal.actor,
            subject=refusal.subject,
            reason=refusal.reason,
        )
        written: Future[None] = Future()

        def tell(outcome: Future[None]) -> None:
            # An audit that cannot be written must not hide why somebody was refused.
            if outcome.exception():
                into_log(refusal)
            written.set_result(None)

        database.write(row).add_done_callback(tell)
        return written

    return note


def into_log(refusal: Refusal) -> None:
    """Notes refusals in the daemon's log, where there is no store."""
    log.warning(
        "refused: %s by %s: %s (%s)",
        refusal.action,
        refusal.actor,
        refusal.reason,
        refusal.subject,
    )


def _harmless(text: str) -> str:
    # Cut last: half of a credential would not be known as one.
    return mask(" ".join(text[:_LONGEST_GIVEN].split())).text[:_LONGEST_TEXT] or "-"
