"""``bench agents``: how long agents wait, over a shim's streams and over HTTP, beside the library.

Also how soon an agent hears of what another has found, and that nothing is lost when it was away.
"""

from __future__ import annotations

import asyncio
import os
import re
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec

from ifmem import clock
from ifmem.benchmarks import texts
from ifmem.benchmarks.agent_clients import HttpAgent, StdioAgent, agent_at, stdio_agent
from ifmem.benchmarks.agent_news import caught_up, heard
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
from ifmem.benchmarks.throwaway import Throwaway, throwaway
from ifmem.client import launch
from ifmem.client.memory import Memory
from ifmem.errors import Failed
from ifmem.settings import McpSettings, Settings
from ifmem.wire.agent_calls import TokenCreateCall, TokenShape

_CROWD = 32
_WARM_UP = 20
_COLD_STARTS = 5
_UNLIMITED = McpSettings(calls_per_minute=10_000_000, concurrent_calls=1_000)
"""Limits are for agents that run wild; these are meant to."""
_URL = re.compile(rb"http://127\.0\.0\.1:(\d+)/mcp")

Ask = Callable[[str], Awaitable[float]]
"""Asks, and gives the milliseconds until the client had its answer."""


class AgentsReport(msgspec.Struct, frozen=True):
    tokens: int
    first_list: Latency
    """From starting the shim to the list of tools, with a running daemon."""
    cold_list: Latency
    """The same with no daemon."""
    cold_answer: Latency
    """From starting the shim, with no daemon, to the answer of a tool."""
    cold_daemon: Latency
    """From starting the daemon of a loaded memory to its first answer, without an agent."""
    recall: dict[str, Latency]
    """One client, and many, by each way; ``library`` is the daemon's own socket."""
    shim_mb: float | None
    """Resident memory of a shim after its calls, in MB."""
    heard: Latency
    """From one agent's ``remember`` to the notification of another's subscription."""
    found: int
    """Findings of one agent while another was disconnected again and again."""
    lost: int
    """Of these, how many the other one had not got when it had caught up."""
    reconnects: int
    goals: list[Goal]
    conditions: Conditions
    written: str = ""


def run(
    *,
    tokens: int = 800_000,
    n: int = 1_000,
    starts: int = 20,
    out: Path | None = None,
    note: Callable[[str], None] = lambda _: None,
) -> AgentsReport:
    """Load real text, then let agents come and ask.

    Args:
        tokens: at least so many o200k tokens are loaded.
        n: recalls by each way, and findings for those who were away.
        starts: of a shim beside a running daemon.
        out: the folder for the raw samples.

    Raises:
        Refused: there is not enough text.
    """
    return asyncio.run(_run(tokens, n, starts, out, note))


async def _run(
    tokens: int, n: int, starts: int, out: Path | None, note: Callable[[str], None]
) -> AgentsReport:
    raw: dict[str, list[float]] = {}
    async with throwaway(Settings(mcp=_UNLIMITED)) as place:
        corpus = place.directory / "corpus"
        await asyncio.to_thread(
            texts.copy_from_trees, texts.machine_trees(), corpus, at_least=tokens
        )
        note("loading")
        loaded = await place.memory.load(corpus)
        asked = await asyncio.to_thread(questions, corpus, n + _WARM_UP)
        note("recalls")
        shim_mb = await _recalls(place, asked, raw)
        note("starts of the shim")
        raw["first_list"] = [await _first_list(place) for _ in range(starts)]
        note("subscriptions")
        raw["heard"] = await heard(place, min(n, 200))
        lost, reconnects = await caught_up(place, n)
        status = await place.memory.status()
        note("cold starts")
        await _cold(place, raw)
    measured = {name: latency(many) for name, many in raw.items()}
    recall = {name.removeprefix("recall_"): measured[name] for name in raw if "recall" in name}
    report = AgentsReport(
        tokens=loaded.tokens,
        first_list=measured["first_list"],
        cold_list=measured["cold_list"],
        cold_answer=measured["cold_answer"],
        cold_daemon=measured["cold_daemon"],
        recall=recall,
        shim_mb=shim_mb,
        heard=measured["heard"],
        found=n,
        lost=lost,
        reconnects=reconnects,
        goals=_goals(measured, shim_mb, lost, n),
        conditions=conditions(status.redis.version),
    )
    path = write("agents", report, raw, lines=lines(report), out=out, directory=Path.cwd())
    return msgspec.structs.replace(report, written=str(path))


