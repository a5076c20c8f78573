"""A process that asks over a slot that another process has saved.

Run as ``python -m ifmem.benchmarks.restored_process``: one JSON object in, one out.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import msgspec

from ifmem import clock
from ifmem.domain.model import Completion, ModelCall, Purpose
from ifmem.domain.prompt import Prompt
from ifmem.llm.local_model import LocalModel
from ifmem.model_settings import LocalSettings


class RestoreOrder(msgspec.Struct, frozen=True):
    settings: LocalSettings
    directory: str
    """Where the slot is saved."""
    rules: str
    documents: str
    question: str
    max_output: int


class Restored(msgspec.Struct, frozen=True):
    first_token_ms: float
    """From the call to the first token, with the file checked and read; the engine runs."""
    engine_start_ms: float
    """Before that, once in a process: the weights are read."""
    evaluated: int
    reused: int


async def restore(order: RestoreOrder) -> Restored:
    """Start an engine and ask it."""
    model = LocalModel(order.settings, directory=Path(order.directory))
    try:
        started = clock.stopwatch_ns()
        await model.load()
        engine_start_ms = clock.milliseconds_since(started)
        prompt = Prompt(
            name="hot",
            version=1,
            rules=order.rules,
            documents=order.documents,
            question=order.question,
        )
        done = await model.complete(measured_call(prompt, order.max_output))
    finally:
        await model.aclose()
    return Restored(
        first_token_ms=first_token(done),
        engine_start_ms=engine_start_ms,
        evaluated=done.usage.prompt - done.usage.cache_read,
        reused=done.usage.cache_read,
    )


def measured_call(prompt: Prompt, max_output: int) -> ModelCall:
    """A call that nobody accounts for: it is free."""
    return ModelCall(
        call_id=clock.new_id(), prompt=prompt, purpose=Purpose.ANSWER, max_output=max_output
    )


def first_token(done: Completion) -> float:
    """Milliseconds to the first token; to the end of an answer that had none."""
    return done.total_ms if done.first_token_ms is None else done.first_token_ms


if __name__ == "__main__":
    given = msgspec.json.decode(sys.stdin.buffer.read(), type=RestoreOrder)
    sys.stdout.buffer.write(msgspec.json.encode(asyncio.run(restore(given))))
