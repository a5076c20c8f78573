"""``bench delivery``, small: followers that are killed lose nothing, bare subscribers do."""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec
import pytest

from ifmem.benchmarks import delivery
from ifmem.benchmarks.chaos import Blow, ChaosEvent
from ifmem.benchmarks.delivery import DeliveryReport, Paced, Struck
from ifmem.benchmarks.followed_findings import Following, followed
from ifmem.benchmarks.following_process import id_of
from ifmem.benchmarks.throwaway import throwaway
from ifmem.errors import Invalid

STRUCK = Struck(findings=300, per_second=100, followers=2, kills=2, pauses=1)
PACED = Paced(findings=100, per_second=50, processes=2, in_each=2, warm_up=20)


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> DeliveryReport:
    return delivery.run(struck=STRUCK, paced=PACED, out=tmp_path_factory.mktemp("out"))


def test_followers_lose_nothing_under_the_blows_that_bare_subscribers_get(
    report: DeliveryReport,
) -> None:
    chaos = report.chaos
    assert chaos is not None
    assert (chaos.kills, chaos.pauses) == (2, 1)
    assert chaos.ours.lost == [0, 0]
    assert chaos.ours.out_of_order == [0, 0]
    assert chaos.ours.published == chaos.pubsub.published == STRUCK.findings
    assert chaos.pubsub_lost == sum(chaos.pubsub.lost) > 0
    assert chaos.pubsub_lost_share == pytest.approx(
        chaos.pubsub_lost / (STRUCK.findings * 2), abs=1e-4
    )


def test_each_follower_s_wait_for_each_finding_is_a_sample(report: DeliveryReport) -> None:
    written = msgspec.json.decode(Path(report.written).read_bytes())["samples_ms"]
    for name in ("daemon", "bus", "pubsub"):
        assert len(written[name]) == PACED.findings * 4
        assert min(written[name]) > 0
    assert report.latency is not None
    assert report.latency.daemon.p50_ms == pytest.approx(sorted(written["daemon"])[199], abs=0.01)


def test_goals_stand_in_the_report_for_people_reached_or_not(report: DeliveryReport) -> None:
    missed = msgspec.structs.replace(
        report, goals=[msgspec.structs.replace(goal, reached=False) for goal in report.goals]
    )
    assert len(report.goals) == 5
    for goal in report.goals:
        for shape in (report, missed):
            assert any(goal.goal in line and "REACHED" in line for line in delivery.lines(shape))
    assert not any(line.startswith("REACHED") for line in delivery.lines(missed))


def test_a_follower_without_a_cursor_is_told_everything_again_after_a_kill() -> None:
    async def run() -> list[int]:
        async with throwaway() as place:
            url = (await place.memory.status()).redis.url
            told, _ = await followed(
                place.memory.settings,
                url,
                place.directory,
                Following("bus", findings=100, per_second=100, processes=2),
                events=(ChaosEvent(0.8, Blow.KILL, 1),),
            )
            assert told.lost == [0, 0]
            return told.repeated

    left_alone, killed = asyncio.run(run())
    assert left_alone == 0
    assert killed > 30


def test_ids_of_findings_follow_from_run_and_number() -> None:
    ids = {id_of(run, number) for run in ("a", "b") for number in range(10)}
    assert len(ids) == 20
    assert id_of("a", 3) == id_of("a", 3)


def test_only_a_part_that_exists_can_be_left_out(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match="chaos, latency"):
        delivery.run(skip=["pubsub"], out=tmp_path)
