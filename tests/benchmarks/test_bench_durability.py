"""``bench durability``, small: it strikes, checks and reports."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

from ifmem.benchmarks import durability
from ifmem.benchmarks.plain_durability import plain_loss


def test_a_small_run_loses_nothing_and_writes_what_it_saw(tmp_path: Path) -> None:
    report = durability.run(
        kills=2,
        empty=1,
        refused=1,
        daemon_kills=1,
        fault_rounds=1,
        fault_seconds=0.5,
        sizes=(300,),
        rebuild_times=1,
        bare_kills=1,
        out=tmp_path,
    )
    assert (report.lost, report.done_twice, report.duplicates, report.breaches) == (0, 0, 0, 0)
    assert [one.blows for one in report.series] == [2, 1, 1, 1, 6]
    assert all(one.stored and one.tasks and one.acknowledged for one in report.series)
    assert [(one.findings, one.data) for one in report.rebuilds] == [(300, "kept"), (300, "gone")]
    written = json.loads(Path(report.written).read_text(encoding="utf-8"))
    assert len(written["samples_ms"]["server killed"]) == 2
    text = "\n".join(durability.lines(report))
    assert "REACHED     acknowledged and lost: 0" in text
    assert "no persistence" in text


def test_a_bare_server_without_persistence_loses_all_that_it_acknowledged(tmp_path: Path) -> None:
    loss, took = asyncio.run(plain_loss("no persistence", tmp_path / "bare", kills=1, seconds=0.1))
    assert loss.lost == loss.acknowledged == len(took) > 0


def test_a_bare_server_that_syncs_always_loses_nothing_to_a_kill(tmp_path: Path) -> None:
    loss, _ = asyncio.run(plain_loss("AOF always", tmp_path / "bare", kills=2, seconds=0.1))
    assert loss.acknowledged > 0
    assert loss.lost == 0
