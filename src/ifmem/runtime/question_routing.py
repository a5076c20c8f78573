"""Routing a question to shards with models: what is asked, of whom, until when, for how much."""

from __future__ import annotations

from dataclasses import dataclass

from ifmem import clock
from ifmem.bus.state import ShardState
from ifmem.domain.model import EXTRACTIVE
from ifmem.domain.price import pico
from ifmem.engine.routing import Route
from ifmem.engine.shard_models import model_of
from ifmem.model_settings import ModelSettings
from ifmem.runtime.asking import MOST_HITS, choose_shards, understand
from ifmem.runtime.filtering import where_of
from ifmem.runtime.question_account import QuestionAccount
from ifmem.runtime.recalling import require_question
from ifmem.runtime.shard_prompts import Asking
from ifmem.runtime.space import Space
from ifmem.store import reports
from ifmem.wire.calls import AskCall


@dataclass(frozen=True, slots=True)
class Routed:
    """A question with the shards it goes to."""

    asking: Asking
    chosen: Route
    states: tuple[ShardState, ...]

    @property
    def is_extractive(self) -> bool:
        """None of the shards that are asked has a model."""
        of = {state.number: state for state in self.states}
        return all(
            model_of(self.asking.models, n, of[n].speciality).model == EXTRACTIVE
            for n in self.chosen.asked
        )


async def route_question(space: Space, call: AskCall, models: ModelSettings) -> Routed:
    """Search for a question, and choose its shards.

    Raises:
        Invalid: an empty or oversize question.
        NotFound: the hinted shard does not exist.
        Refused: it is a question for all shards, and too few are live.
        Unavailable: the bus did not answer.
    """
    seconds = call.deadline_seconds or models.deadline_seconds
    deadline = clock.monotonic() + seconds
    text = require_question(call.question)
    where = await where_of(space, call.filters)
    hits = await space.compute(space.index.search, text, where=where, limit=MOST_HITS)
    question = await space.compute(understand, space, text, where)
    chosen = await choose_shards(space, call, hits)
    _, states = await space.bus.shards()
    filters = call.filters
    digests = None
    if filters.source or filters.root is not None or filters.group is not None:
        digests = frozenset(
            await space.read(
                lambda connection: reports.digests_of(
                    connection, filters.source, root=filters.root, group=filters.group
                )
            )
        )
    asking = Asking(
        space=space,
        question=question,
        models=models,
        question_id=clock.new_id(),
        account=QuestionAccount(space.accounts),
        limit=question_limit(space, call.max_cost),
        deadline=deadline,
        allowed_seconds=seconds,
        hint=call.shard,
        hits=tuple(hits),
        where=where,
        digests=digests,
        by_passage=any((filters.author, filters.since, filters.until)),
    )
    return Routed(asking, chosen, tuple(states))


def question_limit(space: Space, max_cost: str | None) -> int:
    """Pico-dollars that a question may cost: a caller may lower what the settings allow."""
    allowed = pico(space.settings.budget.per_question)
    return allowed if max_cost is None else min(allowed, pico(max_cost))
