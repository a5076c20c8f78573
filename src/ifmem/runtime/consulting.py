"""The coordinator with models: routes a question, consults shards in rounds, joins what is proved.

search → route → each shard's model → verified findings → rounds → synthesis → answer
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

import msgspec

from ifmem import clock, tokens
from ifmem.domain.ledger import AskedQuestion
from ifmem.domain.model import EXTRACTIVE
from ifmem.domain.price import usd
from ifmem.domain.usage import TokenUsage
from ifmem.engine.agreement import sides
from ifmem.engine.confidence import answer_confidence
from ifmem.errors import BudgetExceeded, IfMemError
from ifmem.runtime.citing import is_stale
from ifmem.runtime.consulted import Consulted, most_telling
from ifmem.runtime.question_routing import Routed
from ifmem.runtime.recalling import recall
from ifmem.runtime.rounds import Heard, all_rounds
from ifmem.runtime.shard_prompts import Asking
from ifmem.runtime.space import Space
from ifmem.runtime.synthesising import join
from ifmem.wire.answers import Answer, ConsultedShard, Disagreement, Side, Usage
from ifmem.wire.calls import AskCall, RecallCall

log = logging.getLogger(__name__)


async def consult_shards(routed: Routed, call: AskCall, *, started: int) -> Answer:
    """The answer of the models of a question's shards.

    Raises:
        BudgetExceeded: a limit would be passed; ``so_far`` is the answer from what was found.
        IfMemError: no shard could be asked; the most telling reason.
    """
    asking, space = routed.asking, routed.asking.space
    at = clock.stamp(clock.now())
    try:
        async with asyncio.TaskGroup() as group:
            sized = group.create_task(_retrieved(space, call))
            heard = await all_rounds(asking, routed.chosen, routed.states)
    except BaseExceptionGroup as failures:
        raise failures.exceptions[0] from failures
    answer = await _answer(routed, heard, started=started)
    await record(routed, answer, at=at, retrieved=sized.result())
    if heard.refused is not None:
        refused = heard.refused
        facts = {**refused.facts, "so_far": msgspec.to_builtins(answer)}
        raise BudgetExceeded(refused.message, **facts)
    if not answer.found:
        _raise_if_all_failed(heard)
    return answer


async def record(routed: Routed, answer: Answer, *, at: str, retrieved: int) -> None:
    """Write down what the question would have cost without this memory."""
    held = {state.number: state.tokens for state in routed.states}
    question = AskedQuestion(
        question_id=answer.query_id,
        at=at,
        question_tokens=tokens.count(routed.asking.question.text),
        asked_tokens=sum(held.get(n, 0) for n in answer.shards_asked),
        corpus_tokens=sum(held.values()),
        retrieved_tokens=retrieved,
        model=answer.model,
        cached_answer=answer.cached,
    )
    try:
        await routed.asking.space.accounts.record_question(question)
    except IfMemError:
        log.exception("the question %s is not in the account", answer.query_id)


async def again(routed: Routed, call: AskCall, kept: Answer, *, started: int) -> Answer:
    """A kept answer, given again without a call; what changed on disk since is said."""
    space = routed.asking.space
    at = clock.stamp(clock.now())
    citations = [
        msgspec.structs.replace(one, stale=await is_stale(space, one.source))
        for one in kept.citations
    ]
    answer = msgspec.structs.replace(
        kept,
        citations=citations,
        cached=True,
        usage=Usage(),
        cost_usd="0",
        query_id=routed.asking.question_id,
        elapsed_ms=clock.milliseconds_since(started),
    )
    await record(routed, answer, at=at, retrieved=await _retrieved(space, call))
    return answer


async def _answer(routed: Routed, heard: Heard, *, started: int) -> Answer:
    asking = routed.asking
    # Whoever read the question speaks before sentences that share its words, the surest first.
    found = sorted(
        heard.found, key=lambda one: (one.model == EXTRACTIVE, -one.confidence, one.shard)
    )
    lacking = _lacking(heard)
    joined = await join(asking, found, lacking=lacking) if found else None
    disagreements = _disagreements(asking, heard, found)
    results = list(heard.results.values())
    failed = {one.shard for one in results if one.error is not None}
    unverified = sum(one.unverified for one in results)
    answered = [one.model for one in results if one.error is None] or [one.model for one in results]
    return Answer(
        answer=joined.text if joined else None,
        found=bool(found),
        citations=[citation for one in found for citation in one.citations],
        shards_asked=list(heard.results),
        shards_missing=sorted({*routed.chosen.missing, *failed}),
        model="+".join(dict.fromkeys(answered)) or asking.models.default,
        usage=usage_shape(asking.account.usage),
        cost_usd=usd(asking.account.cost),
        elapsed_ms=clock.milliseconds_since(started),
        query_id=asking.question_id,
        routing=routed.chosen.reason,
        confidence=answer_confidence(
            [one.confidence for one in found],
            asked=len(results),
            missing=len(failed),
            disputed=bool(disagreements),
        ),
        missing=lacking or None,
        # A shard without documents was asked nothing.
        shards=[_shape(one) for one in results if not one.silent],
        disagreements=disagreements,
        unverified=unverified + (joined.struck if joined else 0),
        rounds=heard.rounds,
    )


def _lacking(heard: Heard) -> str:
    """What shards said is missing and nobody told; of those that found nothing, when none did."""
    speakers = heard.found or list(heard.results.values())
    said = dict.fromkeys(one.missing for one in speakers if one.missing)
    return "; ".join(one for one in said if one not in heard.told)


def _disagreements(asking: Asking, heard: Heard, found: Sequence[Consulted]) -> list[Disagreement]:
    first: dict[int, int] = {}
    number = 1
    for one in found:
        first[one.shard] = number
        number += len(one.citations)
    return [
        Disagreement(
            [
                Side(
                    shard=n,
                    claim=heard.results[n].answer,
                    citations=list(range(first[n], first[n] + len(heard.results[n].citations))),
                )
                for n in group
            ]
        )
        for group in sides(heard.excluding(asking.question.text))
    ]


def _shape(one: Consulted) -> ConsultedShard:
    return ConsultedShard(
        shard=one.shard,
        model=one.model,
        found=one.found,
        whole=one.whole,
        hot=one.hot,
        why_cold=one.why_cold,
        confidence=one.confidence,
        missing=one.missing or None,
        unverified=one.unverified,
        rounds=one.rounds,
        fell_back_from=list(one.fell_back_from),
        error=one.error,
    )


def usage_shape(usage: TokenUsage) -> Usage:
    """Tokens as an answer tells them."""
    return Usage(
        uncached=usage.uncached,
        cache_write=usage.cache_write,
        cache_read=usage.cache_read,
        output=usage.output,
        reasoning=usage.reasoning,
        cache_write_5m=usage.cache_write_5m,
        cache_write_1h=usage.cache_write_1h,
        cache_write_other=usage.cache_write_other,
    )


async def _retrieved(space: Space, call: AskCall) -> int:
    """o200k tokens that ``recall`` returns for the question."""
    most = space.settings.recall.max_tokens
    wanted = RecallCall(query=call.question, max_tokens=most, filters=call.filters)
    return (await recall(space, wanted)).tokens


def _raise_if_all_failed(heard: Heard) -> None:
    failures = [one.failure for one in heard.results.values() if not one.silent]
    told = [failure for failure in failures if failure is not None]
    if told and len(told) == len(failures):
        raise most_telling(told)
