"""Who answers a question: sentences of the sources, or the models that are configured."""

from __future__ import annotations

import msgspec

from ifmem import clock
from ifmem.domain.model import EXTRACTIVE, ModelRef
from ifmem.errors import Invalid
from ifmem.model_settings import ModelSettings
from ifmem.runtime.answer_cache import key_of
from ifmem.runtime.asking import ask
from ifmem.runtime.consulting import again, consult_shards
from ifmem.runtime.estimating import estimated
from ifmem.runtime.question_routing import route_question
from ifmem.runtime.space import Space
from ifmem.store import findings
from ifmem.wire.answers import Answer, Estimate
from ifmem.wire.calls import AskCall, EstimateCall


async def coordinate(space: Space, call: AskCall) -> Answer:
    """Answer from what is stored, with verified citations, or say that nothing supports one.

    Returns by the deadline; shards that had not answered by then are named as missing.

    Raises:
        Invalid: an empty or oversize question, or a name that is no model's.
        NotFound: the hinted shard does not exist.
        Refused: it is a question for all shards, and too few are live.
        BudgetExceeded: a limit would be passed; ``so_far`` is the answer from what was found.
        Unavailable: the bus did not answer, or no model could be reached.
    """
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
