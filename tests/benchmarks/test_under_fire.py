"""Workers killed and paused, small: nothing is lost or done twice, and a missing check shows."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import broken_worker
import msgspec
import pytest

from ifmem.benchmarks.chaos import Blow, ChaosEvent
from ifmem.benchmarks.struck_worker import StruckOrder
from ifmem.benchmarks.throwaway import throwaway
from ifmem.benchmarks.under_fire import (
    SWEEP_SECONDS,
    CommandOf,
    Fire,
    Fought,
    struck_command,
    under_fire,
)

FIRE = Fire(tasks=60, workers=3, concurrency=2, lease_seconds=1.8, work_seconds=0.35)
"""All handlers take less than a third of the lease: a paused worker completes late."""
PAUSES = tuple(
    ChaosEvent(at, blow, worker)
    for at, blow in ((0.5, Blow.PAUSE), (3.8, Blow.RESUME))
    for worker in (0, 1)
)
KILLS = (ChaosEvent(0.6, Blow.KILL, 2), ChaosEvent(0.9, Blow.KILL, 2))
"""The second may strike before the new process has anything to do."""


def fought(*events: ChaosEvent, command_of: CommandOf = struck_command) -> Fought:
    async def run() -> Fought:
        async with throwaway() as place:
            return await under_fire(place, FIRE, events=events, command_of=command_of)

    return asyncio.run(run())


def without(check: str) -> CommandOf:
    def command_of(order: StruckOrder) -> list[str]:
        text = msgspec.json.encode(order).decode()
        return [sys.executable, str(Path(broken_worker.__file__)), check, text]

    return command_of


def test_every_task_is_done_once_though_workers_are_killed_and_paused() -> None:
    got = fought(*PAUSES, *KILLS)
    assert not any(got.effects.violations.values()), got
    assert (got.effects.posted, got.effects.done) == (FIRE.tasks, FIRE.tasks)
    assert (got.kills, got.workers_killed, got.pauses) == (2, 1, 2)
    assert got.effects.cut_short > 0
    assert got.effects.late == got.effects.audited > 0
    assert got.requeue_ms
    # Two of three workers are away: what was requeued waits for a place.
    assert max(got.requeue_ms) <= (FIRE.lease_seconds + SWEEP_SECONDS) * 1000 + 5_000


def test_without_the_fence_a_late_completion_is_seen_as_done_twice() -> None:
    got = fought(*PAUSES, command_of=without("fence"))
    assert got.effects.done_twice > 0
    assert got.effects.audited == 0


def test_without_the_dedupe_a_finding_said_again_is_seen_as_published_twice() -> None:
    got = fought(*KILLS, command_of=without("dedupe"))
    assert got.effects.published_twice > 0
    assert got.effects.done_twice == 0


def test_a_check_that_is_written_otherwise_is_not_silently_left_in(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(broken_worker.WITHOUT, "fence", ("no such text", ""))
    with pytest.raises(LookupError):
        broken_worker.body_without("fence")


def test_the_schedule_of_a_fire_ends_while_there_is_work() -> None:
    events = FIRE.events()
    assert events == Fire(**msgspec.structs.asdict(FIRE)).events()
    assert max(event.at_seconds for event in events) < FIRE.least_seconds