def lines(report: AgentsReport) -> list[str]:
    """The report for a person."""
    rows = [
        latency_row(f"recall, {name.replace('_', ', ')} at once", one)
        for name, one in report.recall.items()
    ]
    rows += [
        latency_row("shim started to tools/list, daemon running", report.first_list),
        latency_row("shim started to tools/list, no daemon", report.cold_list),
        latency_row("shim started to a tool's answer, no daemon", report.cold_answer),
        latency_row("daemon started to its first answer", report.cold_daemon),
        latency_row("remember to the other agent's notification", report.heard),
    ]
    memory = "not told" if report.shim_mb is None else f"{report.shim_mb:.1f} MB"
    return [
        f"agents: {report.tokens:,} tokens loaded",
        *condition_lines(report.conditions),
        "",
        *table(LATENCY_HEADER, rows),
        "",
        f"resident memory of a shim {memory}; {report.lost} of {report.found:,} findings lost over "
        f"{report.reconnects} reconnects",
        *goal_lines(report.goals),
        *([f"samples: {report.written}"] if report.written else []),
    ]


async def _recalls(
    place: Throwaway, asked: Sequence[str], raw: dict[str, list[float]]
) -> float | None:
    """Recall by each way; the memory of a shim after them."""
    home, settings = place.memory.settings.home_path, place.memory.settings
    corpus = place.directory / "corpus"
    async with AsyncExitStack() as stack:
        agents = [await stack.enter_async_context(stdio_agent(home, corpus))]
        await agents[0].shake_hands()
        port, token = await stack.enter_async_context(_serving(settings))
        threads = stack.enter_context(ThreadPoolExecutor(_CROWD))
        by_http = [HttpAgent(port, token) for _ in range(_CROWD)]
        for one in by_http:
            stack.callback(one.close)
        for count in (1, _CROWD):
            while len(agents) < count:
                agents.append(await stack.enter_async_context(stdio_agent(home, corpus)))
                await agents[-1].shake_hands()
            memories = [
                await stack.enter_async_context(Memory.open(settings=settings))
                for _ in range(count)
            ]
            ways: dict[str, list[Ask]] = {
                "library": [_by_library(one) for one in memories],
                "stdio": [_by_stdio(one) for one in agents[:count]],
                "http": [_by_http(one, threads) for one in by_http[:count]],
            }
            for way, clients in ways.items():
                await _ask_all(clients, asked[:_WARM_UP])
                raw[f"recall_{way}_{count}"] = await _ask_all(clients, asked[_WARM_UP:])
        return agents[0].memory_mb()


def _by_library(memory: Memory) -> Ask:
    return lambda question: _timed(memory.recall(question, scope="space"))


def _by_stdio(agent: StdioAgent) -> Ask:
    return lambda question: _timed(agent.call("recall", query=question))


def _by_http(agent: HttpAgent, threads: Executor) -> Ask:
    def ask(question: str) -> float:
        # Timed where it blocks: the way into this thread and back is no part of an agent.
        started = clock.stopwatch_ns()
        agent.call("recall", query=question)
        return clock.milliseconds_since(started)

    loop = asyncio.get_running_loop()
    return lambda question: loop.run_in_executor(threads, ask, question)


async def _timed(call: Awaitable[Any]) -> float:
    started = clock.stopwatch_ns()
    await call
    return clock.milliseconds_since(started)


