"""The quotas of a home: a call is reserved before it is made, and charged unless it failed."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from concurrent.futures import Future
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TypeVar

from ifmem import clock
from ifmem.domain.quota import Allowance, Denied, Quota, Remaining, Reservation, Reset
from ifmem.engine.quotas import day_of
from ifmem.runtime.allowances import allowances_of, zone_of
from ifmem.settings import Settings
from ifmem.store import quota_counts
from ifmem.store.quota_counts import Calendar
from ifmem.store.quotas import QuotaFile

T = TypeVar("T")

FILE = "quotas.db"
"""In the home."""


class Quotas:
    """The quotas of a home; every space uses the same.

    Guarantees:
        exactness: of any number of processes and callers, as many calls are granted as there are.
        durability: a reservation is on disk before ``reserve`` returns; one whose end nobody
            tells stays charged.
        minutes: in no 60 seconds are more than ``per_minute`` calls of a pool reserved.
        resets: one for each day of calls, by whoever looks or reserves first. A clock that goes
            back resets and refunds nothing.

    Raises (every async method): Failed, when ``quotas.db`` is damaged or the disk refused;
        NotPermitted, when it cannot be written.
    """

    def __init__(
        self, path: Path, settings: Settings, *, now: Callable[[], datetime] = clock.now
    ) -> None:
        """Quotas kept in the file at ``path``, which is made when a metered call is first needed.

        Raises:
            ConfigError: ``[[librarians]]`` or ``[[quotas]]`` contradict themselves.
        """
        self._settings = settings
        self._now = now
        self._calendars = {
            one.quota.pool: _calendar(one.quota)
            for one in allowances_of(settings, "-")
            if one.quota is not None
        }
        self._file = QuotaFile(path)

    @property
    def is_metered(self) -> bool:
        """Whether any librarian draws from a pool; else nothing here ever changes."""
        return bool(self._calendars)

    def allowances(self, space: str) -> list[Allowance]:
        """What each librarian of a space may take, by its number."""
        return allowances_of(self._settings, space)

    async def reserve(self, allowance: Allowance) -> Reservation | Denied:
        """Take one call; unmetered: one that charges nothing.

        A caller that goes away meanwhile will not make the call: it is given back.
        """
        made = Reservation(clock.new_id(), allowance, "")
        if allowance.quota is None:
            return made
        try:
            return await self._do(
                lambda connection: quota_counts.reserve(
                    connection,
                    allowance,
                    reservation_id=made.reservation_id,
                    now=self._now(),
                    calendar=self._calendar(allowance.quota),
                )
            )
        except asyncio.CancelledError:
            # Works are done in order: this one finds the call, or that there is none.
            self._file.do(partial(quota_counts.refund, reservation=made))
            raise

    async def settle(self, reservation: Reservation) -> None:
        """The call was served: it stays charged, and its pool waits no more."""
        if reservation.day:
            await self._do(partial(quota_counts.settle, reservation=reservation))

    async def refund(self, reservation: Reservation) -> None:
        """The call failed before service; a second time changes nothing."""
        if reservation.day:
            await self._do(partial(quota_counts.refund, reservation=reservation))

    async def refuse(self, reservation: Reservation, *, retry_after_s: float | None) -> None:
        """The provider asked to wait (429): refunded, and all of its pool wait.

        Args:
            reservation: of the refused call.
            retry_after_s: as the provider said; None: 5 seconds, doubled with each refusal in a
                row up to 15 minutes.
        """
        if reservation.day:
            await self._do(
                lambda connection: quota_counts.refuse(
                    connection, reservation, retry_after_s=retry_after_s, now=self._now()
                )
            )

    async def remaining(self, space: str) -> list[Remaining]:
        """What each librarian of a space may still do, by its number."""
        allowances = self.allowances(space)
        if not self.is_metered:
            return [_unmetered(one) for one in allowances]
        return await self._do(
            lambda connection: [self._look(connection, one) for one in allowances]
        )

    async def newest_resets(self) -> list[Reset]:
        """The last day of calls that each pool has begun; whichever process did, it is the same."""
        if not self.is_metered:
            return []
        return await self._do(
            lambda connection: [
                reset
                for pool in self._calendars
                for reset in quota_counts.resets(connection, pool)[:1]
            ]
        )

    async def aclose(self) -> None:
        """Finish what waits and close the file; afterwards nothing may be reserved."""
        await asyncio.to_thread(self._file.close)

    def _look(self, connection: sqlite3.Connection, allowance: Allowance) -> Remaining:
        if allowance.quota is None:
            return _unmetered(allowance)
        return quota_counts.look(
            connection, allowance, now=self._now(), calendar=self._calendar(allowance.quota)
        )

    def _calendar(self, quota: Quota | None) -> Calendar:
        assert quota is not None, "an unmetered librarian has no day of calls"
        return self._calendars.get(quota.pool) or _calendar(quota)

    async def _do(self, work: Callable[[sqlite3.Connection], T]) -> T:
        # Shielded: what is told of a call must be written although its caller was cancelled.
        outcome: Future[T] = self._file.do(work)
        return await asyncio.shield(asyncio.wrap_future(outcome))


def _calendar(quota: Quota) -> Calendar:
    zone = zone_of(quota.zone)
    return lambda moment: day_of(moment, quota.resets_minute, zone)


def _unmetered(allowance: Allowance) -> Remaining:
    return Remaining(allowance.librarian, allowance.daily, None, None)
