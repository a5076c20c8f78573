"""``bench scale``, small: a store is filled, asked and weighed."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from ifmem import Memory
from ifmem.benchmarks import scale
from ifmem.benchmarks.filled_store import PER_TASK, fill, finding_id, task_of
from ifmem.client import launch
from ifmem.settings import RetrievalSettings, Settings


def test_a_small_run_measures_each_size_and_sees_no_scan(tmp_path: Path) -> None:
    report = scale.run(sizes=(1_000, 2_000), n=5, out=tmp_path)
    assert [point.name for point in report.points] == ["1,000", "2,000", "2,000, window lifted"]
    assert report.scans == 0
    assert [point.first_start_s is None for point in report.points] == [False, False, True]
    for point in report.points:
        assert {one.n for one in point.latencies.values()} == {5}
        assert point.commands["fcall"].calls >= 5
        assert point.on_bus >= point.findings
        assert point.server_bytes_per_finding > 400
    assert set(report.ratios) == {"2,000", "2,000, window lifted"}
    written = json.loads(Path(report.written).read_text(encoding="utf-8"))
    assert len(written["samples_ms"]["1,000, claim"]) == 5
    assert any("NOT REACHED" in line or "REACHED" in line for line in scale.lines(report))


@pytest.fixture
def settings(tmp_path: Path) -> Iterator[Settings]:
    """Of a home whose daemon is down at the end."""
    given = Settings(home=str(tmp_path / "home"), retrieval=RetrievalSettings(semantic="off"))
    yield given
    asyncio.run(launch.stop(given))


def test_a_filled_store_is_one_that_findings_were_remembered_in(settings: Settings) -> None:
    size = fill(settings.home_path, 1_000)
    with Memory.open_sync(settings=settings) as memory:
        lines = list(memory.findings())
        assert [int(line.cursor) for line in lines] == list(range(1, 1_001))
        assert lines[7].finding["finding_id"] == finding_id(7)
        assert lines[7].finding["durable"] is True
        assert size > 400 * 1_000
        task = task_of(3, 1_000)
        assert len(list(memory.findings(task=task))) == PER_TASK
        (found,) = memory.recall("crate c421", limit=1).findings
        assert found.finding_id == finding_id(421)
