"""``bench archive``: what a large archive costs: answers, briefs, checks, quotas, a back-up."""

from __future__ import annotations

import asyncio
import random
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import msgspec

from ifmem import clock
from ifmem.benchmarks import export, filled_store, quota, verify
from ifmem.benchmarks.conditions import Conditions, conditions
from ifmem.benchmarks.export import RoundTrip
from ifmem.benchmarks.report import (
    LATENCY_HEADER,
    Goal,
    condition_lines,
    goal_lines,
    latency_row,
    table,
    write,
)
from ifmem.benchmarks.statistics import Latency, latency
from ifmem.benchmarks.verify import VerifyFigures
from ifmem.client import launch
from ifmem.client.memory import Memory
from ifmem.errors import IntegrityError
from ifmem.settings import RetrievalSettings, Settings
from ifmem.wire.agent_calls import Brief, BriefCall

_RUN = "past"
_WARM_UP = 20
_SEED = 11


class QuotaFigures(msgspec.Struct, frozen=True):
    """Callers of several processes that draw on one pool."""

    processes: int
    callers: int
    """Of all processes together."""
    asked: int
    granted: int
    refunded: int
    charged: int
    limit: int
    """Calls that the pool had: half of those asked for."""
    lost: int
    """Calls charged that nobody was granted, or the other way round."""
    least_left: int
    """The least number of calls that anybody was ever shown."""
    exact: bool
    reserve: Latency
    reservations_per_s: int


class ArchiveReport(msgspec.Struct, frozen=True):
    findings: int
    """Archived, all of one session that ended."""
    ended_s: float
    """To end that session: from the call to its answer."""
    answers: Latency
    """Of the extractive librarian, from the question to the verified answer."""
    recalls: Latency
    """The same questions by ``recall``, live and archive."""
    live_recalls: Latency
    """The same with ``--archive never``: what is live is empty."""
    briefs: Latency
    quota: QuotaFigures
    verify: VerifyFigures
    round_trip: RoundTrip
    goals: list[Goal]
    conditions: Conditions
    written: str = ""


@dataclass(frozen=True, slots=True)
class _Sizes:
    findings: int
    n: int
    rounds: int
    citations: int
    tokens: int


def run(
    *,
    findings: int = 100_000,
    n: int = 1_000,
    rounds: int = 1_000,
    citations: int = 20_000,
    tokens: int = 1_000_000,
    out: Path | None = None,
    note: Callable[[str], None] = lambda _: None,
) -> ArchiveReport:
    """Archive findings and ask for them; then quotas, verification, export and import.

    Args:
        findings: how many are archived, and how many are exported and imported.
        n: questions, and briefs.
        rounds: of every caller in the measurement of quotas.
        citations: to be verified.
        tokens: of the documents that are exported.
        out: the folder for the raw samples.

    Raises:
        IntegrityError: an answer was not the right one.
    """
    with tempfile.TemporaryDirectory(prefix="ifmem-") as directory:
        sizes = _Sizes(findings, n, rounds, citations, tokens)
        return asyncio.run(_run(Path(directory), sizes, out, note))


