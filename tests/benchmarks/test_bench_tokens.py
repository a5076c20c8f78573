"""``bench tokens`` on a small corpus: arms that can be told apart, and figures that add up."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ifmem.benchmarks import tokens
from ifmem.benchmarks.tokens import TokensReport

LOOPS = (1, 2, 6)


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> TokensReport:
    return tokens.run(
        tokens=36_000,
        loops=LOOPS,
        workers=2,
        local_questions=0,
        out=tmp_path_factory.mktemp("out"),
    )


def test_one_loop_costs_more_than_reading_once_and_many_cost_less(report: TokensReport) -> None:
    first, _, last = report.points
    assert [point.loops for point in report.points] == list(LOOPS)
    # Anthropic's price of a write for five minutes: a quarter more than reading once.
    assert first.saving_over_asked == pytest.approx(-0.25, abs=0.01)
    assert report.once.saving == pytest.approx(-0.25, abs=0.01)
    assert last.saving > 0.5


def test_every_saving_follows_from_the_figures_beside_it(report: TokensReport) -> None:
    for point in report.points:
        for baseline, saving in (
            (point.reread, point.saving),
            (point.reread_cached, point.saving_over_cached),
            (point.reread_asked, point.saving_over_asked),
        ):
            assert saving == pytest.approx(1 - point.ours / baseline, abs=1e-3)
    once = report.once
    assert once.saving == pytest.approx(1 - once.ours / once.reread_asked, abs=1e-3)


def test_reading_again_costs_the_same_each_time_and_never_less_than_the_asked_part(
    report: TokensReport,
) -> None:
    for point in report.points:
        assert point.reread == pytest.approx(point.loops * report.points[0].reread, rel=0.01)
        assert point.reread_asked <= point.reread
        assert point.reread_cached < 1.3 * report.points[0].reread + 0.15 * point.reread


def test_the_planted_facts_are_quoted_as_often_as_by_reading_again(report: TokensReport) -> None:
    assert report.accuracy["ours"] >= report.accuracy["reread"] > 0.8


def test_the_report_is_written_and_reads_for_a_person(report: TokensReport) -> None:
    written = json.loads(Path(report.written).read_bytes())
    assert written["points"][-1]["loops"] == LOOPS[-1]
    text = "\n".join(tokens.lines(report))
    assert "where it does not pay" in text
    assert "genai-prices" in text
