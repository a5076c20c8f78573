"""``bench archive``, small: everything is measured, a wrong figure is a missed goal."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from ifmem.benchmarks import archive
from ifmem.benchmarks.archive import ArchiveReport

N = 10


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> ArchiveReport:
    return archive.run(
        findings=300,
        n=N,
        rounds=3,
        citations=500,
        tokens=20_000,
        out=tmp_path_factory.mktemp("out"),
    )


def test_answers_come_from_the_archive_and_each_way_is_timed(report: ArchiveReport) -> None:
    assert report.findings == 300
    assert report.answers.n == report.recalls.n == report.live_recalls.n == N
    assert report.briefs.n == N


def test_quotas_are_exact_and_a_round_trip_changes_nothing(report: ArchiveReport) -> None:
    assert report.quota.exact
    assert report.quota.charged == report.quota.limit
    assert report.round_trip.is_equal
    assert report.verify.citations == 500


def test_the_samples_behind_each_figure_are_written(report: ArchiveReport) -> None:
    samples = msgspec.json.decode(Path(report.written).read_bytes())["samples_ms"]
    assert {name: len(many) for name, many in samples.items()} == {
        "answers": N,
        "recalls": N,
        "live_recalls": N,
        "briefs": N,
    }


def test_a_missed_goal_is_printed_as_such(report: ArchiveReport) -> None:
    slow = msgspec.structs.replace(report.answers, p95_ms=101.0)
    quick = msgspec.structs.replace(report.briefs, p95_ms=150.0)
    goals = archive._goals(
        {"answers": slow, "briefs": quick},
        msgspec.structs.replace(report.quota, lost=1),
        msgspec.structs.replace(report.verify, rate_worst=4_999.0),
        msgspec.structs.replace(report.round_trip, is_equal=False),
    )
    assert [goal.reached for goal in goals] == [False, True, False, False, False]
