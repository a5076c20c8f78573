"""The first three phases of the seed paper, run on a memory of their own: alive, asked, killed."""

from __future__ import annotations

import asyncio
import hashlib
import os
import signal
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

import msgspec

from ifmem import clock
from ifmem.benchmarks.load_probe import ProbeCall, probe
from ifmem.benchmarks.planted import Needle
from ifmem.benchmarks.served_memory import plant_corpus
from ifmem.benchmarks.statistics import percentile
from ifmem.benchmarks.throwaway import Throwaway, throwaway
from ifmem.client.memory import Memory
from ifmem.errors import Failed, IfMemError
from ifmem.wire.answers import Answer

_TOKENS = 40_000
_QUESTIONS = 10
_ROUNDS = 5
"""Each question is asked so often, for its times."""
_PATIENCE_S = 20.0


class Phase(msgspec.Struct, frozen=True):
    """One phase of the paper, as it went here."""

    phase: int
    name: str
    paper: str
    """What the paper printed."""
    passed: bool
    seconds: float
    evidence: list[str]
    """What was seen, in sentences; of a phase that failed, why."""


@dataclass
class Seen:
    """What the phases measured, for the claims that rest on it."""

    server: str = ""
    ask_ms: list[float] = field(default_factory=list)
    seen_ms: float | None = None
    """From the call that stores a finding until a follower in another connection has it."""
    cited: int = 0
    verified: int = 0
    audit_rows: int = 0
    audit_intact: bool | None = None


Step = Callable[[], Awaitable[list[str]]]


async def timed(number: int, name: str, paper: str, step: Step) -> Phase:
    """A phase: passed when its step ends without an error."""
    started = clock.stopwatch_ns()
    try:
        async with asyncio.timeout(10 * _PATIENCE_S):
            evidence, passed = await step(), True
    except IfMemError as error:
        evidence, passed = [error.message], False
    except TimeoutError:
        evidence, passed = [f"nothing happened within {10 * _PATIENCE_S:.0f} s"], False
    seconds = round(clock.milliseconds_since(started) / 1_000, 2)
    return Phase(number, name, paper, passed, seconds, evidence)


async def live(note: Callable[[str], None]) -> tuple[list[Phase], Seen]:
    """Phases 1 to 3 but for the account of tokens, one after the other."""
    seen = Seen()
    async with throwaway() as place:
        life = _Life(place, seen)
        phases = []
        for number, name, paper, step in (
            (1, "bridge connectivity", "MCP-SQLite operational", life.connect),
            (2, "live shard", "3-second response", life.ask),
            (3, "context persistence", "70 % token savings", life.survive),
        ):
            note(f"phase {number}: {name}")
            phases.append(await timed(number, name, paper, step))
    return phases, seen