async def _run(
    directory: Path, sizes: _Sizes, out: Path | None, note: Callable[[str], None]
) -> ArchiveReport:
    home, findings, n = directory / "home", sizes.findings, sizes.n
    note("filling the store")
    await asyncio.to_thread(filled_store.fill, home, findings, note, run=_RUN)
    settings = Settings(home=str(home), retrieval=RetrievalSettings(semantic="off"))
    raw: dict[str, list[float]] = {}
    try:
        async with Memory.open(settings=settings) as memory:
            note("ending the session")
            started = clock.stopwatch_ns()
            await memory.end_session(_RUN)
            ended_s = clock.milliseconds_since(started) / 1_000
            note("questions")
            await _asked(memory, findings, n, raw)
            note("briefs")
            await _briefs(memory, n, raw)
            server = (await memory.status()).redis.version
    finally:
        await launch.stop(settings)
    note("quotas")
    drawn = await asyncio.to_thread(quota.measure, rounds=sizes.rounds)
    quotas = msgspec.convert(drawn, QuotaFigures)
    note("verification")
    verified = await verify.measure(
        citations=sizes.citations, files=min(500, max(1, sizes.citations // 40)), note=note
    )
    note("export and import")
    round_trip = await asyncio.to_thread(
        export.measure, findings=findings, tokens=sizes.tokens, note=note
    )
    measured = {name: latency(samples) for name, samples in raw.items()}
    report = ArchiveReport(
        findings=findings,
        ended_s=round(ended_s, 2),
        answers=measured["answers"],
        recalls=measured["recalls"],
        live_recalls=measured["live_recalls"],
        briefs=measured["briefs"],
        quota=quotas,
        verify=verified,
        round_trip=round_trip,
        goals=_goals(measured, quotas, verified, round_trip),
        conditions=conditions(server),
    )
    path = write("archive", report, raw, lines=lines(report), out=out, directory=Path.cwd())
    return msgspec.structs.replace(report, written=str(path))


def lines(report: ArchiveReport) -> list[str]:
    """The report for a person."""
    quotas, trip = report.quota, report.round_trip
    return [
        f"archive: {report.findings:,} findings of a session, ended in {report.ended_s:.1f} s",
        *condition_lines(report.conditions),
        "",
        *table(
            LATENCY_HEADER,
            [
                latency_row("ask, answered by an extractive librarian", report.answers),
                latency_row("recall, live and archive", report.recalls),
                latency_row("recall, live only (which is empty)", report.live_recalls),
                latency_row("brief at a session's start", report.briefs),
                latency_row("a reservation of a quota", quotas.reserve),
            ],
        ),
        "",
        f"quota: {quotas.asked:,} reservations asked for by {quotas.callers} callers in "
        f"{quotas.processes} processes; {quotas.charged:,} charged of {quotas.limit:,}, "
        f"{quotas.lost} lost, never below {quotas.least_left}",
        f"verify: {report.verify.citations:,} citations of {report.verify.files:,} files, "
        f"{report.verify.rate_p50:,.0f} a second (slowest run {report.verify.rate_worst:,.0f})",
        f"export of {trip.findings:,} findings and {trip.tokens:,} tokens while "
        f"{trip.written_during_export:,} were written: {trip.export_s:.1f} s, "
        f"{trip.bytes:,} bytes; "
        f"import {trip.import_s:.1f} s; content hash {'equal' if trip.is_equal else 'DIFFERENT'}",
        *goal_lines(report.goals),
        *([f"samples: {report.written}"] if report.written else []),
    ]


async def _asked(memory: Memory, findings: int, n: int, raw: dict[str, list[float]]) -> None:
    """Questions for crates that are in the archive; a wrong answer fails the run."""
    chance = random.Random(_SEED)
    crates = [chance.randrange(findings) for _ in range(n + _WARM_UP)]
    raw |= {"answers": [], "recalls": [], "live_recalls": []}
    for crate in crates:
        question = f"How many pounds does crate c{crate} weigh?"
        started = clock.stopwatch_ns()
        answer = await memory.ask(question, archive="always")
        raw["answers"].append(clock.milliseconds_since(started))
        if filled_store.finding_id(crate) not in [one.finding_id for one in answer.citations]:
            raise IntegrityError(f"crate c{crate} was not answered for", answer=answer.text)
        started = clock.stopwatch_ns()
        await memory.recall(question, archive="always")
        raw["recalls"].append(clock.milliseconds_since(started))
        started = clock.stopwatch_ns()
        await memory.recall(question, archive="never")
        raw["live_recalls"].append(clock.milliseconds_since(started))
    for samples in raw.values():
        del samples[:_WARM_UP]


async def _briefs(memory: Memory, n: int, raw: dict[str, list[float]]) -> None:
    connection = await launch.connect(memory.settings)
    raw["briefs"] = []
    try:
        for _ in range(min(n, 200)):
            started = clock.stopwatch_ns()
            await connection.call("brief", BriefCall(), returns=Brief, space=memory.settings.space)
            raw["briefs"].append(clock.milliseconds_since(started))
    finally:
        await connection.close()


def _goals(
    measured: dict[str, Latency],
    quotas: QuotaFigures,
    verified: VerifyFigures,
    trip: RoundTrip,
) -> list[Goal]:
    answers, briefs = measured["answers"].p95_ms, measured["briefs"].p95_ms
    wrong = abs(quotas.charged - quotas.limit) + abs(quotas.lost)
    return [
        Goal("an extractive librarian's answer, p95 ms at most 100", answers, answers <= 100),
        Goal("a brief, p95 ms at most 200", briefs, briefs <= 200),
        Goal("calls charged wrongly or lost: none", wrong, quotas.exact and wrong == 0),
        Goal(
            "citations verified a second, slowest run, at least 5,000",
            verified.rate_worst,
            verified.rate_worst >= 5_000,
        ),
        Goal("content hashes that differ: none", int(not trip.is_equal), trip.is_equal),
    ]
