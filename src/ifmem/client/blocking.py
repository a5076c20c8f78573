"""The library for code that is not async: the same verbs, each waiting for its result."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, contextmanager
from typing import Any, Unpack

from ifmem.archive_settings import ArchiveMode
from ifmem.client.exporting import BlockingExports
from ifmem.client.following import BlockingFollow
from ifmem.client.forgetting import BlockingForget
from ifmem.client.known import BlockingKnown
from ifmem.client.loop import Loop
from ifmem.client.messages import BlockingMessages
from ifmem.client.naming import Where, WhereAndWhen
from ifmem.client.overview import OnProgress
from ifmem.client.tasks import BlockingTasks
from ifmem.client.trust import BlockingTrust
from ifmem.client.verbs import Verbs
from ifmem.settings import Settings
from ifmem.wire.accounts import CostReport, LedgerEntry
from ifmem.wire.answers import Answer, Estimate, QueryAnswer
from ifmem.wire.calls import Row
from ifmem.wire.shapes import (
    Checkup,
    FindingLine,
    LoadReport,
    Page,
    Recall,
    Remembered,
    ShardShape,
    SourceShape,
    SpaceShape,
    Status,
    WorkerShape,
)


class BlockingMemory(
    BlockingExports,
    BlockingFollow,
    BlockingForget,
    BlockingKnown,
    BlockingMessages,
    BlockingTasks,
    BlockingTrust,
):
    """``Memory`` without async; safe to use from several threads at once.

    Each verb takes, returns and raises what the one of the same name in ``Memory`` does.

    Example:
        with Memory.open_sync(space="acme") as memory:
            memory.remember("The launch is on Friday", topic="launch")
            for line in memory.findings():
                print(line.finding["claim"])
    """

    _memory: Verbs
    _loop: Loop

    def __init__(self, memory: Verbs, loop: Loop) -> None:
        self._memory = memory
        self._loop = loop

    @property
    def settings(self) -> Settings:
        """The settings it was opened with."""
        return self._memory.settings

    def load(
        self, *paths: str | os.PathLike[str], on_progress: OnProgress | None = None
    ) -> LoadReport:
        """Read files and trees; ``on_progress`` is called on a thread of its own."""
        return self._loop.run(self._memory.load(*paths, on_progress=on_progress))

    def load_text(self, text: str, *, source: str, group: str | None = None) -> LoadReport:
        """Store a text that is no file."""
        return self._loop.run(self._memory.load_text(text, source=source, group=group))

    def load_rows(
        self,
        rows: Iterable[Row],
        *,
        source: str,
        group: str | None = None,
        on_progress: OnProgress | None = None,
    ) -> LoadReport:
        """Store the rows of a labelled set as the passages of one document."""
        verb = self._memory.load_rows(rows, source=source, group=group, on_progress=on_progress)
        return self._loop.run(verb)

    def ask(
        self,
        question: str,
        *,
        over: Sequence[str | os.PathLike[str]] = (),
        shard: int | None = None,
        model: str | None = None,
        max_cost: str | None = None,
        fresh: bool = False,
        archive: ArchiveMode | None = None,
        on_progress: OnProgress | None = None,
        **where: Unpack[WhereAndWhen],
    ) -> Answer:
        """An answer whose every citation was found in its source, or ``found=False``."""
        verb = self._memory.ask(
            question,
            over=over,
            shard=shard,
            model=model,
            max_cost=max_cost,
            fresh=fresh,
            archive=archive,
            on_progress=on_progress,
            **where,
        )
        return self._loop.run(verb)

    def estimate(
        self,
        question: str,
        *,
        shard: int | None = None,
        model: str | None = None,
        max_cost: str | None = None,
        **where: Unpack[WhereAndWhen],
    ) -> Estimate:
        """What ``ask`` with the same arguments would cost; no model is called."""
        verb = self._memory.estimate(question, shard=shard, model=model, max_cost=max_cost, **where)
        return self._loop.run(verb)

    def query(
        self,
        question: str,
        *,
        shard: int | None = None,
        gather: bool = False,
        deadline: float | None = None,
        max_tokens: int = 500,
    ) -> QueryAnswer:
        """What the holders of the shards answer over the bus."""
        verb = self._memory.query(
            question, shard=shard, gather=gather, deadline=deadline, max_tokens=max_tokens
        )
        return self._loop.run(verb)

    def recall(
        self,
        query: str,
        *,
        max_tokens: int | None = None,
        limit: int | None = None,
        archive: ArchiveMode | None = None,
        **where: Unpack[WhereAndWhen],
    ) -> Recall:
        """The best passages and findings that fit a token budget; no model is called."""
        verb = self._memory.recall(
            query, max_tokens=max_tokens, limit=limit, archive=archive, **where
        )
        return self._loop.run(verb)

    def remember(
        self,
        claim: str,
        *,
        cite: str | Sequence[str] = (),
        citations: Sequence[Mapping[str, Any] | str] = (),
        confidence: float = 1.0,
        topic: str | None = None,
        tags: Sequence[str] = (),
        id: str | None = None,
        durable: bool = True,
        **fields: Any,
    ) -> Remembered:
        """Store a finding; it is durable, and found by every process, when this returns."""
        verb = self._memory.remember(
            claim,
            cite=cite,
            citations=citations,
            confidence=confidence,
            topic=topic,
            tags=tags,
            id=id,
            durable=durable,
            **fields,
        )
        return self._loop.run(verb)

    def findings(
        self,
        since: str = "0",
        *,
        limit: int | None = None,
        task: str | None = None,
        topic: str | None = None,
        quarantined: bool = False,
        **where: Unpack[Where],
    ) -> Iterator[FindingLine]:
        """Every finding after a cursor, oldest first, each with the cursor to go on from."""
        lines = self._memory.findings(
            since, limit=limit, task=task, topic=topic, quarantined=quarantined, **where
        )

        async def following() -> FindingLine | None:
            return await anext(lines, None)

        while (line := self._loop.run(following())) is not None:
            yield line

    def release_finding(self, id: str) -> Remembered:
        """Take a finding out of quarantine: it is said again, as the same author's."""
        return self._loop.run(self._memory.release_finding(id))

    def sources(
        self, *, after: str = "", limit: int = 1_000, **where: Unpack[WhereAndWhen]
    ) -> Page[SourceShape]:
        """The loaded documents in order of their names, a page at a time."""
        return self._loop.run(self._memory.sources(after=after, limit=limit, **where))

    def spaces(self) -> Page[SpaceShape]:
        """The spaces of this home."""
        return self._loop.run(self._memory.spaces())

    def shards(self) -> Page[ShardShape]:
        """The shards, what they hold, and who holds them."""
        return self._loop.run(self._memory.shards())

    def workers(self) -> Page[WorkerShape]:
        """The workers and their last heartbeats."""
        return self._loop.run(self._memory.workers())

    def status(self, *, show_secrets: bool = False) -> Status:
        """Everything at a glance."""
        return self._loop.run(self._memory.status(show_secrets=show_secrets))

    def costs(
        self, *, since: str | None = None, until: str | None = None, project: int | None = None
    ) -> CostReport:
        """What model calls used, cost and saved."""
        return self._loop.run(self._memory.costs(since=since, until=until, project=project))

    def ledger(
        self, *, since: str | None = None, until: str | None = None
    ) -> Iterator[LedgerEntry]:
        """The rows behind ``costs``."""
        entries = self._memory.ledger(since=since, until=until)

        async def following() -> LedgerEntry | None:
            return await anext(entries, None)

        while (entry := self._loop.run(following())) is not None:
            yield entry

    def doctor(self, *, repair: bool = False) -> Checkup:
        """What the daemon finds wrong; changes it only if told."""
        return self._loop.run(self._memory.doctor(repair=repair))

    def adopt(self) -> None:
        """Take over the keys of this space from the store they were built from."""
        self._loop.run(self._memory.adopt())


@contextmanager
def open_blocking(opening: AbstractAsyncContextManager[Verbs]) -> Iterator[BlockingMemory]:
    """A memory that is being opened, for code that is not async."""
    with Loop() as loop:
        memory = loop.run(_entered(opening))
        try:
            yield BlockingMemory(memory, loop)
        finally:
            loop.run(_left(opening))


async def _entered(opening: AbstractAsyncContextManager[Verbs]) -> Verbs:
    return await opening.__aenter__()


async def _left(opening: AbstractAsyncContextManager[Verbs]) -> None:
    await opening.__aexit__(None, None, None)
