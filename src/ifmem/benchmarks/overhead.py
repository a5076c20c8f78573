"""``bench overhead`` (B3): what a question to models takes beyond the models themselves.

The models answer at once, from a server on loopback; each question goes to every shard, and each
shard is read whole. What is left of the question's time after its longest call is ours: routing,
prompts, the account's commits, proofs, joining.
"""

from __future__ import annotations

import asyncio
import json
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from ifmem.benchmarks import texts
from ifmem.benchmarks.conditions import Conditions, conditions
from ifmem.benchmarks.query import questions
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
from ifmem.benchmarks.throwaway import throwaway
from ifmem.client.memory import Memory
from ifmem.model_settings import ModelSettings, ProviderEntry
from ifmem.settings import Settings, ShardSettings
from ifmem.testing.loopback import Event, LoopbackServer, Request, Stream

_ASKING = "List every place that says: "
"""A question about the whole goes to every shard."""
_WARM_UP = 10
_WINDOW = 400_000
_CAPACITY = 210_000
"""Four shards hold 800K tokens."""


class OverheadReport(msgspec.Struct, frozen=True):
    tokens: int
    shards: int
    shards_asked: float
    """By a question, on average."""
    found: float
    overhead: Latency
    """A question's time in the daemon less its longest model call."""
    longest_call: Latency
    """Of a question: a client's encoding and a server's reading of half a million characters."""
    first_ms: float
    """The first question: every shard is rendered and counted for the first time."""
    calls: int
    goals: list[Goal]
    conditions: Conditions
    written: str = ""


class InstantServer(LoopbackServer):
    """A server of OpenAI's protocol whose model knows at once whether a line is in its prompt."""

    def answer(self, request: Request) -> Stream:
        """The line that was asked for as a quote of the document that holds it, or nothing."""
        text = "".join(message["content"] for message in request.body["messages"])
        documents, _, asked = text.rpartition(_ASKING)
        return Stream(_chunks(_said(documents, asked.splitlines()[0]), len(text) // 4))


def run(
    *,
    tokens: int = 800_000,
    n: int = 200,
    out: Path | None = None,
    note: Callable[[str], None] = lambda _: None,
) -> OverheadReport:
    """Load real text into shards that are read whole, and ask models that take no time.

    Args:
        tokens: at least so many o200k tokens are loaded.
        n: questions, one after the other.
        out: the folder for the raw samples.

    Raises:
        Refused: there is not enough text.
    """
    return asyncio.run(_run(tokens, n, out, note))


async def _run(
    tokens: int, n: int, out: Path | None, note: Callable[[str], None]
) -> OverheadReport:
    with InstantServer(keep=0) as server:
        async with throwaway(_settings(server)) as place:
            corpus = place.directory / "corpus"
            copied = await asyncio.to_thread(
                texts.copy_text,
                texts.library_files(),
                texts.standard_library(),
                corpus,
                at_least=tokens,
            )
            note(f"loading {copied.tokens:,} tokens of {copied.files:,} files")
            loaded = await place.memory.load(corpus)
            asked = await asyncio.to_thread(questions, corpus, n + _WARM_UP)
            note(f"{n} questions to {len(loaded.shards)} whole shards")
            answers = [
                await place.memory.ask(_ASKING + line, scope="space", fresh=True) for line in asked
            ]
            longest = await _longest_calls(place.memory)
            status = await place.memory.status()
    measured = answers[_WARM_UP:]
    calls = [longest[answer.query_id] for answer in measured]
    ours = [answer.elapsed_ms - call for answer, call in zip(measured, calls, strict=True)]
    overhead = latency(ours)
    shards_asked = sum(len(answer.shards_asked) for answer in measured) / len(measured)
    report = OverheadReport(
        tokens=loaded.tokens,
        shards=len(loaded.shards),
        shards_asked=round(shards_asked, 2),
        found=round(sum(answer.found for answer in measured) / len(measured), 3),
        overhead=overhead,
        longest_call=latency(calls),
        first_ms=answers[0].elapsed_ms,
        calls=sum(len(answer.shards) for answer in measured),
        goals=[
            Goal(
                f"everything but the model over {shards_asked:.0f} shards, p95 at most 50 ms",
                overhead.p95_ms,
                overhead.p95_ms <= 50,
            )
        ],
        conditions=conditions(status.redis.version),
    )
    raw = {"overhead": ours, "longest_call": calls}
    path = write("overhead", report, raw, lines=lines(report), out=out, directory=Path.cwd())
    return msgspec.structs.replace(report, written=str(path))


def lines(report: OverheadReport) -> list[str]:
    """The report for a person."""
    return [
        f"overhead: {report.tokens:,} tokens in {report.shards} shards, each read whole by a model "
        f"that answers at once; {report.shards_asked:g} asked by a question, one client",
        *condition_lines(report.conditions),
        "",
        *table(
            LATENCY_HEADER,
            [
                latency_row("everything but the longest model call", report.overhead),
                latency_row("that call, over loopback", report.longest_call),
            ],
        ),
        "",
        f"the first question took {report.first_ms:,.0f} ms: shards rendered and counted",
        f"answers found {report.found:.1%}, {report.calls:,} calls",
        *goal_lines(report.goals),
        *([f"samples: {report.written}"] if report.written else []),
    ]


def _settings(server: InstantServer) -> Settings:
    return Settings(
        shards=ShardSettings(capacity=_CAPACITY),
        models=ModelSettings(
            default="own:instant", synthesis="extractive", quality_cap=_WINDOW, keep_hot="off"
        ),
        providers=(
            ProviderEntry(
                name="own",
                protocol="openai",
                vendor="vllm",
                base_url=f"{server.url}/v1",
                free=True,
                structured=True,
                window=_WINDOW,
            ),
        ),
    )


async def _longest_calls(memory: Memory) -> dict[str, float]:
    """Milliseconds of the longest call of each question."""
    found: dict[str, float] = defaultdict(float)
    async for entry in memory.ledger():
        call = entry.call
        if call is not None and call.question_id is not None and call.total_ms is not None:
            found[call.question_id] = max(found[call.question_id], call.total_ms)
    return found


def _said(documents: str, line: str) -> str:
    place = documents.find(line)
    opened = documents.rfind("<document ", 0, place) if place >= 0 else -1
    number = documents[opened + 10 : opened + 20].split(" ")[0] if opened >= 0 else ""
    quotes = [{"document": int(number), "quote": line, "claim": line}] if number.isdigit() else []
    return json.dumps(
        {
            "found": bool(quotes),
            "quotes": quotes,
            "answer": line if quotes else "",
            "confidence": 1,
            "missing": "",
        }
    )


def _chunks(text: str, prompt_tokens: int) -> Iterator[Event]:
    head = {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": "instant"}
    delta = {"role": "assistant", "content": text}
    yield Event(head | {"choices": [{"index": 0, "delta": delta, "finish_reason": None}]})
    yield Event(head | {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
    usage = {
        "prompt_tokens": prompt_tokens,
        "completion_tokens": 20,
        "total_tokens": prompt_tokens + 20,
        "prompt_tokens_details": {"cached_tokens": prompt_tokens},
    }
    yield Event(head | {"choices": [], "usage": usage})
    yield Event("[DONE]")
