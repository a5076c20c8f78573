"""The verbs of a memory: each is one call to the daemon."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Mapping, Sequence
from math import isfinite
from pathlib import Path
from typing import Any, Unpack

import msgspec

from ifmem.archive_settings import ArchiveMode
from ifmem.client import naming
from ifmem.client.connection import Connection
from ifmem.client.exporting import ExportVerbs
from ifmem.client.following import FollowVerbs
from ifmem.client.forgetting import ForgetVerbs
from ifmem.client.known import KnownVerbs
from ifmem.client.loading import LoadVerbs
from ifmem.client.messages import MessageVerbs
from ifmem.client.naming import Where, WhereAndWhen
from ifmem.client.overview import OnProgress
from ifmem.client.tasks import TaskVerbs
from ifmem.client.trust import TrustVerbs
from ifmem.clock import new_id
from ifmem.domain.finding import require_uuid
from ifmem.domain.task import require_run
from ifmem.errors import Invalid
from ifmem.settings import Settings
from ifmem.wire import calls
from ifmem.wire.agent_calls import ReleaseCall
from ifmem.wire.answers import Answer, Estimate, QueryAnswer
from ifmem.wire.shapes import (
    FindingLine,
    Page,
    Recall,
    Remembered,
    SourceShape,
)

_PAGE = 1_000
_RECALLED = calls.RecallCall("").limit
_ANSWER_SLACK_S = 10.0
"""The daemon keeps an answer's deadline itself; past this it is not answering at all."""


