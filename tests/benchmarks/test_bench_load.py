"""``bench load``, small: every ratio beside its baseline, measured on the same bytes."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from ifmem.benchmarks import load, rereading
from ifmem.benchmarks.load import LoadBenchReport

TOKENS = 3_000
N, BASELINE_N = 20, 10


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> LoadBenchReport:
    out = tmp_path_factory.mktemp("out")
    return load.run(n=N, baseline_n=BASELINE_N, shard_tokens=TOKENS, out=out)


def test_four_shards_are_filled_and_what_was_loaded_equals_the_files(
    report: LoadBenchReport,
) -> None:
    assert len(report.shards) == 4
    assert all(held >= TOKENS * 0.97 for held in report.shards)
    assert report.tokens == sum(report.shards)
    assert report.sha256_verified


def test_every_ratio_stands_beside_its_baseline_and_its_samples(report: LoadBenchReport) -> None:
    written = msgspec.json.decode(Path(report.written).read_bytes())
    ours = written["samples_ms"]["bus_one_pipeline"]
    assert len(ours) == N
    for name, baseline in report.baselines.items():
        samples = written["samples_ms"][name]
        assert len(samples) == baseline.n == BASELINE_N
        assert baseline.what == rereading.WHAT[name]
        assert baseline.ratio_low <= baseline.ratio <= baseline.ratio_high
        medians = [sorted(one)[len(one) // 2] for one in (samples, ours)]
        assert baseline.ratio == pytest.approx(medians[0] / medians[1], rel=0.5)
        shown = next(line for line in load.lines(report) if line.startswith(f"{name} "))
        assert f"{baseline.ratio:.2f}×" in shown
        assert f"{baseline.p50_ms:.2f}" in shown


def test_the_contract_s_baselines_are_all_there(report: LoadBenchReport) -> None:
    wanted = {"warm_read", "cold_read", "read_tokenise", "full", "packed_file"}
    assert wanted <= set(report.baselines)


def test_goals_are_printed_just_as_large_when_missed(report: LoadBenchReport) -> None:
    missed = msgspec.structs.replace(
        report, goals=[msgspec.structs.replace(goal, reached=False) for goal in report.goals]
    )
    for goal in report.goals:
        for shape in (report, missed):
            assert any(goal.goal in line and "REACHED" in line for line in load.lines(shape))
    assert not any(line.startswith("REACHED") for line in load.lines(missed))


def test_the_report_for_people_lies_beside_its_samples(report: LoadBenchReport) -> None:
    text = Path(report.written).with_suffix(".txt").read_text(encoding="utf-8")
    shown = load.lines(msgspec.structs.replace(report, written=""))
    assert text.splitlines() == shown


def test_reading_again_gives_the_text_that_is_compared(tmp_path: Path) -> None:
    (tmp_path / "one.py").write_text("def f():\n    return 1\n", encoding="utf-8")
    ((path, texts, counts),) = rereading.full(tmp_path)
    assert (Path(path).name, "".join(texts)) == ("one.py", "def f():\n    return 1\n")
    assert sum(counts) > 0
