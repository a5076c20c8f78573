"""Each peer that is installed, end to end: a worker process executes what was enqueued."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import timedelta

import pytest

from ifmem.benchmarks.measured_queue import MeasuredQueue
from ifmem.benchmarks.peer_queues import BullMQ, Huey, Taskiq, installed, peers
from ifmem.benchmarks.queue_figures import Pace, measure
from ifmem.bus.embedded import attach, stop

PACE = Pace(per_second=100, seconds=1, warm_up=20)


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    directory = tmp_path_factory.mktemp("bus")
    yield attach(directory, idle=timedelta(seconds=60)).url
    stop(directory)


def names(queues: list[MeasuredQueue]) -> list[str]:
    return [one.name for one in queues]


@pytest.mark.parametrize("peer", peers(), ids=names(peers()))
def test_a_peer_executes_each_task_once_and_is_measured(peer: MeasuredQueue, url: str) -> None:
    if peer.version is None:
        pytest.skip(f"{peer.name} is not installed (dependency group peers)")
    (figures,), samples = asyncio.run(measure([peer], url, tasks=200, rounds=2, pace=PACE))
    assert (figures.name, figures.version) == (peer.name, peer.version)
    assert figures.latency.n == PACE.tasks == len(samples[f"{peer.name}_latency"])
    assert 0 < figures.latency.p50_ms < 1_000
    assert figures.published_per_s <= PACE.per_second * 1.2
    for what, rate in (("enqueue", figures.enqueue_per_s), ("drain", figures.drain_per_s)):
        rounds_ms = samples[f"{peer.name}_{what}"]
        assert len(rounds_ms) == 2
        assert rate == pytest.approx(200 / min(rounds_ms) * 1000, rel=1e-3)


def test_a_peer_that_is_not_installed_is_left_out_by_name() -> None:
    @dataclass(frozen=True, slots=True)
    class Absent(Taskiq):
        name = "absent"

        @property
        def version(self) -> str | None:
            return None

    @dataclass(frozen=True, slots=True)
    class Present(Taskiq):
        @property
        def version(self) -> str | None:
            return "1.0"

    there, missing = installed([Absent(), Present()])
    assert there == [Present()]
    assert missing == ["absent is not installed: pip install --group peers"]


def test_only_a_queue_that_cannot_acknowledge_says_at_most_once() -> None:
    assert {one.name: one.delivery for one in peers()} == {
        "taskiq": "at least once",
        "bullmq": "at least once",
        "dramatiq": "at least once",
        "huey": "at most once",
    }


def test_the_settings_that_are_printed_are_those_used() -> None:
    for one in (Taskiq(in_flight=37, batch=41), BullMQ(in_flight=43), Huey(threads=3)):
        values = [str(value) for value in asdict(one).values() if not isinstance(value, bool)]
        assert all(value in one.settings for value in values)
