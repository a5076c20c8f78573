"""``bench hot``: cold, hot and restored time to the first token on a real local model."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from ifmem import clock
from ifmem.benchmarks.conditions import Conditions, conditions
from ifmem.benchmarks.hot_prompts import PromptSource
from ifmem.benchmarks.hot_series import Series, SizePoint
from ifmem.benchmarks.report import Goal, condition_lines, goal_lines, table, write
from ifmem.llm.local_engine import BATCH_TOKENS, binding
from ifmem.llm.local_model import LocalModel
from ifmem.model_settings import LocalSettings

SIZES = (512, 2_000, 7_000)
LARGE = 7_000
"""From so many tokens on the goals hold."""


class HotReport(msgspec.Struct, frozen=True):
    model: str
    sizes: list[SizePoint]
    goals: list[Goal]
    engine: str
    """How it was set up."""
    n: str
    """How many of each were measured, and why."""
    conditions: Conditions
    written: str = ""


def run(
    *,
    sizes: Sequence[int] = SIZES,
    n: int = 20,
    restores: int = 5,
    minutes: float = 14,
    settings: LocalSettings | None = None,
    out: Path | None = None,
    note: Callable[[str], None] = lambda _: None,
) -> HotReport:
    """Ask over real text: cold, then hot, then in a new process.

    Args:
        sizes: tokens before the question.
        n: hot questions of each size, all different.
        restores: new processes of each size.
        minutes: when they are over, no further cold prompt is begun; each size has three at least.
        settings: of the local model; its window bounds the sizes.
        out: the folder for the raw samples.

    Raises:
        ConfigError: the extra or its weights are missing.
        ContextOverflow: a size does not fit the window.
    """
    return asyncio.run(_run(sizes, n, restores, minutes, settings or LocalSettings(), out, note))


async def _run(
    sizes: Sequence[int],
    n: int,
    restores: int,
    minutes: float,
    settings: LocalSettings,
    out: Path | None,
    note: Callable[[str], None],
) -> HotReport:
    before = conditions(f"llama.cpp in xllamacpp {binding().__version__}")
    ends = clock.monotonic() + minutes * 60
    raw: dict[str, list[float]] = {}
    # One slot, so that nothing is held but what is measured.
    used = msgspec.structs.replace(settings, slots=1, saved_bytes=1 << 34)
    with tempfile.TemporaryDirectory(prefix="ifmem-hot-") as directory:
        model = LocalModel(used, directory=Path(directory))
        try:
            await model.load()
            series = Series(model, used, Path(directory), n, restores, ends, note)
            source = PromptSource(model.count)
            points = [await series.at(size, source, raw) for size in sizes]
        finally:
            await model.aclose()
    report = HotReport(
        model=series.name,
        sizes=points,
        goals=_goals(points),
        engine=f"{used.threads} thread(s), window {used.context:,}, {BATCH_TOKENS} tokens a "
        "batch, no flash attention, keys and values as f16, greedy",
        n=", ".join(
            f"{point.context_tokens:,} tokens: cold {point.cold.n}, hot {point.hot.n}, "
            f"restored {point.restored.n}"
            for point in points
        ),
        conditions=msgspec.structs.replace(
            before,
            persistence="slots saved in files, read by a new process while the system still has "
            "them in memory",
            tokenizer="the model's own",
        ),
    )
    path = write("hot", report, raw, lines=lines(report), out=out, directory=Path.cwd())
    return msgspec.structs.replace(report, written=str(path))


def lines(report: HotReport) -> list[str]:
    """The report for a person."""
    rows = []
    for point in report.sizes:
        for what, times, evaluated, reused, better in (
            ("cold", point.cold, point.cold_evaluated, point.cold_reused, None),
            ("hot", point.hot, point.hot_evaluated, point.hot_reused, point.hot_interval),
            (
                "restored",
                point.restored,
                point.restored_evaluated,
                point.restored_reused,
                point.restored_interval,
            ),
        ):
            rows.append(
                [
                    f"{point.context_tokens:,} tokens, {what}",
                    str(times.n),
                    f"{times.p50_ms:,.0f}",
                    f"{times.p95_ms:,.0f}",
                    f"{evaluated:,}",
                    f"{reused:,}",
                    "" if better is None else f"{better.value:,.0f}×",
                    "" if better is None else f"{better.low:,.0f}–{better.high:,.0f}",
                ]
            )
    header = ("ms to the first token", "n", "p50", "p95", "evaluated", "reused", "ratio", "95 %")
    return [
        f"hot: {report.model}, in this process; {report.engine}",
        "text of Python's standard library in the prompt of a shard; tokens as the engine reports",
        *condition_lines(report.conditions),
        "",
        *table(header, rows),
        "",
        *(
            f"{point.context_tokens:,} tokens: cold {point.cold_tokens_per_second:,.0f} tokens/s; "
            f"saved {point.saved_bytes / 1e6:,.1f} MB; a new process starts its engine in "
            f"{point.engine_start_ms:,.0f} ms before that"
            for point in report.sizes
        ),
        *goal_lines(report.goals),
        *([f"samples: {report.written}"] if report.written else []),
    ]


def _goals(points: Sequence[SizePoint]) -> list[Goal]:
    large = [point for point in points if point.context_tokens >= LARGE]
    goals = []
    for point in large:
        over = f"at {point.context_tokens:,} tokens"
        hot, restored = point.ratio, point.restored_ratio
        goals += [
            Goal(f"hot first token at least 100× sooner {over}", hot, hot >= 100),
            Goal(f"hot first token 140× sooner {over} (aim)", hot, hot >= 140),
            Goal(f"restored in a new process at least 80× sooner {over}", restored, restored >= 80),
        ]
    return goals
