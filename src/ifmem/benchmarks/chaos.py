"""A seeded schedule of what happens to processes: killed, paused, resumed."""

from __future__ import annotations

import random
from collections.abc import Sequence
from enum import StrEnum

import msgspec


class Blow(StrEnum):
    """What is done to a process."""

    KILL = "kill"
    """Ended at once (SIGKILL); another is started in its place."""
    PAUSE = "pause"
    """Stopped where it stands (SIGSTOP)."""
    RESUME = "resume"
    """Let go on (SIGCONT)."""


class ChaosEvent(msgspec.Struct, frozen=True):
    """One blow, dealt to the process with this index so many seconds after the start."""

    at_seconds: float
    blow: Blow
    index: int


def schedule(
    seed: int, *, processes: int, seconds: float, kills: int, pauses: int
) -> tuple[ChaosEvent, ...]:
    """The blows of one run in order of time; the same seed gives the same blows.

    There are exactly so many kills and pauses, spread over the processes by chance. Each pause is
    followed by its resume, nothing else happens to a process in between, and all is over before
    ``seconds``.

    Raises:
        ValueError: there is no process to strike, or no time to do it in.
    """
    if kills < 0 or pauses < 0 or seconds <= 0 or (kills + pauses and processes < 1):
        raise ValueError(
            f"no schedule of {kills} kills and {pauses} pauses of {processes} processes "
            f"in {seconds} s"
        )
    chance = random.Random(seed)
    struck: list[list[Blow]] = [[] for _ in range(processes)]
    for blow in [Blow.KILL] * kills + [Blow.PAUSE] * pauses:
        struck[chance.randrange(processes)].append(blow)
    events = [
        event
        for index, blows in enumerate(struck)
        for event in _life(chance, index, blows, seconds)
    ]
    return tuple(sorted(events, key=lambda event: event.at_seconds))


def _life(
    chance: random.Random, index: int, blows: Sequence[Blow], seconds: float
) -> list[ChaosEvent]:
    """The events of one process: each blow has a stretch of the time for itself."""
    events = []
    order = chance.sample(blows, len(blows))
    stretch = seconds / max(1, len(order))
    for place, blow in enumerate(order):
        begin, end = sorted(stretch * (place + chance.random()) for _ in range(2))
        events.append(ChaosEvent(begin, blow, index))
        if blow is Blow.PAUSE:
            events.append(ChaosEvent(end, Blow.RESUME, index))
    return events
