"""Who answers a question: sentences of the sources, or the models that are configured."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal

import msgspec

from ifmem import clock
from ifmem.domain.model import EXTRACTIVE, ModelRef
from ifmem.engine.analysis import terms
from ifmem.engine.capturing import local_space
from ifmem.engine.evidence import (
    LEAST_SUFFICIENT,
    coverage,
    question_weights,
    reaches_archive,
)
from ifmem.errors import BudgetExceeded, IfMemError, Invalid
from ifmem.model_settings import ModelSettings
from ifmem.runtime.answer_cache import key_of
from ifmem.runtime.archived import holds_something
from ifmem.runtime.asking import ask
from ifmem.runtime.consulting import again, consult_shards
from ifmem.runtime.estimating import estimated
from ifmem.runtime.librarian_asking import ask_archive
from ifmem.runtime.question_routing import route_question
from ifmem.runtime.space import Space
from ifmem.store import findings
from ifmem.wire.answers import Answer, Estimate, Usage
from ifmem.wire.calls import AskCall, EstimateCall


async def coordinate(space: Space, call: AskCall) -> Answer:
    """Answer from what is stored, with verified citations, or say that nothing supports one.

    Returns by the deadline; shards that had not answered by then are named as missing.

    Raises:
        Invalid: an empty or oversize question, or a name that is no model's.
        NotFound: the hinted shard does not exist.
        Refused: it is a question for all shards, and too few are live.
        BudgetExceeded: a limit would be passed; ``so_far`` is the answer from what was found.
        QuotaExhausted: what is live has no answer, and no librarian may be asked now.
        Unavailable: the bus did not answer, or no model could be reached.
    """
    here = msgspec.structs.replace(call, captured=False, archive=None)
    answer = await _coordinate(space, here)
    if not answer.found and call.captured and call.shard is None:
        local = await space.beside(local_space(space.name), False)
        if local is not None:
            answer = await _from_captured(space, local, here, answer)
    if not holds_something(space):
        return answer
    mode = call.archive or space.settings.archive.mode
    if not reaches_archive(mode, found=_settles(call, answer), hinted=call.shard is not None):
        return answer
    return await _from_archive(space, here, answer)


def _settles(call: AskCall, answer: Answer) -> bool:
    """True when what is live leaves nothing to ask of the archive.

    A model says itself that it found nothing; sentences that hold half of the question or less
    are a guess, beside which the archive may hold all of it.
    """
    if not answer.found or answer.model != EXTRACTIVE:
        return answer.found
    weights = dict.fromkeys(terms(call.question), 1.0)
    return any(coverage(weights, [one.quote]) >= LEAST_SUFFICIENT for one in answer.citations)


async def _from_archive(space: Space, call: AskCall, before: Answer) -> Answer:
    """What the librarians answer, or the answer before when that holds as much of the question."""
    try:
        answer = await ask_archive(space, call, before)
    except BudgetExceeded:
        return before
    except IfMemError:
        if before.found:
            return before
        raise
    if not before.found or not answer.found:
        return answer if not before.found else _with_costs_of(answer, before)
    weights = question_weights(call.question, space.index.idf)
    live, past = (_held(weights, one) for one in (before, answer))
    return answer if past > live else _with_costs_of(answer, before)


def _held(weights: Mapping[str, float], answer: Answer) -> tuple[float, float]:
    """What all quotes hold of a question together; of as much, what one of them holds alone."""
    quotes = [one.quote for one in answer.citations]
    alone = max((coverage(weights, [one]) for one in quotes), default=0.0)
    return round(coverage(weights, quotes), 6), round(alone, 6)


def _with_costs_of(later: Answer, before: Answer) -> Answer:
    """The answer before, with what was used in all."""
    return msgspec.structs.replace(
        before, usage=later.usage, cost_usd=later.cost_usd, elapsed_ms=later.elapsed_ms
    )


async def _from_captured(space: Space, local: Space, call: AskCall, before: Answer) -> Answer:
    """What the local space answers, with what is left of the time and the money of the question;
    the answer before when that is nothing either."""
    seconds = call.deadline_seconds or space.settings.ask.deadline_seconds
    seconds_left = seconds - before.elapsed_ms / 1000
    money_left = Decimal(call.max_cost or space.settings.budget.per_question) - before.cost
    if seconds_left <= 0 or money_left < 0:
        return before
    rest = msgspec.structs.replace(
        call, deadline_seconds=seconds_left, max_cost=format(money_left, "f")
    )
    try:
        answer = await _coordinate(local, rest)
    except BudgetExceeded:
        return before
    if not answer.found:
        return before
    used = (msgspec.structs.astuple(one.usage) for one in (before, answer))
    return msgspec.structs.replace(
        answer,
        usage=Usage(*map(sum, zip(*used, strict=True))),
        cost_usd=format(answer.cost + before.cost, "f"),
        elapsed_ms=round(answer.elapsed_ms + before.elapsed_ms, 3),
        routing=f"from what was captured, in space {local.name}: {answer.routing}",
    )


async def _coordinate(space: Space, call: AskCall) -> Answer:
    started = clock.stopwatch_ns()
    models = models_for(space, call.model, call.models)
    if models.is_extractive:
        return await _extract(space, call)
    routed = await space.insist(lambda: route_question(space, call, models))
    if routed.is_extractive:
        return await _extract(space, call)
    last, count = await space.read(
        lambda connection: (findings.last_sequence(connection), findings.count(connection))
    )
    key = key_of(call, models, routed.states, (last, count))
    kept = None if call.fresh else space.answers.get(key)
    if kept is not None:
        return await again(routed, call, kept, started=started)
    answer = await consult_shards(routed, call, started=started)
    space.answers.put(key, answer, most=models.answer_cache)
    return answer


async def estimate(space: Space, call: EstimateCall) -> Estimate:
    """What a question would cost, without a call.

    Raises:
        Invalid: as ``coordinate``.
        ConfigError: nobody knows what a model costs.
    """
    asked = AskCall(
        question=call.question,
        shard=call.shard,
        model=call.model,
        filters=call.filters,
        models=call.models,
        max_cost=call.max_cost,
    )
    models = models_for(space, call.model, call.models)
    routed = await space.insist(lambda: route_question(space, asked, models))
    return await estimated(routed)


def models_for(space: Space, model: str | None, models: ModelSettings | None) -> ModelSettings:
    """The table of models that holds for a call: its own, else the daemon's.

    Raises:
        Invalid: a name in it is no model's.
    """
    table = (models or space.settings.models).with_model(model)
    named = [table.default, *table.fall_back]
    named += [name for entry in table.shards for name in (entry.model, *(entry.fall_back or ()))]
    for name in (*named, *filter(None, [table.synthesis])):
        try:
            ModelRef.parse(name)
        except ValueError as error:
            raise Invalid(str(error), model=name) from error
    return table


async def _extract(space: Space, call: AskCall) -> Answer:
    seconds = call.deadline_seconds or space.settings.ask.deadline_seconds
    plain = msgspec.structs.replace(
        call, model=EXTRACTIVE, deadline_seconds=seconds, models=None, max_cost=None, fresh=False
    )
    return await space.insist(lambda: ask(space, plain))
