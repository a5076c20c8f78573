"""``ifmem validate``: the seed paper's four phases and its claims, run and measured anew."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import msgspec

from ifmem import clock
from ifmem.benchmarks import load, paper_claims, tokens
from ifmem.benchmarks.conditions import Conditions, conditions
from ifmem.benchmarks.load import LoadBenchReport
from ifmem.benchmarks.paper_claims import CheckedClaim, Figures
from ifmem.benchmarks.phases import Phase, live
from ifmem.benchmarks.report import condition_lines, table
from ifmem.benchmarks.tokens import TokensReport
from ifmem.errors import IfMemError

Measured = TypeVar("Measured")

_TOKENS = 40_000
_LOADS, _BASELINES, _ROUNDS = 20, 4, 2


class ValidationReport(msgspec.Struct, frozen=True):
    """What the paper said, and what became of it."""

    phases: list[Phase]
    claims: list[CheckedClaim]
    passed: bool
    """Every phase did; a claim that does not hold is a result, no failure."""
    seconds: float
    conditions: Conditions


def run(
    *,
    shard_tokens: int = load.SHARD_TOKENS,
    questions: int = 10,
    note: Callable[[str], None] = lambda _: None,
) -> ValidationReport:
    """Run the phases in memories of their own, of which nothing is left, and judge the claims.

    Args:
        shard_tokens: in each of the four shards that are loaded in parallel.
        questions: in the account of tokens; at most 60.
        note: told what is done.
    """
    started = clock.stopwatch_ns()
    loops = sorted({n for n in (1, 2, 5) if n < questions} | {questions})
    (one, two, three), seen = asyncio.run(live(note))
    with tempfile.TemporaryDirectory(prefix="ifmem-") as folder:
        note(f"phase 3: the account of tokens of {questions} questions")
        account = _measured(lambda: _account(loops, Path(folder)))
        note(f"phase 4: parallel shard loading, 4 × {shard_tokens:,} tokens")
        begun = clock.stopwatch_ns()
        loaded = _measured(lambda: _loaded(shard_tokens, Path(folder)))
        four = _fourth(loaded, clock.milliseconds_since(begun))
    phases = [one, two, _with_account(three, account), four]
    figures = Figures(
        seen,
        None if isinstance(account, str) else account,
        None if isinstance(loaded, str) else loaded,
        why_no_account=account if isinstance(account, str) else "",
        why_no_load=loaded if isinstance(loaded, str) else "",
    )
    return ValidationReport(
        phases=phases,
        claims=paper_claims.judged(figures),
        passed=all(phase.passed for phase in phases),
        seconds=round(clock.milliseconds_since(started) / 1_000, 1),
        conditions=conditions(seen.server),
    )


def lines(report: ValidationReport) -> list[str]:
    """The report for a person."""
    shown = []
    for phase in report.phases:
        state = "PASSED" if phase.passed else "FAILED"
        shown.append(
            f"{state} phase {phase.phase}, {phase.name} ({phase.seconds:.1f} s; the paper: "
            f"{phase.paper})"
        )
        shown += [f"       {said}" for said in phase.evidence]
    shown.append("")
    for claim in report.claims:
        shown.append(f"{claim.verdict.upper():<18} {claim.says}  [{claim.source}]")
        shown += [f"       measured: {claim.measured}"] if claim.measured else []
        shown += [f"       baseline: {claim.baseline}"] if claim.baseline else []
        shown += [f"       {claim.why}"] if claim.why else []
    verdicts = sorted({claim.verdict for claim in report.claims})
    counted = [[one, f"{sum(c.verdict == one for c in report.claims)}"] for one in verdicts]
    return [
        *shown,
        "",
        *table(("claims of the paper", "n"), counted),
        "",
        *condition_lines(report.conditions),
        f"{report.seconds:.0f} s in all; nothing of it is left on this machine",
    ]


def _account(loops: Sequence[int], out: Path) -> TokensReport:
    return tokens.run(tokens=_TOKENS, loops=loops, workers=2, local_questions=0, out=out)


def _loaded(shard_tokens: int, out: Path) -> LoadBenchReport:
    return load.run(
        n=_LOADS, baseline_n=_BASELINES, shard_tokens=shard_tokens, rounds=_ROUNDS, out=out
    )


def _measured(work: Callable[[], Measured]) -> Measured | str:
    """What was measured, or why it was not."""
    try:
        return work()
    except IfMemError as error:
        return error.message


def _with_account(phase: Phase, account: TokensReport | str) -> Phase:
    """The third phase with its account; without the vendor's extra it has none."""
    if isinstance(account, str):
        evidence = [*phase.evidence, f"no account of tokens: {account}"]
    else:
        last = account.points[-1]
        evidence = [
            *phase.evidence,
            f"{last.loops} questions over {account.tokens:,} tokens: {last.ours:,.0f} input "
            f"equivalents billed, {last.reread:,.0f} by reading all again (saved "
            f"{last.saving:.1%}), {last.reread_cached:,.0f} with the provider's cache (saved "
            f"{last.saving_over_cached:.1%})",
        ]
    return msgspec.structs.replace(phase, evidence=evidence)


def _fourth(loaded: LoadBenchReport | str, taken_ms: float) -> Phase:
    seconds = round(taken_ms / 1_000, 2)
    name, paper = "parallel shard loading", "4.7 ms per shard"
    if isinstance(loaded, str):
        return Phase(4, name, paper, False, seconds, [loaded])
    one, walls = loaded.per_shard, loaded.modes["connections"]
    evidence = [
        f"{len(loaded.shards)} shards, {loaded.tokens:,} tokens, {loaded.bytes:,} bytes; sha256 of "
        "every file's text verified",
        f"one shard of {len(loaded.shards)} at once: n {one.n}, p50 {one.p50_ms:.2f} ms, p95 "
        f"{one.p95_ms:.2f} ms",
        f"all of them over as many connections: n {walls.n}, p50 {walls.p50_ms:.2f} ms; in one "
        f"pipeline: n {loaded.n}, p50 {loaded.p50_ms:.2f} ms, p95 {loaded.p95_ms:.2f} ms",
    ]
    return Phase(4, name, paper, loaded.sha256_verified, seconds, evidence)
