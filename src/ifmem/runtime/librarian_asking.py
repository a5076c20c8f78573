"""Putting a question of this process to the librarians."""

from __future__ import annotations

from decimal import Decimal

import msgspec

from ifmem import clock
from ifmem.domain.model import EXTRACTIVE
from ifmem.errors import BudgetExceeded
from ifmem.runtime.librarian_tries import Asked
from ifmem.runtime.librarians import answered, new_query
from ifmem.runtime.recalling import require_question
from ifmem.runtime.space import Space
from ifmem.wire.answers import Answer, Usage
from ifmem.wire.calls import AskCall


async def ask_archive(space: Space, call: AskCall, before: Answer | None) -> Answer:
    """The answer from what is archived, or the honest absence of one.

    Args:
        space: whose archive.
        call: the question.
        before: what is live answered; its id, time and cost go on.

    Raises:
        Invalid: an empty or oversize question.
        QuotaExhausted: no librarian may be asked before ``resets_at``; the question is kept as
            ``query_id``.
        IfMemError: no librarian could be asked.
    """
    started = clock.stopwatch_ns()
    asked = Asked(
        filters=call.filters,
        model=call.model,
        max_cost=_left(call.max_cost, before),
    )
    question = new_query(
        space,
        clock.new_id() if before is None else before.query_id,
        require_question(call.question),
        asked,
        sender=space.worker_id,
    )
    answer = await answered(space, question, seconds=_seconds(space, call, before))
    elapsed = clock.milliseconds_since(started) + (before.elapsed_ms if before else 0.0)
    if answer is None:
        return _not_yet(question.query_id, before, elapsed)
    return _together(before, answer, elapsed)


def _left(max_cost: str | None, before: Answer | None) -> str | None:
    """The caller's own limit, of which what is live may have used some.

    Raises:
        BudgetExceeded: nothing is left of it.
    """
    if max_cost is None or before is None:
        return max_cost
    left = Decimal(max_cost) - before.cost
    if left < 0:
        raise BudgetExceeded("this question has cost what it may: the archive was not asked")
    return max_cost


def _seconds(space: Space, call: AskCall, before: Answer | None) -> float:
    """How long the caller waits."""
    named = call.deadline_seconds
    if named is None:
        is_free = call.model == EXTRACTIVE
        settings = space.settings
        named = settings.ask.deadline_seconds if is_free else settings.models.deadline_seconds
    used = before.elapsed_ms / 1000 if before else 0.0
    return max(0.0, named - used)


def _not_yet(query_id: str, before: Answer | None, elapsed_ms: float) -> Answer:
    told = (
        "the librarians have not answered in time: `ifmem ask --answer "
        f"{query_id}` reads what they say later"
    )
    if before is not None:
        return msgspec.structs.replace(before, routing=told, elapsed_ms=round(elapsed_ms, 3))
    return Answer(
        answer=None,
        found=False,
        citations=[],
        shards_asked=[],
        shards_missing=[],
        model="",
        usage=Usage(),
        cost_usd="0",
        elapsed_ms=round(elapsed_ms, 3),
        query_id=query_id,
        routing=told,
    )


def _together(before: Answer | None, answer: Answer, elapsed_ms: float) -> Answer:
    """The librarian's answer, with what was asked and used before it."""
    if before is None:
        return msgspec.structs.replace(answer, elapsed_ms=round(elapsed_ms, 3))
    used = (msgspec.structs.astuple(one.usage) for one in (before, answer))
    return msgspec.structs.replace(
        answer,
        shards_asked=before.shards_asked,
        shards_missing=before.shards_missing,
        shards=before.shards,
        usage=Usage(*map(sum, zip(*used, strict=True))),
        cost_usd=format(before.cost + answer.cost, "f"),
        unverified=before.unverified + answer.unverified,
        elapsed_ms=round(elapsed_ms, 3),
        missing=answer.missing or (None if answer.found else before.missing),
    )
