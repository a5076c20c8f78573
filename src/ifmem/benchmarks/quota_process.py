"""A process whose callers draw from a pool of calls that other processes draw from too.

Run as ``python -m ifmem.benchmarks.quota_process``: a line of JSON in, ``ready`` out; after another
line in, one JSON object out.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import msgspec

from ifmem import clock
from ifmem.domain.quota import Allowance, Denied, Refusal, Reservation
from ifmem.runtime.quotas import Quotas
from ifmem.settings import Settings

_LOOK_EVERY = 25


class QuotaOrder(msgspec.Struct, frozen=True):
    """What the callers of a process do."""

    path: str
    settings: Settings
    space: str
    callers: int
    rounds: int
    """Reservations that each caller asks for."""
    refunded_before: int = 0
    """Every fourth call of a round before this one fails, and is given back."""
    unheard_before: int = 0
    """The end of every fifth of the rest of these is never told."""
    at: datetime | None = None
    """A clock that stands at this moment; None: the clock."""


class QuotaSeen(msgspec.Struct, frozen=True):
    """What the callers of a process were told."""

    asked: int
    granted: int
    exhausted: int
    otherwise_denied: int
    refunded: int
    unheard: int
    least_left: int
    """The least that was ever shown as left."""
    most_left: int
    reserve_ms: list[float]


class _Tally:
    def __init__(self) -> None:
        self.asked = self.granted = self.refunded = self.unheard = 0
        self.denied = dict.fromkeys(Refusal, 0)
        self.left: list[int] = []
        self.reserve_ms: list[float] = []

    def seen(self) -> QuotaSeen:
        exhausted = self.denied.pop(Refusal.EXHAUSTED)
        return QuotaSeen(
            asked=self.asked,
            granted=self.granted,
            exhausted=exhausted,
            otherwise_denied=sum(self.denied.values()),
            refunded=self.refunded,
            unheard=self.unheard,
            least_left=min(self.left),
            most_left=max(self.left),
            reserve_ms=self.reserve_ms,
        )


async def draw(order: QuotaOrder, started: Callable[[], object]) -> QuotaSeen:
    """Let the callers draw, all at once, after ``started``."""
    at = order.at
    now = clock.now if at is None else lambda: at
    quotas = Quotas(Path(order.path), order.settings, now=now)
    allowances = quotas.allowances(order.space)
    tally = _Tally()
    await asyncio.to_thread(started)
    try:
        async with asyncio.TaskGroup() as callers:
            for caller in range(order.callers):
                mine = allowances[caller % len(allowances)]
                callers.create_task(_call(quotas, mine, order, caller, tally))
        await _look(quotas, order, tally)
    finally:
        await quotas.aclose()
    return tally.seen()


async def _call(
    quotas: Quotas, mine: Allowance, order: QuotaOrder, caller: int, tally: _Tally
) -> None:
    for number in range(order.rounds):
        tally.asked += 1
        began = clock.stopwatch_ns()
        outcome = await quotas.reserve(mine)
        tally.reserve_ms.append(clock.milliseconds_since(began))
        if isinstance(outcome, Denied):
            tally.denied[outcome.refusal] += 1
        else:
            tally.granted += 1
            await _end(quotas, outcome, order, caller + number, number, tally)
        if number % _LOOK_EVERY == 0:
            await _look(quotas, order, tally)


async def _end(
    quotas: Quotas, call: Reservation, order: QuotaOrder, turn: int, number: int, tally: _Tally
) -> None:
    if number < order.refunded_before and turn % 4 == 0:
        tally.refunded += 1
        await quotas.refund(call)
    elif number < order.unheard_before and turn % 5 == 0:
        tally.unheard += 1
    else:
        await quotas.settle(call)


async def _look(quotas: Quotas, order: QuotaOrder, tally: _Tally) -> None:
    tally.left += [one.calls for one in await quotas.remaining(order.space)]


if __name__ == "__main__":
    given = msgspec.json.decode(sys.stdin.buffer.readline(), type=QuotaOrder)

    def _ready() -> None:
        sys.stdout.buffer.write(b"ready\n")
        sys.stdout.buffer.flush()
        sys.stdin.buffer.readline()

    sys.stdout.buffer.write(msgspec.json.encode(asyncio.run(draw(given, _ready))) + b"\n")
