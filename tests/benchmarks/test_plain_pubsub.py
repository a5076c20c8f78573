"""Bare pub/sub with a real server: it delivers all in peace, and loses under kills."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from ifmem.benchmarks.chaos import Blow, ChaosEvent
from ifmem.benchmarks.plain_pubsub import plain_pubsub
from ifmem.bus.embedded import attach, stop

FINDINGS = 300
PER_SECOND = 300


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    directory = tmp_path_factory.mktemp("bus")
    yield attach(directory, idle=timedelta(seconds=60)).url
    stop(directory)


def test_in_peace_every_subscriber_sees_every_finding_in_order(url: str, tmp_path: Path) -> None:
    got, waited = asyncio.run(
        plain_pubsub(
            url,
            tmp_path,
            findings=FINDINGS,
            per_second=PER_SECOND,
            subscribers=2,
            events=(),
        )
    )
    assert (got.lost, got.repeated, got.out_of_order) == ([0, 0], [0, 0], [0, 0])
    assert len(waited) == 2 * FINDINGS
    assert min(waited) > 0


def test_only_the_subscriber_that_is_killed_loses_and_a_pause_only_delays(
    url: str, tmp_path: Path
) -> None:
    events = (
        ChaosEvent(0.2, Blow.PAUSE, 1),
        ChaosEvent(0.3, Blow.KILL, 0),
        ChaosEvent(0.6, Blow.RESUME, 1),
    )
    got, waited = asyncio.run(
        plain_pubsub(
            url,
            tmp_path,
            findings=FINDINGS,
            per_second=PER_SECOND,
            subscribers=3,
            events=events,
        )
    )
    killed, paused, left_alone = got.lost
    assert killed > 0
    assert (paused, left_alone) == (0, 0)
    assert got.lost_in_all == killed
    assert max(waited) >= 300
