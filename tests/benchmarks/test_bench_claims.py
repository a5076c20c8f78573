"""``bench claims``, small: its parts, its samples, and misses as large as what was reached."""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec
import pytest

from ifmem.benchmarks import claims
from ifmem.benchmarks.claims import ClaimsReport
from ifmem.benchmarks.durable_queue import DurableOrder, measure_durable, sync_times
from ifmem.benchmarks.our_queue import Ours
from ifmem.benchmarks.queue_figures import Pace
from ifmem.benchmarks.under_fire import Fire
from ifmem.errors import Failed, Invalid

FIRE = Fire(tasks=20, workers=2, concurrency=2, lease_seconds=1.5, work_seconds=0.1)
CALM = msgspec.structs.replace(FIRE, kills=0, pauses=0)
PACE = Pace(per_second=150, seconds=1, warm_up=10)


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> ClaimsReport:
    return claims.run(
        fire=CALM,
        queue_tasks=100,
        rounds=2,
        pace=PACE,
        durable_tasks=300,
        in_flight=256,
        out=tmp_path_factory.mktemp("out"),
    )


def test_every_task_under_fire_is_done_once(report: ClaimsReport) -> None:
    assert report.fire is not None
    assert (report.fire.effects.posted, report.fire.effects.done) == (FIRE.tasks, FIRE.tasks)
    assert not any(report.fire.effects.violations.values())
    shown = [goal for goal in report.goals if goal.goal.endswith(": 0")]
    assert len(shown) == len(report.fire.effects.violations)


def test_ours_is_measured_beside_the_bare_list_and_whatever_is_installed(
    report: ClaimsReport,
) -> None:
    ours, *others = report.queues
    assert ours.name == "ifmem"
    assert others[-1].name == "plain-list"
    assert [one.name for one in report.compared] == [one.name for one in others]
    written = msgspec.json.decode(Path(report.written).read_bytes())["samples_ms"]
    assert len(written["ifmem_drain"]) == 2
    assert len(written["ifmem_latency"]) == PACE.tasks
    against = report.compared[-1].drain
    assert against.low <= against.value <= against.high


def test_durable_stands_beside_what_the_disk_allows(report: ClaimsReport) -> None:
    durable = report.durable
    assert durable is not None
    assert durable.post.n == durable.finish.n == 300
    assert 0 < durable.unfinished <= 300
    assert durable.together_per_s == pytest.approx(256 * durable.alone_per_s, rel=0.01)
    assert any("with one for 256" in line for line in claims.lines(report))


def test_what_was_missed_is_printed_as_large_as_what_was_reached(report: ClaimsReport) -> None:
    missed = msgspec.structs.replace(
        report, goals=[msgspec.structs.replace(goal, reached=False) for goal in report.goals]
    )
    for goal in report.goals:
        for shape in (report, missed):
            assert any(goal.goal in line and "REACHED" in line for line in claims.lines(shape))
    assert not any(line.startswith("REACHED") for line in claims.lines(missed))


def test_only_a_part_that_exists_can_be_left_out(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match="fire, speed, durable"):
        claims.run(skip=["drain"], out=tmp_path)


def test_durable_figures_of_a_bus_that_is_not_there_are_refused() -> None:
    order = DurableOrder("unix:///nonexistent/bus.sock", "bench", 1, 1)
    with pytest.raises(Failed, match="without figures"):
        asyncio.run(measure_durable(order))


def test_syncs_are_timed_and_leave_nothing_behind(tmp_path: Path) -> None:
    taken = sync_times(tmp_path, 5)
    assert len(taken) == 5
    assert min(taken) > 0
    assert list(tmp_path.iterdir()) == []


def test_our_queue_says_what_it_promises_and_under_which_settings() -> None:
    ours = Ours(in_flight=7)
    assert ours.version
    assert ours.delivery.startswith("at least once")
    assert "accepted, 7 in flight" in ours.settings
