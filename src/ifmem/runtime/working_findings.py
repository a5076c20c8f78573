"""What a worker says: findings made of its words, and the results it keeps in sight."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import msgspec

from ifmem import clock, tokens
from ifmem.bus.bus import Bus
from ifmem.bus.replies import translated
from ifmem.bus.task_steps import Result
from ifmem.domain.finding import Citation, CitationStatus, Finding, Trust
from ifmem.domain.task import NO_RUN
from ifmem.engine.masking import mask_values
from ifmem.errors import Invalid, NotPermitted, Unavailable
from ifmem.wire import envelopes, finding_json, keys

log = logging.getLogger(__name__)

_MOST_RESULTS = 20
_MOST_BYTES = 64 * 1024
_KEPT_SECONDS = 3_600
_LEAST_PAUSE = 0.2
"""Between two writes: the results of thousands of short tasks are written together."""


def compose(
    given: Mapping[str, Any] | str, *, worker: str, run: str = NO_RUN, task_id: str | None = None
) -> Finding:
    """The finding that these fields, or this claim, make: masked, and with what they leave out.

    A worker has no store to look a quote up in, so what it cites is unverified until code has
    found it; and it is trusted no further than an agent, whatever it says.

    Raises:
        Invalid: a field breaks a rule.
    """
    fields = {"claim": given} if isinstance(given, str) else dict(given)
    masked, _ = mask_values(fields)
    assert isinstance(masked, dict)
    finding = finding_json.from_json(
        {
            "finding_id": clock.new_id(),
            "timestamp": clock.stamp(clock.now()),
            **({} if run == NO_RUN else {"session_id": run}),
            **masked,
            **({} if task_id is None else {"task_id": task_id}),
            "worker_id": worker,
            "durable": False,
        }
    )
    finding = replace(
        finding,
        trust=Trust.AGENT if finding.trust is Trust.USER else finding.trust,
        citations=tuple(_unverified(one) for one in finding.citations),
        tokens=tokens.count(finding.claim),
    )
    return replace(finding, content_sha256=finding_json.digest(finding))


def as_result(finding: Finding) -> Result:
    """The finding as a completion publishes it."""
    body = finding_json.to_json(finding)
    return Result(
        finding_id=finding.finding_id,
        body=body,
        head=envelopes.head(finding),
        hidden=finding.is_quarantined,
    )


def _unverified(citation: Citation | str) -> Citation | str:
    if isinstance(citation, str) or citation.status is CitationStatus.UNVERIFIED:
        return citation
    return replace(citation, status=CitationStatus.UNVERIFIED)


class RecentResults:
    """The worker's newest results, as ``worker:context:<id>`` shows them for an hour."""

    def __init__(self, bus: Bus, worker: str) -> None:
        self._bus = bus
        self._worker = worker
        self._results: deque[dict[str, Any]] = deque(maxlen=_MOST_RESULTS)
        self._changed = asyncio.Event()

    def add(self, finding: Finding) -> None:
        """Show a result, unless it waits in quarantine."""
        if finding.is_quarantined:
            return
        self._results.append(
            {
                "task_id": finding.task_id,
                "finding_id": finding.finding_id,
                "claim": finding.claim,
                "confidence": finding.confidence,
                "timestamp": finding.timestamp,
            }
        )
        self._changed.set()

    async def show(self) -> None:
        """Write what is new, for ever."""
        while True:
            await self._changed.wait()
            self._changed.clear()
            await self.write()
            await asyncio.sleep(_LEAST_PAUSE)

    async def write(self) -> None:
        """Write it now; a bus that is away has it with the next result."""
        name = self._bus.keys.of(keys.WORKER_CONTEXT, id=self._worker)
        try:
            await self._drop_forgotten()
            body = self._body()
            if body is None:
                return
            async with translated():
                await self._bus.client.set(name, body, ex=_KEPT_SECONDS)
        except (Unavailable, NotPermitted) as error:
            log.debug("the cached results are not shown: %s", error.message)

    async def _drop_forgotten(self) -> None:
        """Keep only results that the bus still has: others were forgotten, or are long past."""
        ids = [one["finding_id"] for one in self._results]
        async with translated(), self._bus.client.pipeline(transaction=False) as pipe:
            for finding_id in ids:
                pipe.exists(self._bus.keys.of(keys.FINDING, uuid=finding_id))
            there = await pipe.execute()
        gone = {one for one, is_there in zip(ids, there, strict=True) if not is_there}
        kept = [one for one in self._results if one["finding_id"] not in gone]
        self._results.clear()
        self._results.extend(kept)

    def _body(self) -> bytes | None:
        """As many of the newest as there is room for; None for none."""
        newest = list(self._results)
        while newest:
            body = msgspec.json.encode({"worker_id": self._worker, "results": newest})
            if len(body) <= _MOST_BYTES:
                return body
            newest = newest[1:]
        return None


def require_result(given: object) -> Mapping[str, Any] | str | None:
    """What a handler returned, when it can become a finding.

    Raises:
        Invalid: it is neither a text nor the fields of a finding.
    """
    if given is None or isinstance(given, str | Mapping):
        return given
    raise Invalid(
        f"a handler returns None, a claim or the fields of a finding; it returned "
        f"{type(given).__name__}"
    )