class Verbs(
    ExportVerbs,
    FollowVerbs,
    ForgetVerbs,
    KnownVerbs,
    LoadVerbs,
    MessageVerbs,
    TaskVerbs,
    TrustVerbs,
):
    """What can be done with a memory; ``client.memory`` says how one is opened."""

    def __init__(self, connection: Connection, settings: Settings, directory: Path) -> None:
        super().__init__(connection, settings)
        self._directory = directory

    async def ask(
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
        """An answer whose every citation was found in its source, or ``found=False``.

        Args:
            question: at most 16,000 characters.
            over: paths to load first, and to ask alone, whatever ``source`` says.
            shard: ask this one, whatever the routing says.
            model: who answers for every shard, as ``PROVIDER:MODEL``, ``local`` or
                ``extractive``; by default as the settings say.
            max_cost: US dollars that it may cost, a decimal string; never above the settings.
            fresh: not from the answer cache.
            archive: whether the librarians are asked too: ``never``, ``always``, or ``auto`` when
                what is live has no answer; by default as the settings say.
            on_progress: is told how far the loading of ``over`` has come.
            where: ``source``, ``group``, ``author``, ``since``, ``until`` and ``scope``.

        Example:
            answer = await memory.ask("Which port does the server use?", over=["config/"])
            for citation in answer.citations:
                print(citation.source, citation.lines, citation.quote)

        Raises:
            BudgetExceeded: a limit would be passed; ``error.facts["so_far"]`` is what was found.
            ConfigError: a key or an extra is missing, and no model could be asked.
        """
        asked = naming.question(question)
        if over:
            # Whoever names a path means it, also outside the project.
            where["scope"] = where.get("scope") or "space"
            where["source"] = [os.fspath(path) for path in over]
        filters = self._filters(where, since=where.get("since"))
        if over:
            await self.load(*over, on_progress=on_progress)
        models = self.settings.models
        by_models = not models.with_model(model).is_extractive
        seconds = (models if by_models else self.settings.ask).deadline_seconds
        call = calls.AskCall(
            question=asked,
            shard=shard,
            model=model,
            # The owner decides who answers; it knows what that may take.
            deadline_seconds=None if by_models else seconds,
            filters=filters,
            models=models,
            max_cost=naming.dollars(max_cost),
            fresh=fresh,
            archive=archive or self.settings.archive.mode,
        )
        return await self._call("ask", call, Answer, within=seconds + _ANSWER_SLACK_S)

    async def estimate(
        self,
        question: str,
        *,
        shard: int | None = None,
        model: str | None = None,
        max_cost: str | None = None,
        **where: Unpack[WhereAndWhen],
    ) -> Estimate:
        """What ``ask`` with the same arguments would cost; no model is called.

        Example:
            told = await memory.estimate("Which port does the server use?")
            print(told.expected_usd, told.at_most_usd, told.within)

        Raises:
            ConfigError: nobody knows what a model costs.
        """
        call = calls.EstimateCall(
            question=naming.question(question),
            shard=shard,
            model=model,
            filters=self._filters(where, since=where.get("since")),
            models=self.settings.models,
            max_cost=naming.dollars(max_cost),
        )
        return await self._call("estimate", call, Estimate)

    async def query(
        self,
        question: str,
        *,
        shard: int | None = None,
        gather: bool = False,
        deadline: float | None = None,
        max_tokens: int = 500,
    ) -> QueryAnswer:
        """What the holders of the shards answer over the bus, this host's or others.

        Args:
            question: at most 16,000 characters.
            shard: ask this one; by default every active shard.
            gather: wait for all of them; by default for the first that found something.
            deadline: seconds; by default what the settings say for an answer.
            max_tokens: o200k tokens of each answer.

        Example:
            heard = await memory.query("Where is the retry budget enforced?", gather=True)
            print(heard.answer, heard.shards_missing)
        """
        seconds = self.settings.ask.deadline_seconds if deadline is None else deadline
        call = calls.QueryCall(
            question=naming.question(question),
            shard=shard,
            gather=gather,
            deadline_seconds=seconds,
            max_tokens=max_tokens,
        )
        return await self._call("query", call, QueryAnswer, within=seconds + _ANSWER_SLACK_S)

    async def recall(
        self,
        query: str,
        *,
        max_tokens: int | None = None,
        limit: int | None = None,
        archive: ArchiveMode | None = None,
        **where: Unpack[WhereAndWhen],
    ) -> Recall:
        """The best passages and findings that fit a token budget; no model is called.

        Args:
            query: at most 16,000 characters.
            max_tokens: o200k tokens of all texts together; by default what the settings say.
            limit: at most so many passages and findings.
            archive: whether what ended sessions stored is searched too: ``never``, ``always``,
                or ``auto`` when what is live does not answer; by default as the settings say.
            where: as in ``ask``.

        Example:
            found = await memory.recall("retry budget", max_tokens=1000)
            print([(passage.source, passage.lines) for passage in found.passages])
        """
        call = calls.RecallCall(
            query=naming.question(query),
            max_tokens=max_tokens or self.settings.recall.max_tokens,
            filters=self._filters(where, since=where.get("since")),
            limit=_RECALLED if limit is None else limit,
            archive=archive or self.settings.archive.mode,
        )
        return await self._call("recall", call, Recall)

    async def remember(
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
        """Store a finding; it is durable, and found by every process, when this returns.

        Args:
            claim: what was found, in a sentence.
            cite: ``SOURCE:LINE`` or ``SOURCE:FIRST-LAST``; the quote is read from the source.
            citations: the same as finished values of a finding.
            confidence: 0 to 1.
            topic: what it is about.
            tags: for people and filters.
            id: a uuid; repeating the call with it stores the finding once.
            durable: False returns once the bus has it, before the store has.
            fields: further fields of a finding: ``value``, ``unit``, ``supersedes`` …

        Example:
            await memory.remember("The retry budget is 3", cite="src/retry.py:12", confidence=0.9)

        Raises:
            Invalid: a field breaks its rule; nothing is stored.
            OutcomeUnknown: ``error.facts["id"]`` is the id to repeat it with.
        """
        finding_id = require_uuid(id) if id is not None else new_id()
        cites = (cite,) if isinstance(cite, str) else tuple(cite)
        for name, given in {**fields, "confidence": confidence}.items():
            # JSON has no such numbers: they would arrive as nothing.
            if isinstance(given, float) and not isfinite(given):
                raise Invalid(f"{name} must be a finite number; it is {given}: nothing was stored")
        finding: dict[str, Any] = {
            **fields,
            "finding_id": finding_id,
            "claim": claim,
            "confidence": confidence,
            "citations": [
                *(naming.citation(text, self._directory) for text in cites),
                *(dict(one) if isinstance(one, Mapping) else one for one in citations),
            ],
            "tags": list(tags),
        }
        if topic is not None:
            finding["topic"] = topic
        if self._run is not None:
            finding.setdefault("session_id", require_run(self._run))
        call = calls.RememberCall(finding=finding, durable=durable)
        return await self._call("remember", call, Remembered, id=finding_id)

    async def findings(
        self,
        since: str = "0",
        *,
        limit: int | None = None,
        task: str | None = None,
        topic: str | None = None,
        quarantined: bool = False,
        **where: Unpack[Where],
    ) -> AsyncIterator[FindingLine]:
        """Every finding after a cursor, oldest first, each with the cursor to go on from.

        Args:
            since: a cursor, or a date or time; ``"0"`` is the beginning.
            limit: at most so many.
            task: only those of this task.
            topic: only those of this topic; case and spaces do not matter.
            quarantined: those that wait for ``release``, and no others.
            where: as in ``ask``; with ``at`` what was believed at that moment.

        Example:
            async for line in memory.findings(since=cursor):
                print(line.finding["claim"])
                cursor = line.cursor
        """
        day = since if naming.is_moment(since) else None
        filters = self._filters(where, since=day)
        cursor: str | None = "0" if day else since
        left = limit
        while cursor is not None and left != 0:
            call = calls.FindingsCall(
                since=cursor,
                limit=min(left or _PAGE, _PAGE),
                task=task,
                filters=filters,
                quarantined=quarantined,
                topic=topic,
            )
            page = await self._call("findings", call, Page[FindingLine])
            for line in page:
                yield line
            left = None if left is None else left - len(page.items)
            cursor = page.next

    async def release_finding(self, id: str) -> Remembered:
        """Take a finding out of quarantine: it is said again, as the same author's.

        Repeating it changes nothing and gives the same finding.

        Example:
            async for line in memory.findings(quarantined=True):
                await memory.release_finding(line.finding["finding_id"])

        Raises:
            NotFound: no finding of that id is in quarantine.
        """
        return await self._call("release", ReleaseCall(id), Remembered, id=id)

    async def sources(
        self, *, after: str = "", limit: int = _PAGE, **where: Unpack[WhereAndWhen]
    ) -> Page[SourceShape]:
        """The loaded documents in order of their names, a page at a time.

        Example:
            page = await memory.sources()
            more = await memory.sources(after=page.next) if page.next else None
        """
        filters = self._filters(where, since=where.get("since"))
        call = calls.SourcesCall(after=after, limit=limit, filters=filters)
        return await self._call("sources", call, Page[SourceShape])

    def _filters(self, where: Where, *, since: str | None) -> calls.Filters:
        found = naming.filters(self._directory, where, since=since)
        return found if self._run is None else msgspec.structs.replace(found, run=self._run)
