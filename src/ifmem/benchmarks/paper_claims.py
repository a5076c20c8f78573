"""The seed paper's claims, each beside what was measured in the same run and what follows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import msgspec

from ifmem.benchmarks.load import LoadBenchReport
from ifmem.benchmarks.phases import Seen
from ifmem.benchmarks.statistics import percentile
from ifmem.benchmarks.tokens import TokensReport

Verdict = Literal["held", "not held", "cannot be measured"]

_ACCESSIBLE = 800_000
_NO_KEY = "a vendor's model needs a key and a network; this run has neither"


class CheckedClaim(msgspec.Struct, frozen=True):
    """A claim of the paper, and what became of it in this run."""

    source: str
    """Where the paper says so."""
    says: str
    verdict: Verdict
    measured: str = ""
    baseline: str = ""
    """What it is compared with, measured in the same run."""
    why: str = ""


@dataclass(frozen=True, slots=True)
class Figures:
    """What this run measured, and why it did not measure the rest."""

    seen: Seen
    account: TokensReport | None
    load: LoadBenchReport | None
    why_no_account: str = ""
    why_no_load: str = ""


def judged(figures: Figures) -> list[CheckedClaim]:
    """Every claim of the paper's tables of results."""
    loading = (
        ("3.1", "800K tokens of context load in 17.85 ms"),
        ("3.1", "before, it took 2,500 ms"),
        ("3.1", "loading is 140× faster than before"),
        ("3.1", "latency at the 95th percentile is 28 ms, 150× below what it was"),
        ("1.2 and 3.2", "a shard loads in 4.7 ms while three others load beside it"),
        ("1.2 and 3.3", "more than 800K tokens are accessible"),
    )
    spending = (
        ("3.1 and 3.2", "70 % of tokens are saved"),
        ("3.1", "what is cached is read for 0 tokens"),
        ("3.1", "a question costs 67 % less"),
    )
    return [
        *_outcomes(
            loading,
            None if figures.load is None else _of_load(figures.load),
            figures.why_no_load,
        ),
        *_outcomes(
            spending,
            None if figures.account is None else _of_account(figures.account),
            figures.why_no_account,
        ),
        *_of_life(figures.seen),
    ]


@dataclass(frozen=True, slots=True)
class _Outcome:
    is_held: bool
    measured: str
    baseline: str = ""
    why: str = ""


def _outcomes(
    claims: tuple[tuple[str, str], ...], outcomes: list[_Outcome] | None, why_not: str
) -> Iterator[CheckedClaim]:
    if outcomes is None:
        for source, says in claims:
            yield CheckedClaim(source, says, "cannot be measured", why=why_not)
        return
    for (source, says), one in zip(claims, outcomes, strict=True):
        verdict: Verdict = "held" if one.is_held else "not held"
        yield CheckedClaim(source, says, verdict, one.measured, one.baseline, one.why)


def _of_load(loaded: LoadBenchReport) -> list[_Outcome]:
    full, warm = loaded.baselines["full"], loaded.baselines["warm_read"]
    again = (
        "walking, reading, splitting and counting the same files: "
        f"p50 {full.p50_ms:.1f} ms (n {full.n})"
    )
    one = loaded.per_shard
    enough = loaded.tokens >= _ACCESSIBLE
    less = "" if enough else f"only {loaded.tokens:,} tokens were loaded; "
    return [
        _Outcome(
            enough and loaded.p50_ms <= 17.85,
            f"p50 {loaded.p50_ms:.2f} ms (n {loaded.n}) for {loaded.tokens:,} tokens, decoded and "
            "checked in a process that held only the URL",
            again,
            f"{less}the paper timed one write and one read of a single value, once",
        ),
        _Outcome(
            full.p50_ms >= 2_500,
            again,
            f"the bytes alone, from the page cache: p50 {warm.p50_ms:.2f} ms (n {warm.n})",
            "2,500 is a constant in the paper's source",
        ),
        _Outcome(
            enough and full.ratio_low >= 140,
            f"{full.ratio:.0f}×, 95 % interval {full.ratio_low:.0f} to {full.ratio_high:.0f}",
            again,
            f"{less}the baseline sets the ratio: against the bytes alone it is {warm.ratio:.2f}×",
        ),
        _Outcome(
            enough and loaded.p95_ms <= 28 and full.ratio_low >= 150,
            f"p95 of loading {loaded.p95_ms:.2f} ms (n {loaded.n}); {full.ratio:.0f}× by medians",
            again,
            f"{less}the paper does not say of what, and recorded no percentiles",
        ),
        _Outcome(
            one.p50_ms <= 4.7,
            f"p50 {one.p50_ms:.2f} ms, p95 {one.p95_ms:.2f} ms (n {one.n}), from "
            f"{min(loaded.shards):,} tokens on each",
            f"all of them in one pipeline: p50 {loaded.p50_ms:.2f} ms (n {loaded.n})",
        ),
        _Outcome(
            enough and loaded.sha256_verified,
            f"{loaded.tokens:,} tokens in {len(loaded.shards)} shards, every file's text by "
            "sha256 the same as read again",
            why=f"{less}how much of it answers a question, `ifmem bench needles` says",
        ),
    ]


