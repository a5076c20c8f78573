"""How fast citations are verified whose sources did not change: a part of ``bench archive``."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path

import msgspec

from ifmem import clock
from ifmem.benchmarks import texts
from ifmem.benchmarks.statistics import percentile
from ifmem.benchmarks.throwaway import throwaway
from ifmem.client.memory import Memory
from ifmem.errors import Failed, Refused

_AT_ONCE = 32
_LEAST_LINES = 8


class VerifyFigures(msgspec.Struct, frozen=True):
    """Citations a second, and how long all of them took."""

    citations: int
    findings: int
    files: int
    bytes: int
    """Of the files."""
    n: int
    """Runs over all of them."""
    rate_p50: float
    rate_worst: float
    p50_ms: float
    """Of a run: the citations only."""
    p95_ms: float
    first_ms: float
    """The first run, which no figure above counts: digests and texts were never read."""
    audit_rows: int
    audit_ms: float
    """The walk along the chain of the audit, once."""
    samples_ms: list[float]


async def measure(
    *,
    citations: int = 20_000,
    files: int = 500,
    per_finding: int = 5,
    n: int = 20,
    note: Callable[[str], None] = lambda _: None,
) -> VerifyFigures:
    """Verify so many citations of real files, again and again, as ``memory.verify()`` does.

    Args:
        citations: of one line each, spread over the files.
        files: of the standard library.
        per_finding: citations of each finding.
        n: measured runs.
        note: told what is done.

    Raises:
        Refused: the library has too few files.
        Failed: a citation was not verified: then no time counts.
    """
    async with throwaway() as place:
        copied = await asyncio.to_thread(_copy, place.directory / "corpus", files)
        await place.memory.load(place.directory / "corpus")
        note(f"{citations:,} citations of {files} files")
        findings = await _cite(place.memory, copied, citations, per_finding)
        size = sum(path.stat().st_size for path in copied)
        samples = [await _run(place.memory, citations) for _ in range(n + 1)]
        started = clock.stopwatch_ns()
        verdict = await place.memory.verify_audit()
        audit_ms = clock.milliseconds_since(started)
    if not verdict.audit.intact:
        raise Failed(f"the audit is broken at row {verdict.audit.first_broken}")
    first, *runs = samples
    return VerifyFigures(
        citations=citations,
        findings=findings,
        files=files,
        bytes=size,
        n=n,
        rate_p50=round(1_000 * citations / percentile(runs, 0.5)),
        rate_worst=round(1_000 * citations / max(runs)),
        p50_ms=round(percentile(runs, 0.5), 1),
        p95_ms=round(percentile(runs, 0.95), 1),
        first_ms=round(first, 1),
        audit_rows=verdict.audit.rows,
        audit_ms=round(audit_ms, 1),
        samples_ms=runs,
    )


def _copy(into: Path, files: int) -> list[Path]:
    """Copies of so many files with some lines."""
    into.mkdir()
    copied: list[Path] = []
    for path in texts.library_files():
        try:
            text = path.read_bytes().decode("utf-8")
        except UnicodeDecodeError:
            continue
        if text.count("\n") >= _LEAST_LINES:
            copy = into / f"{len(copied):04}_{path.name}"
            copy.write_text(text, encoding="utf-8", newline="")
            copied.append(copy)
        if len(copied) == files:
            return copied
    raise Refused(f"the standard library has only {len(copied)} of the {files} files needed")


async def _cite(memory: Memory, paths: Sequence[Path], citations: int, per_finding: int) -> int:
    """Remember findings until they have so many citations; how many findings."""
    places = islice(_places(paths), citations)
    claims = 0

    async def work() -> None:
        nonlocal claims
        while cited := list(islice(places, per_finding)):
            claims += 1
            await memory.remember(f"Finding {claims} of this run.", cite=cited)

    async with asyncio.TaskGroup() as group:
        for _ in range(_AT_ONCE):
            group.create_task(work())
    return claims


def _places(paths: Sequence[Path]) -> Iterator[str]:
    """Lines of the files that say something, as citations: one of each file, then the next."""
    said = [
        [
            n
            for n, line in enumerate(path.read_text(encoding="utf-8").split("\n"), 1)
            if line.strip()
        ]
        for path in paths
    ]
    turn = 0
    while True:
        for path, lines in zip(paths, said, strict=True):
            yield f"{path}:{lines[turn % len(lines)]}"
        turn += 1


async def _run(memory: Memory, citations: int) -> float:
    """Milliseconds of one run over all citations.

    Raises:
        Failed: one was not verified.
    """
    started = clock.stopwatch_ns()
    found = await memory.verify_citations()
    taken = clock.milliseconds_since(started)
    if found.counts.verified != citations:
        raise Failed(f"{found.counts.verified:,} of {citations:,} citations were verified")
    return taken
