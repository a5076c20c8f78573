"""``bench query``, small: latencies inside and outside for each verb and number of clients."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from ifmem.benchmarks import query
from ifmem.benchmarks.query import QueryReport

N = 12


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> QueryReport:
    out = tmp_path_factory.mktemp("out")
    return query.run(tokens=20_000, n=N, clients=(1, 3), out=out)


def test_each_verb_is_measured_with_each_number_of_clients(report: QueryReport) -> None:
    points = [(point.verb, point.clients) for point in report.points]
    assert points == [("recall", 1), ("ask", 1), ("recall", 3), ("ask", 3)]
    for point in report.points:
        assert point.inside.n == point.end_to_end.n == N
        assert 0 < point.inside.p50_ms <= point.end_to_end.p50_ms
    assert all(point.found == 1.0 for point in report.points if point.verb == "recall")


def test_the_goals_for_one_client_and_for_many_are_judged(report: QueryReport) -> None:
    shards = report.shards
    alone, crowd = (
        msgspec.structs.replace(report.points[1], clients=clients) for clients in (1, 32)
    )
    goals = query._goals([alone, crowd], 800_000, shards, 2.0, None)
    judged = {goal.goal: (goal.measured, goal.reached) for goal in goals}
    inside, outside = alone.inside.p95_ms, crowd.end_to_end.p95_ms
    name = f"ask over {shards} shards inside the daemon, one client, p95 at most 50 ms"
    assert judged[name] == (inside, inside <= 50)
    name = "ask end to end, 32 clients at once, p95 at most 100 ms"
    assert judged[name] == (outside, outside <= 100)


def test_the_samples_behind_each_figure_are_written(report: QueryReport) -> None:
    samples = msgspec.json.decode(Path(report.written).read_bytes())["samples_ms"]
    assert len(samples) == 2 * len(report.points)
    assert all(len(one) == N for one in samples.values())


def test_the_report_says_how_much_text_of_where_was_loaded(report: QueryReport) -> None:
    assert report.tokens >= 20_000 * 0.97
    assert report.text
    assert report.ingest_mb_per_s == pytest.approx(
        report.bytes / 1e6 / report.ingest_seconds, abs=0.006
    )
    text = "\n".join(query.lines(report))
    assert all(root in text for root in report.text)


def test_questions_are_the_same_each_time_and_come_from_the_text(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(
        "The ferry leaves at dawn on market days\nx = 1\nTickets are sold on the quay only\n",
        encoding="utf-8",
    )
    asked = query.questions(tmp_path, 4)
    assert asked == query.questions(tmp_path, 4)
    assert set(asked) == {
        "The ferry leaves at dawn on market days",
        "Tickets are sold on the quay only",
    }