def _of_account(account: TokensReport) -> list[_Outcome]:
    last = account.points[-1]
    again = (
        f"all documents in the prompt of each of {last.loops} questions: {last.reread:,} input "
        "equivalents, billed by the same server"
    )
    by_loops = ", ".join(f"{one.saving:.1%} at {one.loops}" for one in account.points)
    each = float(account.cost_usd) / account.questions
    return [
        _Outcome(
            last.saving >= 0.7,
            f"{last.saving:.1%} of the input after {last.loops} questions ({by_loops})",
            again,
            f"with the provider's cache alone, reading all again costs {last.reread_cached:,}: "
            f"against that {last.saving_over_cached:.1%} are saved",
        ),
        _Outcome(
            last.ours <= 0,
            f"{last.ours / last.loops:,.0f} input equivalents a question",
            again,
            "what a model reads is in its prompt and is billed, wherever it was kept; only an "
            "answer from the answer cache costs none",
        ),
        _Outcome(
            last.saving >= 0.67,
            f"{last.saving:.1%} of the input's price; ${each:.6f} a question with its output, at "
            f"the prices of {account.model} ({account.price_source}, {account.price_as_of})",
            again,
            "the paper's 0.0012 and 0.00036 dollars have no source, and are 70 % apart",
        ),
    ]


def _of_life(seen: Seen) -> Iterator[CheckedClaim]:
    asked = "nothing was asked"
    if seen.ask_ms:
        asked = (
            f"an extractive shard took p50 {percentile(seen.ask_ms, 0.5):.1f} ms "
            f"(n {len(seen.ask_ms)}), without a model"
        )
    yield CheckedClaim(
        "3.2",
        "a live Haiku shard answers in 3 seconds",
        "cannot be measured",
        why=f"{_NO_KEY}; {asked}",
    )
    yield _seen(
        "3.3",
        "the publish/subscribe pattern is implemented",
        None if seen.seen_ms is None else True,
        "" if seen.seen_ms is None else f"a follower had a finding after {seen.seen_ms:.1f} ms",
        "phase 1 did not come to it",
    )
    yield _seen(
        "3.3",
        "each result can be traced to its evidence (100 % compliance)",
        None
        if seen.audit_intact is None
        else seen.audit_intact and seen.verified == seen.cited > 0,
        f"{seen.verified} of {seen.cited} citations verified again; audit of {seen.audit_rows} "
        f"rows {'intact' if seen.audit_intact else 'broken'}",
        "phase 2 did not come to it",
    )
    yield CheckedClaim(
        "3.1",
        "before, 70 % of tokens were read again for nothing",
        "cannot be measured",
        why="it is about a system that nobody but its authors has",
    )


def _seen(source: str, says: str, held: bool | None, measured: str, why_not: str) -> CheckedClaim:
    if held is None:
        return CheckedClaim(source, says, "cannot be measured", why=why_not)
    return CheckedClaim(source, says, "held" if held else "not held", measured)