@dataclass
class _Life:
    place: Throwaway
    seen: Seen
    needles: Sequence[Needle] = ()

    async def connect(self) -> list[str]:
        """The daemon answers, its store gives back what it took, and the bus carries news of it."""
        memory = self.place.memory
        status = await memory.status()
        self.seen.server = status.redis.version
        _require(status.health == "healthy", f"the daemon says it is {status.health}")
        claim = "This finding was written to be read back."
        stored = await memory.remember(claim, topic="validation")
        async with Memory.open(settings=memory.settings) as other:
            read = (await other.finding(stored.finding_id)).finding
            _require(read["claim"] == claim, "the store gave back another claim than it took")
            _require(bool(read["durable"]), "the finding was not committed")
            self.seen.seen_ms = await self._carried(other, stored.cursor)
        checks = (await memory.doctor()).checks
        wrong = [f"{check.name}: {check.message}" for check in checks if not check.ok]
        _require(not wrong, "; ".join(wrong))
        return [
            f"a daemon of ifmem {status.version} answers over its socket, {status.redis.version} "
            "is its bus, SQLite its store",
            "a finding was committed, and read back the same over another connection",
            f"a follower had the next one {self.seen.seen_ms:.1f} ms after it was sent",
            f"doctor: {len(checks)} of {len(checks)} checks are well, with a round trip",
        ]

    async def ask(self) -> list[str]:
        """A shard that holds a text answers with a citation that holds the planted fact."""
        memory, folder = self.place.memory, self.place.directory / "corpus"
        copied, self.needles = await asyncio.to_thread(plant_corpus, folder, _TOKENS, _QUESTIONS)
        loaded = await memory.load(folder)
        answers = await _asked(memory, self.needles)
        for needle, answer in zip(self.needles, answers, strict=True):
            _require(answer.found, f"no shard answered {needle.question!r}")
            held = [
                one
                for one in answer.citations
                if one.verified and needle.is_in(one.quote, one.locator)
            ]
            _require(bool(held), f"no verified citation answers {needle.question!r}")
            (cited,) = held[:1]
            assert cited.lines is not None
            await memory.remember(
                answer.answer or needle.question, cite=f"{cited.source}:{cited.lines[0]}"
            )
        for _ in range(_ROUNDS):
            for needle in self.needles:
                started = clock.stopwatch_ns()
                await memory.ask(needle.question, scope="space", fresh=True)
                self.seen.ask_ms.append(clock.milliseconds_since(started))
        await self._verified()
        asked = sorted({number for answer in answers for number in answer.shards_asked})
        return [
            f"{loaded.documents} documents of {', '.join(copied.roots)}, {loaded.tokens:,} tokens, "
            f"in {len(loaded.shards)} shards",
            f"{len(self.needles)} questions on facts planted in them: every answer cites the line "
            f"that holds the fact, found by code; shards {', '.join(map(str, asked))} were asked, "
            "extractive",
            f"n {len(self.seen.ask_ms)}, p50 {percentile(self.seen.ask_ms, 0.5):.1f} ms, p95 "
            f"{percentile(self.seen.ask_ms, 0.95):.1f} ms",
            f"verified again: {self.seen.verified} of {self.seen.cited} citations",
        ]

    async def survive(self) -> list[str]:
        """The daemon is killed; the next has the same contexts and gives the same answers."""
        _require(bool(self.needles), "phase 2 left nothing to ask about")
        memory = self.place.memory
        asked = await _asked(memory, self.needles)
        before = await self._contexts(memory)
        daemon = (await memory.status()).daemon_pid
        os.kill(daemon, signal.SIGKILL)
        started = clock.stopwatch_ns()
        async with Memory.open(settings=memory.settings) as again:
            answers = await _asked(again, self.needles)
            taken = clock.milliseconds_since(started)
            after = await self._contexts(again)
            _require((await again.status()).daemon_pid != daemon, "the daemon outlived its kill")
        same = [
            (one.answer, one.citations) == (other.answer, other.citations)
            for one, other in zip(asked, answers, strict=True)
        ]
        _require(all(same), f"{same.count(False)} of {len(same)} answers are not as before")
        _require(after == before, "the contexts are not as before")
        return [
            f"the daemon (process {daemon}) was killed with SIGKILL; another one had answered "
            f"{len(same)} questions after {taken:,.0f} ms, its start included",
            f"{len(same)} of {len(same)} answers and their citations are as before",
            f"sha256 of the shards' {len(before)} texts, before and after: {_digest(after)[:16]}",
        ]

    async def _carried(self, other: Memory, cursor: str) -> float:
        """Milliseconds until a follower has a finding, from the call that stores it."""

        async def follow() -> str:
            async for line in other.follow(since=cursor):
                return str(line.finding["finding_id"])
            raise Failed("the stream of findings ended")

        async with asyncio.timeout(_PATIENCE_S), asyncio.TaskGroup() as group:
            heard = group.create_task(follow())
            started = clock.stopwatch_ns()
            sent = await self.place.memory.remember("This one was followed.", topic="validation")
            _require(await heard == sent.finding_id, "the follower had another finding")
            return clock.milliseconds_since(started)

    async def _verified(self) -> None:
        found = await self.place.memory.verify()
        self.seen.cited, self.seen.verified = len(found.citations), found.verified
        self.seen.audit_rows, self.seen.audit_intact = found.audit.rows, found.audit.intact
        _require(found.holds(strict=True), "`ifmem verify` found evidence that does not hold")

    async def _contexts(self, memory: Memory) -> dict[str, str]:
        status = await memory.status(show_secrets=True)
        numbers = tuple(shard.shard for shard in status.shards if shard.tokens)
        call = ProbeCall(
            url=status.redis.url, space=memory.settings.space, shards=numbers, n=1, warm_up=0
        )
        return (await probe(call)).digests


async def _asked(memory: Memory, needles: Sequence[Needle]) -> list[Answer]:
    return [await memory.ask(needle.question, scope="space", fresh=True) for needle in needles]


def _digest(texts: dict[str, str]) -> str:
    said = "\n".join(f"{source} {digest}" for source, digest in sorted(texts.items()))
    return hashlib.sha256(said.encode()).hexdigest()


def _require(holds: bool, otherwise: str) -> None:
    if not holds:
        raise Failed(otherwise)