async def _ask_all(clients: Sequence[Ask], asked: Sequence[str]) -> list[float]:
    """Milliseconds of each question; each client asks the next one that nobody has asked."""
    waiting = list(reversed(asked))
    taken: list[float] = []

    async def client(ask: Ask) -> None:
        while waiting:
            taken.append(await ask(waiting.pop()))

    async with asyncio.TaskGroup() as group:
        for one in clients:
            group.create_task(client(one))
    return taken


@asynccontextmanager
async def _serving(settings: Settings) -> AsyncIterator[tuple[int, str]]:
    """A process of ``ifmem serve``, and a token for it."""
    connection = await launch.connect(settings)
    try:
        made = await connection.call(
            "token_create",
            TokenCreateCall(name="bench"),
            returns=TokenShape,
            space=settings.space,
        )
    finally:
        await connection.close()
    script = Path(sys.executable).with_name("ifmem")
    process = await asyncio.create_subprocess_exec(
        str(script),
        "--home",
        settings.home,
        "serve",
        "--port",
        "0",
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        env={
            **os.environ,
            "IFMEM_CONFIG": os.devnull,
            "IFMEM_MCP__CALLS_PER_MINUTE": str(_UNLIMITED.calls_per_minute),
            "IFMEM_MCP__CONCURRENT_CALLS": str(_UNLIMITED.concurrent_calls),
        },
    )
    try:
        assert process.stdout is not None
        said = await process.stdout.readline()
        found = _URL.search(said)
        if found is None or made.token is None:
            raise Failed(f"`ifmem serve` did not say where it is: {said[:200]!r}")
        yield int(found[1]), made.token
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


async def _first_list(place: Throwaway) -> float:
    started = clock.stopwatch_ns()
    async with agent_at(place) as agent:
        await agent.shake_hands()
        await agent.request("tools/list")
        return clock.milliseconds_since(started)


async def _cold(place: Throwaway, raw: dict[str, list[float]]) -> None:
    """Each time the daemon, and its bus with it, is gone."""
    settings = place.memory.settings
    raw |= {"cold_list": [], "cold_answer": [], "cold_daemon": []}
    for _ in range(_COLD_STARTS):
        await launch.stop(settings)
        started = clock.stopwatch_ns()
        connection = await launch.connect(settings)
        raw["cold_daemon"].append(clock.milliseconds_since(started))
        await connection.close()
        await launch.stop(settings)
        started = clock.stopwatch_ns()
        async with agent_at(place) as agent:
            await agent.shake_hands()
            await agent.request("tools/list")
            raw["cold_list"].append(clock.milliseconds_since(started))
            await agent.call("status")
            raw["cold_answer"].append(clock.milliseconds_since(started))


def _goals(
    measured: dict[str, Latency], shim_mb: float | None, lost: int, found: int
) -> list[Goal]:
    def at_most(what: str, value: float, bound: float) -> Goal:
        return Goal(f"{what} at most {bound:g}", value, value <= bound)

    goals = [
        at_most(
            "shim started to tools/list, daemon running, p50 ms", measured["first_list"].p50_ms, 100
        ),
        at_most(
            "daemon started to its first answer, p50 ms", measured["cold_daemon"].p50_ms, 1_500
        ),
        at_most("remember to the other agent's notification, p50 ms", measured["heard"].p50_ms, 20),
        at_most(f"findings lost of {found:,}", lost, 0),
    ]
    for way in ("stdio", "http"):
        alone = measured[f"recall_{way}_1"]
        goals.append(at_most(f"recall over {way}, one client, p50 ms", alone.p50_ms, 5))
        goals.append(at_most(f"recall over {way}, one client, p99 ms", alone.p99_ms, 25))
    if shim_mb is not None:
        goals.append(at_most("resident memory of a shim, MB", shim_mb, 20))
    return goals
