"""``bench delivery`` (B7): findings and their followers, killed and paused, beside bare pub/sub."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from pathlib import Path

import msgspec

from ifmem.benchmarks.chaos import Blow, ChaosEvent, schedule
from ifmem.benchmarks.conditions import Conditions, conditions
from ifmem.benchmarks.followed_findings import TEXT_BYTES, Following, followed
from ifmem.benchmarks.following_process import Way
from ifmem.benchmarks.plain_pubsub import plain_pubsub
from ifmem.benchmarks.report import (
    LATENCY_HEADER,
    Goal,
    condition_lines,
    goal_lines,
    latency_row,
    table,
    write,
)
from ifmem.benchmarks.seen_findings import Delivery
from ifmem.benchmarks.skipping import require_parts
from ifmem.benchmarks.statistics import Latency, Ratio, latency, ratio
from ifmem.benchmarks.throwaway import Throwaway, throwaway

PARTS = ("chaos", "latency")
P50_GOAL_MS, P99_GOAL_MS = 4.0, 20.0
_SEED = 29
_DAEMON = "Memory.follow with a consumer, through the daemon"
_BUS = "Worker.follow, on the bus"
_PLAIN = "bare pub/sub, a process each"


class Struck(msgspec.Struct, frozen=True):
    """How many findings are published, and what happens to those who follow."""

    findings: int = 10_000
    per_second: float = 250.0
    followers: int = 8
    """Processes, each with one follower."""
    kills: int = 24
    """A killed follower is started again at once."""
    pauses: int = 24
    seed: int = _SEED

    def events(self) -> tuple[ChaosEvent, ...]:
        """The blows, while findings are published; the same for the same seed."""
        return schedule(
            self.seed,
            processes=self.followers,
            seconds=self.findings / self.per_second,
            kills=self.kills,
            pauses=self.pauses,
        )


class Paced(msgspec.Struct, frozen=True):
    """Of the latency from publishing to seeing."""

    findings: int = 2_000
    per_second: float = 100.0
    processes: int = 4
    in_each: int = 4
    """Followers in each process, each with a connection of its own."""
    warm_up: int = 200


class ChaosReport(msgspec.Struct, frozen=True):
    struck: Struck
    kills: int
    pauses: int
    ours: Delivery
    pubsub: Delivery
    ours_lost: int
    """After catching up."""
    ours_repeated: int
    """Told again under the same id, after a kill; under another id the run fails."""
    ours_out_of_order: int
    pubsub_lost: int
    pubsub_lost_share: float
    """Of all that the subscribers together should have seen."""


class LatencyReport(msgspec.Struct, frozen=True):
    paced: Paced
    daemon: Latency
    """The main figure: followers whose cursor the store keeps, through the daemon."""
    bus: Latency
    """Members of the space, each with a subscription of its own."""
    pubsub: Latency
    """As many processes as there are followers; the floor, without a guarantee."""
    pubsub_over_daemon: Ratio
    """How many times as long bare pub/sub takes as the main figure, p50; below 1 it is quicker."""


class DeliveryReport(msgspec.Struct, frozen=True):
    chaos: ChaosReport | None
    latency: LatencyReport | None
    goals: list[Goal]
    conditions: Conditions
    written: str = ""


def run(
    *,
    struck: Struck | None = None,
    paced: Paced | None = None,
    skip: Collection[str] = (),
    out: Path | None = None,
    note: Callable[[str], None] = lambda _: None,
) -> DeliveryReport:
    """Publish findings to followers that are killed and paused; then, in peace, at a pace.

    Args:
        struck: findings and followers of the first part.
        paced: of the second.
        skip: parts that are left out, of ``PARTS``.
        out: the folder for the raw samples.

    Raises:
        Invalid: there is no such part to leave out.
        Failed: a follower does not come up or does not end.
    """
    require_parts(skip, PARTS)
    return asyncio.run(_run(struck or Struck(), paced or Paced(), skip, out, note))


async def _run(
    struck: Struck,
    paced: Paced,
    skip: Collection[str],
    out: Path | None,
    note: Callable[[str], None],
) -> DeliveryReport:
    raw: dict[str, list[float]] = {}
    async with throwaway() as place:
        redis = (await place.memory.status(show_secrets=True)).redis
        chaos = times = None
        if "chaos" not in skip:
            chaos = await _chaos(place, redis.url, struck, note)
        if "latency" not in skip:
            times = await _latency(place, redis.url, paced, raw, note)
    report = DeliveryReport(
        chaos=chaos,
        latency=times,
        goals=_goals(chaos, times),
        conditions=conditions(redis.version),
    )
    path = write("delivery", report, raw, lines=lines(report), out=out, directory=Path.cwd())
    return msgspec.structs.replace(report, written=str(path))


async def _chaos(
    place: Throwaway, url: str, struck: Struck, note: Callable[[str], None]
) -> ChaosReport:
    events = struck.events()
    note(f"{struck.findings:,} messages of bare pub/sub, {len(events)} blows")
    pubsub, _ = await plain_pubsub(
        url,
        _folder(place, "struck"),
        findings=struck.findings,
        per_second=struck.per_second,
        subscribers=struck.followers,
        events=events,
        size=TEXT_BYTES,
    )
    note(f"{struck.findings:,} findings, the same blows")
    following = Following("daemon", struck.findings, struck.per_second, struck.followers)
    settings = place.memory.settings
    ours, _ = await followed(settings, url, place.directory, following, events=events)
    return ChaosReport(
        struck=struck,
        kills=sum(one.blow is Blow.KILL for one in events),
        pauses=sum(one.blow is Blow.PAUSE for one in events),
        ours=ours,
        pubsub=pubsub,
        ours_lost=ours.lost_in_all,
        ours_repeated=sum(ours.repeated),
        ours_out_of_order=sum(ours.out_of_order),
        pubsub_lost=pubsub.lost_in_all,
        pubsub_lost_share=round(pubsub.lost_in_all / (struck.findings * struck.followers), 4),
    )


async def _latency(
    place: Throwaway,
    url: str,
    paced: Paced,
    raw: dict[str, list[float]],
    note: Callable[[str], None],
) -> LatencyReport:
    followers = paced.processes * paced.in_each
    settings = place.memory.settings
    ways: tuple[Way, ...] = ("daemon", "bus")
    for way in ways:
        note(f"{paced.findings:,} findings at {paced.per_second:g}/s to {followers}: {way}")
        following = Following(
            way,
            paced.findings,
            paced.per_second,
            processes=paced.processes,
            in_each=paced.in_each,
            warm_up=paced.warm_up,
        )
        _, raw[way] = await followed(settings, url, place.directory, following)
    note(f"{paced.findings:,} messages at {paced.per_second:g}/s to {followers}: bare pub/sub")
    _, raw["pubsub"] = await plain_pubsub(
        url,
        _folder(place, "in-peace"),
        findings=paced.findings,
        per_second=paced.per_second,
        subscribers=followers,
        events=(),
        size=TEXT_BYTES,
    )
    return LatencyReport(
        paced=paced,
        daemon=latency(raw["daemon"]),
        bus=latency(raw["bus"]),
        pubsub=latency(raw["pubsub"]),
        pubsub_over_daemon=ratio(raw["pubsub"], raw["daemon"]),
    )


def _folder(place: Throwaway, name: str) -> Path:
    """A folder of its own: a subscriber goes on with the file it finds."""
    folder = place.directory / name
    folder.mkdir()
    return folder


def _goals(chaos: ChaosReport | None, times: LatencyReport | None) -> list[Goal]:
    goals = []
    if chaos is not None:
        goals += [
            Goal("findings lost by followers: 0", chaos.ours_lost, chaos.ours_lost == 0),
            Goal("findings out of order: 0", chaos.ours_out_of_order, chaos.ours_out_of_order == 0),
            Goal(
                "bare pub/sub under the same blows loses some",
                chaos.pubsub_lost,
                chaos.pubsub_lost > 0,
            ),
        ]
    if times is not None:
        p50, p99 = times.daemon.p50_ms, times.daemon.p99_ms
        goals += [
            Goal(f"published to seen, p50 at most {P50_GOAL_MS:g} ms", p50, p50 <= P50_GOAL_MS),
            Goal(f"published to seen, p99 at most {P99_GOAL_MS:g} ms", p99, p99 <= P99_GOAL_MS),
        ]
    return goals


def lines(report: DeliveryReport) -> list[str]:
    """The report for a person."""
    return [
        "delivery: findings and their followers",
        *condition_lines(report.conditions),
        *(_chaos_lines(report.chaos) if report.chaos else []),
        *(_latency_lines(report.latency) if report.latency else []),
        "",
        *goal_lines(report.goals),
        *([f"samples: {report.written}"] if report.written else []),
    ]


def _chaos_lines(given: ChaosReport) -> list[str]:
    struck = given.struck
    rows = [
        (_DAEMON, *_sums(given.ours)),
        ("bare pub/sub", *_sums(given.pubsub)),
    ]
    return [
        "",
        f"{struck.findings:,} findings at {struck.per_second:g}/s to {struck.followers} processes, "
        f"{given.kills} kills and {given.pauses} pauses, seed {struck.seed}; after catching up:",
        *table(("", "to be seen", "lost", "repeated", "out of order"), rows),
        f"bare pub/sub lost {given.pubsub_lost_share:.1%}; what is repeated has the same id",
    ]


def _sums(given: Delivery) -> tuple[str, str, str, str]:
    counts = (
        given.published * given.subscribers,
        given.lost_in_all,
        sum(given.repeated),
        sum(given.out_of_order),
    )
    wanted, lost, repeated, out_of_order = (f"{count:,}" for count in counts)
    return wanted, lost, repeated, out_of_order


def _latency_lines(given: LatencyReport) -> list[str]:
    paced, against = given.paced, given.pubsub_over_daemon
    return [
        "",
        f"published to seen: {paced.findings:,} findings at {paced.per_second:g}/s, "
        f"{paced.processes * paced.in_each} followers in {paced.processes} processes, each with "
        "its own connection",
        *table(
            LATENCY_HEADER,
            [
                latency_row(_DAEMON, given.daemon),
                latency_row(_BUS, given.bus),
                latency_row(_PLAIN, given.pubsub),
            ],
        ),
        f"p50 of bare pub/sub over the first: {against.value:.2f} "
        f"({against.low:.2f}-{against.high:.2f})",
    ]
