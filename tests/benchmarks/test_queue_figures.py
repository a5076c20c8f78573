"""Queues measured side by side, shown with bare lists, which every server has."""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from ifmem.benchmarks.plain_list import PlainList
from ifmem.benchmarks.queue_figures import Pace, figure_lines, measure
from ifmem.bus.embedded import attach, stop
from ifmem.errors import IntegrityError

PACE = Pace(per_second=100, seconds=1, warm_up=20)


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    directory = tmp_path_factory.mktemp("bus")
    yield attach(directory, idle=timedelta(seconds=60)).url
    stop(directory)


@pytest.fixture
def twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[PlainList]:
    """A queue that delivers each task twice, where a worker process can import it."""
    (tmp_path / "queue_that_repeats.py").write_text(
        """
from contextlib import asynccontextmanager
from ifmem.benchmarks.plain_list import PlainList

class Twice(PlainList):
    @asynccontextmanager
    async def sending(self, url, queue):
        async with super().sending(url, queue) as once:
            async def send(index, published_ns):
                await once(index, published_ns)
                await once(index, published_ns)
            yield send
""",
        encoding="utf-8",
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    queue: PlainList = importlib.import_module("queue_that_repeats").Twice()
    yield queue


def test_every_rate_is_told_from_samples_that_are_kept(url: str) -> None:
    (figures,), samples = asyncio.run(measure([PlainList()], url, tasks=200, rounds=3, pace=PACE))
    assert {what: len(taken) for what, taken in samples.items()} == {
        "plain-list_enqueue": 3,
        "plain-list_drain": 3,
        "plain-list_latency": PACE.tasks,
    }
    middle_ms = sorted(samples["plain-list_drain"])[1]
    assert figures.drain_per_s == pytest.approx(200 / middle_ms * 1000, rel=1e-3)
    assert 0 < figures.latency.p50_ms <= figures.latency.p99_ms < 1_000
    assert 0.5 * PACE.per_second < figures.published_per_s <= 1.1 * PACE.per_second
    lines = "\n".join(figure_lines([figures]))
    assert figures.settings in lines
    assert "at most once" in lines


def test_a_queue_that_repeats_tasks_gets_no_figures(url: str, twice: PlainList) -> None:
    with pytest.raises(IntegrityError, match="repeated"):
        asyncio.run(measure([twice], url, tasks=50, rounds=1, pace=PACE))
