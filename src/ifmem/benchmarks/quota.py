"""Quota under concurrency: as many calls are granted as there are, whoever asks at once."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec

from ifmem import clock
from ifmem.archive_settings import ArchiveSettings, LibrarianEntry, QuotaEntry
from ifmem.benchmarks.quota_process import QuotaOrder, QuotaSeen
from ifmem.benchmarks.statistics import latency
from ifmem.domain.quota import Remaining
from ifmem.errors import Failed
from ifmem.runtime.quotas import Quotas
from ifmem.settings import Settings

PROCESSES, CALLERS, ROUNDS = 4, 16, 1_000
_LIBRARIANS = 4
_LINE_BYTES = 64 * 1024 * 1024


def measure(
    *,
    processes: int = PROCESSES,
    callers: int = CALLERS,
    rounds: int = ROUNDS,
    directory: Path | None = None,
) -> dict[str, Any]:
    """Callers of several processes draw on one pool that has half the calls they ask for.

    In the first quarter of the rounds every fourth call fails and is given back, and the end of
    some is never told. ``lost`` counts calls that the pool was charged beyond those granted and
    not given back, or the other way round; ``exact`` says that what is left is 0, that no more and
    no fewer than the limit stayed charged, and that nothing below 0 was ever shown.

    Args:
        processes: that draw.
        callers: in each of them.
        rounds: reservations that each caller asks for.
        directory: where ``quotas.db`` lies meanwhile; None: a temporary one.

    Raises:
        Failed: a process ended before it had told what it saw.
    """
    with contextlib.ExitStack() as stack:
        if directory is None:
            directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ifmem-")))
        return asyncio.run(_measured(directory, processes, callers, rounds))


async def _measured(directory: Path, processes: int, callers: int, rounds: int) -> dict[str, Any]:
    limit = processes * callers * rounds // 2
    settings = metered(limit, per_minute=processes * callers * rounds + 1)
    path = directory / "quotas.db"
    # The clock stands: a day that began meanwhile would give its calls, too.
    at = clock.now()
    orders = [
        QuotaOrder(
            path=str(path),
            settings=settings,
            space=f"space-{index % 2}",
            callers=callers,
            rounds=rounds,
            refunded_before=rounds // 4,
            unheard_before=rounds // 4,
            at=at,
        )
        for index in range(processes)
    ]
    began = clock.stopwatch_ns()
    seen = await drawn(orders)
    elapsed_ms = clock.milliseconds_since(began)
    left = await _left(path, settings, at)
    charged = sum(one.granted - one.refunded for one in seen)
    lost = (limit - min(one.calls for one in left)) - charged
    least = min(one.least_left for one in seen)
    return {
        "processes": processes,
        "callers": processes * callers,
        "rounds": rounds,
        "limit": limit,
        "asked": sum(one.asked for one in seen),
        "granted": sum(one.granted for one in seen),
        "refunded": sum(one.refunded for one in seen),
        "unheard": sum(one.unheard for one in seen),
        "charged": charged,
        "refused": sum(one.exhausted for one in seen),
        "lost": lost,
        "least_left": least,
        "exact": lost == 0 and charged == limit and least >= 0,
        "reserve": msgspec.to_builtins(latency([ms for one in seen for ms in one.reserve_ms])),
        "seconds": round(elapsed_ms / 1000, 1),
        "reservations_per_s": round(sum(one.asked for one in seen) / elapsed_ms * 1000),
    }


def metered(limit: int, *, per_minute: int, librarians: int = _LIBRARIANS) -> Settings:
    """Settings with librarians that each may take the whole of one pool, as far as it lasts."""
    return Settings(
        archive=ArchiveSettings(librarians=librarians),
        librarians=tuple(
            LibrarianEntry(number, model="gemini:any") for number in range(1, librarians + 1)
        ),
        quotas=(QuotaEntry("pool", "gemini", daily=limit, per_minute=per_minute),),
    )


async def drawn(orders: Sequence[QuotaOrder]) -> list[QuotaSeen]:
    """What the callers of these processes were told, who all begin when each of them runs."""
    async with AsyncExitStack() as stack:
        running = [await stack.enter_async_context(_process(order)) for order in orders]
        for process in running:
            if await _line(process) != b"ready\n":
                raise Failed("a process of the quota benchmark did not start")
        for process in running:
            _stdin(process).write(b"go\n")
        return [msgspec.json.decode(await _line(process), type=QuotaSeen) for process in running]


@asynccontextmanager
async def _process(order: QuotaOrder) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "ifmem.benchmarks.quota_process"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=_LINE_BYTES,
    )
    try:
        _stdin(process).write(msgspec.json.encode(order) + b"\n")
        yield process
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
        await process.communicate()


async def _line(process: asyncio.subprocess.Process) -> bytes:
    assert process.stdout is not None
    line = await process.stdout.readline()
    if not line:
        raise Failed("a process of the quota benchmark ended before it had told what it saw")
    return line


def _stdin(process: asyncio.subprocess.Process) -> asyncio.StreamWriter:
    assert process.stdin is not None
    return process.stdin


async def _left(path: Path, settings: Settings, at: datetime) -> list[Remaining]:
    quotas = Quotas(path, settings, now=lambda: at)
    try:
        return [one for n in range(2) for one in await quotas.remaining(f"space-{n}")]
    finally:
        await quotas.aclose()
