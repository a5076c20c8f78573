"""The samples of ``bench hot``: one context after the other, cold, hot and in new processes."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from ifmem import clock
from ifmem.benchmarks.hot_prompts import QUESTIONS, PromptSource, asked
from ifmem.benchmarks.restored_process import (
    Restored,
    RestoreOrder,
    first_token,
    measured_call,
)
from ifmem.benchmarks.statistics import Latency, Ratio, latency, ratio
from ifmem.domain.model import Completion
from ifmem.domain.prompt import Prompt
from ifmem.errors import Failed
from ifmem.llm.local_model import LocalModel
from ifmem.model_settings import LocalSettings

MAX_OUTPUT = 8
_LEAST_COLD, _MOST_COLD = 3, 10
_COLD_TOKENS = 10_000
"""Of all cold prompts of one size together: 10 of 512, 5 of 2,000, and 3 of 7,000 at least."""
_PROCESS_SECONDS = 600


class SizePoint(msgspec.Struct, frozen=True):
    """One context. Times are medians in milliseconds, from the call to the first token."""

    context_tokens: int
    """Before the question, the smallest of those measured; as the engine counts."""
    cold_ms: float
    hot_ms: float
    ratio: float
    restored_ms: float
    restored_ratio: float
    cold: Latency
    hot: Latency
    restored: Latency
    hot_interval: Ratio
    restored_interval: Ratio
    cold_evaluated: int
    """Prompt tokens, the median; so are the next ones. All are the engine's own report."""
    cold_reused: int
    hot_evaluated: int
    hot_reused: int
    restored_evaluated: int
    restored_reused: int
    cold_tokens_per_second: float
    saved_bytes: int
    """Of the file that a new process reads."""
    engine_start_ms: float
    """Of that process, before its question: the median; it is not in ``restored_ms``."""


@dataclass(slots=True)
class _Samples:
    """Of one way to ask over one size."""

    ms: list[float] = field(default_factory=list)
    evaluated: list[int] = field(default_factory=list)
    reused: list[int] = field(default_factory=list)

    def add(self, ms: float, evaluated: int, reused: int) -> None:
        self.ms.append(ms)
        self.evaluated.append(evaluated)
        self.reused.append(reused)

    def add_answer(self, done: Completion) -> None:
        usage = done.usage
        self.add(first_token(done), usage.prompt - usage.cache_read, usage.cache_read)


@dataclass(slots=True)
class Series:
    """Measures one size after the other, with one engine."""

    model: LocalModel
    settings: LocalSettings
    directory: Path
    n: int
    """Hot questions of each size."""
    restores: int
    """New processes of each size."""
    ends: float
    """Of ``clock.monotonic``: then no further cold prompt is begun."""
    note: Callable[[str], None]
    name: str = ""
    """Of the weights, once one has answered."""

    async def at(self, size: int, source: PromptSource, raw: dict[str, list[float]]) -> SizePoint:
        """One size, in all three ways."""
        cold, prefix, held = await self._cold(size, source)
        hot = await self._hot(held)
        restored, starts, saved = await self._restored(held)
        for what, samples in (("cold", cold), ("hot", hot), ("restored", restored)):
            raw[f"{size}_{what}"] = samples.ms
        raw[f"{size}_engine_start"] = starts
        against_hot, against_restored = ratio(cold.ms, hot.ms), ratio(cold.ms, restored.ms)
        times = [latency(samples.ms) for samples in (cold, hot, restored)]
        return SizePoint(
            context_tokens=prefix,
            cold_ms=times[0].p50_ms,
            hot_ms=times[1].p50_ms,
            ratio=against_hot.value,
            restored_ms=times[2].p50_ms,
            restored_ratio=against_restored.value,
            cold=times[0],
            hot=times[1],
            restored=times[2],
            hot_interval=against_hot,
            restored_interval=against_restored,
            cold_evaluated=_median(cold.evaluated),
            cold_reused=_median(cold.reused),
            hot_evaluated=_median(hot.evaluated),
            hot_reused=_median(hot.reused),
            restored_evaluated=_median(restored.evaluated),
            restored_reused=_median(restored.reused),
            cold_tokens_per_second=round(_median(cold.evaluated) / times[0].p50_ms * 1000, 1),
            saved_bytes=saved,
            engine_start_ms=latency(starts).p50_ms,
        )

    async def _cold(self, size: int, source: PromptSource) -> tuple[_Samples, int, Prompt]:
        """Prompts of different text, each into an erased slot; the last one stays there."""
        samples = _Samples()
        planned = max(_LEAST_COLD, min(_MOST_COLD, _COLD_TOKENS // size))
        prefixes = []
        while True:
            prompt = await source.of_size(size)
            self.note(f"{size:,} tokens, cold {len(samples.ms) + 1} of {planned}")
            done = await self._ask(prompt)
            self.name = done.model
            samples.add_answer(done)
            prefixes.append(done.usage.cache_write)
            late = clock.monotonic() + samples.ms[-1] / 1000 > self.ends
            if len(samples.ms) >= planned or (late and len(samples.ms) >= _LEAST_COLD):
                return samples, min(prefixes), prompt
            if done.handle is None:
                raise Failed("the engine does not hold what it was given")
            await self.model.drop(done.handle)

    async def _hot(self, held: Prompt) -> _Samples:
        samples = _Samples()
        # Not counted: it may wait until the cold prompt's slot is saved.
        await self._ask(asked(held, "Is the text long?"))
        self.note(f"hot, {self.n} questions")
        for turn in range(self.n):
            question = QUESTIONS[turn % len(QUESTIONS)]
            samples.add_answer(await self._ask(asked(held, question)))
        return samples

    async def _restored(self, held: Prompt) -> tuple[_Samples, list[float], int]:
        """The same context in new processes, one after the other."""
        samples, starts = _Samples(), []
        for turn in range(self.restores):
            self.note(f"restored, process {turn + 1} of {self.restores}")
            order = RestoreOrder(
                settings=self.settings,
                directory=str(self.directory),
                rules=held.rules,
                documents=held.documents,
                question=asked(held, QUESTIONS[-1 - turn]).question,
                max_output=MAX_OUTPUT,
            )
            came = await asyncio.to_thread(_in_new_process, order)
            samples.add(came.first_token_ms, came.evaluated, came.reused)
            starts.append(came.engine_start_ms)
        (saved,) = self.directory.glob("*.slot")
        size = saved.stat().st_size
        await self.model.drop(saved.name)
        return samples, starts, size

    async def _ask(self, prompt: Prompt) -> Completion:
        return await self.model.complete(measured_call(prompt, MAX_OUTPUT))


def _in_new_process(order: RestoreOrder) -> Restored:
    try:
        done = subprocess.run(
            [sys.executable, "-m", "ifmem.benchmarks.restored_process"],
            input=msgspec.json.encode(order),
            capture_output=True,
            timeout=_PROCESS_SECONDS,
            check=True,
        )
    except subprocess.CalledProcessError as error:
        raise Failed(f"the restoring process failed: {error.stderr.decode()[-500:]}") from error
    return msgspec.json.decode(done.stdout, type=Restored)


def _median(values: Sequence[int]) -> int:
    return sorted(values)[len(values) // 2]
