"""``bench agents``, small: every way is measured, the goals are judged, and losses are counted."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from ifmem.benchmarks import agents
from ifmem.benchmarks.agents import AgentsReport

N = 20


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> AgentsReport:
    return agents.run(tokens=20_000, n=N, starts=2, out=tmp_path_factory.mktemp("out"))


def test_each_way_is_measured_alone_and_in_a_crowd(report: AgentsReport) -> None:
    ways = {f"{way}_{count}" for way in ("library", "stdio", "http") for count in (1, 32)}
    assert report.recall.keys() == ways
    assert all(one.n == N and one.p50_ms > 0 for one in report.recall.values())


def test_what_an_agent_missed_while_away_is_caught_up(report: AgentsReport) -> None:
    assert (report.found, report.lost) == (N, 0)
    assert report.reconnects == 10


def test_the_samples_behind_each_figure_are_written(report: AgentsReport) -> None:
    samples = msgspec.json.decode(Path(report.written).read_bytes())["samples_ms"]
    assert {"first_list", "cold_list", "cold_answer", "cold_daemon", "heard"} <= samples.keys()
    assert len(samples["recall_http_32"]) == N


def test_a_missed_goal_is_printed_as_such(report: AgentsReport) -> None:
    slow = msgspec.structs.replace(report.heard, p50_ms=21.0)
    measured = dict.fromkeys(("first_list", "cold_daemon", "heard"), slow)
    measured |= {f"recall_{way}_1": slow for way in ("stdio", "http")}
    judged = {goal.goal: goal.reached for goal in agents._goals(measured, 30.0, 1, N)}
    assert judged["remember to the other agent's notification, p50 ms at most 20"] is False
    assert judged[f"findings lost of {N} at most 0"] is False
    assert judged["resident memory of a shim, MB at most 20"] is False
    assert judged["shim started to tools/list, daemon running, p50 ms at most 100"] is True
