"""The verbs that look at a memory as a whole, and how every verb is called."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

import msgspec

from ifmem.client import naming
from ifmem.client.connection import Connection, Result
from ifmem.domain.task import NO_RUN
from ifmem.errors import Unavailable
from ifmem.settings import Settings
from ifmem.wire import calls
from ifmem.wire.accounts import CostReport, LedgerEntry
from ifmem.wire.shapes import Checkup, Page, ShardShape, SpaceShape, Status, WorkerShape


class Progress(msgspec.Struct, frozen=True):
    """How far a load has come."""

    done: int
    total: int
    path: str = ""


OnProgress = Callable[[Progress], None]


class Overview:
    """A connected memory, as far as it tells about itself."""

    def __init__(self, connection: Connection, settings: Settings) -> None:
        self._connection = connection
        self.settings = settings
        """The settings it was opened with."""

    @property
    def _run(self) -> str | None:
        """The run it was opened with; None for none, which sees the findings of all."""
        return None if self.settings.run == NO_RUN else self.settings.run

    async def spaces(self) -> Page[SpaceShape]:
        """The spaces of this home."""
        return await self._call("spaces", None, Page[SpaceShape])

    async def shards(self) -> Page[ShardShape]:
        """The shards, what they hold, and who holds them."""
        return await self._call("shards", None, Page[ShardShape])

    async def workers(self) -> Page[WorkerShape]:
        """The workers and their last heartbeats."""
        return await self._call("workers", None, Page[WorkerShape])

    async def status(self, *, show_secrets: bool = False) -> Status:
        """Everything at a glance; URLs without passwords unless asked."""
        return await self._call("status", calls.StatusCall(show_secrets=show_secrets), Status)

    async def doctor(self, *, repair: bool = False) -> Checkup:
        """What the daemon finds wrong with its store and the bus; changes it only if told."""
        return await self._call("doctor", calls.DoctorCall(repair=repair), Checkup)

    async def costs(
        self, *, since: str | None = None, until: str | None = None, project: int | None = None
    ) -> CostReport:
        """What model calls used, cost and saved, beside what the same questions cost otherwise.

        Args:
            since: a date or time; None is the beginning.
            until: the same, a date with its whole day; None is now.
            project: also what so many questions a day would cost.

        Example:
            report = await memory.costs(since="2026-01-01")
            print(report.cost_usd, report.baselines[0].saving)
        """
        call = calls.CostsCall(
            since=naming.moment(since) if since else None,
            until=naming.moment(until, end_of_day=True) if until else None,
            project=project,
        )
        return await self._call("costs", call, CostReport)

    async def ledger(
        self, *, since: str | None = None, until: str | None = None
    ) -> AsyncIterator[LedgerEntry]:
        """The rows behind ``costs``: the questions, then the calls, each in order of time.

        Example:
            async for entry in memory.ledger():
                if entry.call is not None:
                    print(entry.call.model, entry.call.cost_pico_usd)
        """
        after: str | None = ""
        while after is not None:
            call = calls.LedgerCall(
                since=naming.moment(since) if since else None,
                until=naming.moment(until, end_of_day=True) if until else None,
                after=after,
            )
            page = await self._call("ledger", call, Page[LedgerEntry])
            for entry in page:
                yield entry
            after = page.next

    async def adopt(self) -> None:
        """Take over the keys of this space from the store they were built from."""
        await self._call("up", calls.UpCall(adopt=True), dict)

    async def _call(
        self,
        method: str,
        params: msgspec.Struct | None,
        returns: type[Result],
        *,
        within: float | None = None,
        on_progress: OnProgress | None = None,
        **facts: object,
    ) -> Result:
        def on_event(event: Mapping[str, Any]) -> None:
            if on_progress is not None and "progress" in event:
                on_progress(msgspec.convert(event["progress"], Progress))

        try:
            async with asyncio.timeout(within):
                return await self._connection.call(
                    method,
                    params,
                    returns=returns,
                    space=self.settings.space,
                    on_event=on_event,
                    **facts,
                )
        except TimeoutError as error:
            raise Unavailable(
                f"the daemon has not answered `{method}` within {within:.0f} seconds: "
                "`ifmem down` ends it, and the next command starts another",
                method=method,
            ) from error
