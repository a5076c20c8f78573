"""The rounds of one question, done: shards asked at once, disputes shown, gaps searched for."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from ifmem import clock
from ifmem.bus.state import ShardState
from ifmem.domain.model import EXTRACTIVE
from ifmem.engine.agreement import ShardSays, exclusions
from ifmem.engine.confidence import shard_confidence
from ifmem.engine.coordination import (
    Ask,
    BudgetSpent,
    Coordination,
    DeadlinePassed,
    Dispute,
    Effect,
    Event,
    Finish,
    RoundEnded,
    Routed,
    Search,
)
from ifmem.engine.evidence import on_one_line
from ifmem.engine.routing import Route, shard_scores
from ifmem.engine.shard_answers import Said
from ifmem.engine.shard_models import model_of
from ifmem.engine.synthesis import select
from ifmem.errors import BudgetExceeded, IfMemError
from ifmem.index.space_index import Hit
from ifmem.runtime.asking import PASSAGES_A_SHARD, offer, verified
from ifmem.runtime.consulted import Consulted
from ifmem.runtime.indexing import FINDINGS_SHARD
from ifmem.runtime.shard_calls import consult
from ifmem.runtime.shard_prompts import Asking, OtherSide
from ifmem.wire.answers import CitationShape

MOST_FOLLOWED = 2
"""Shards asked at once for what others lack."""
_HITS = 80

Step = Callable[[], Awaitable[Consulted]]


@dataclass(slots=True)
class Heard:
    """What came of all rounds."""

    results: dict[int, Consulted] = field(default_factory=dict)
    """By shard, in the order asked."""
    rounds: int = 1
    told: set[str] = field(default_factory=set)
    """What was lacking and another shard told."""
    refused: BudgetExceeded | None = None
    """Why the first round, or one that found nothing, could not be ended."""

    @property
    def found(self) -> list[Consulted]:
        """Those with evidence, in the order asked."""
        return [one for one in self.results.values() if one.found]

    def excluding(self, question: str) -> tuple[tuple[int, int], ...]:
        """The pairs whose answers cannot both hold."""
        says = [
            ShardSays(one.shard, one.answer, tuple(c.quote for c in one.citations))
            for one in self.found
        ]
        return exclusions(question, says)


async def all_rounds(asking: Asking, chosen: Route, states: Sequence[ShardState]) -> Heard:
    """Ask until it is enough, by the rules of ``engine.coordination``.

    Args:
        asking: the question.
        chosen: the shards that it goes to first.
        states: of every shard.
    """
    of = {state.number: state for state in states}
    heard = Heard()
    state, effect = _begun(asking, chosen, states)
    while not isinstance(effect, Finish):
        event = await _done(asking, of, heard, effect)
        state, following = state.step(event)
        assert following is not None
        heard.rounds, effect = state.round, following
    return heard


def _begun(
    asking: Asking, chosen: Route, states: Sequence[ShardState]
) -> tuple[Coordination, Effect]:
    scores = shard_scores((hit.shard, hit.score) for hit in asking.hits)
    live = [s.number for s in states if s.active]
    # A shard that the caller named is asked alone.
    others = () if asking.hint in chosen.asked else sorted(live, key=lambda n: -scores.get(n, 0.0))
    return Coordination.begin(chosen.asked, others, most_rounds=asking.models.rounds)


async def _done(
    asking: Asking, states: Mapping[int, ShardState], heard: Heard, effect: Effect
) -> Event:
    match effect:
        case Ask(shards, lacking):
            steps = {n: partial(_ask, asking, states[n], lacking) for n in shards}
            before = {n for n, one in heard.results.items() if one.found}
            event = await _wave(asking, states, heard, steps)
            if lacking and any(one.shard not in before for one in heard.found):
                heard.told.add(lacking)
            return event
        case Dispute(pairs):
            steps = {
                n: partial(_dispute, asking, states[n], heard, pairs)
                for n in sorted({n for pair in pairs for n in pair})
                if heard.results[n].model != EXTRACTIVE
            }
            return await _wave(asking, states, heard, steps)
        case Search(lacking, among):
            return Routed(await _holders(asking, lacking, among))
        case Finish():
            raise AssertionError("what is finished is not done again")


async def _wave(
    asking: Asking, states: Mapping[int, ShardState], heard: Heard, steps: Mapping[int, Step]
) -> Event:
    """Do the steps at once, until all are done or time is up."""
    refusals: list[BudgetExceeded] = []
    ended: set[int] = set()

    async def take(number: int, step: Step) -> None:
        try:
            result = await step()
        except BudgetExceeded as error:
            refusals.append(error)
            result = _not_asked(heard, number, error.message)
        heard.results[number] = result
        ended.add(number)

    late = False
    for number in steps:
        # Places are taken in the order asked, whoever answers first.
        model = model_of(asking.models, number, states[number].speciality).model
        heard.results.setdefault(number, Consulted(shard=number, model=model))
    try:
        async with (
            asyncio.timeout(max(0.0, asking.deadline - clock.monotonic())),
            asyncio.TaskGroup() as group,
        ):
            for number, step in steps.items():
                group.create_task(take(number, step))
    except TimeoutError:
        late = True
        for number in steps.keys() - ended:
            heard.results[number] = _late(asking, heard, number)
    if refusals:
        if heard.rounds == 1 or not heard.found:
            heard.refused = refusals[0]
        return BudgetSpent()
    if late:
        return DeadlinePassed()
    return RoundEnded(
        found=frozenset(one.shard for one in heard.found),
        evidence=sum(len(one.citations) for one in heard.found),
        exclusions=heard.excluding(asking.question.text),
        lacking={one.shard: one.missing for one in heard.found if one.missing},
    )


def _not_asked(heard: Heard, number: int, why: str) -> Consulted:
    """A shard whose call was not made, or did not end: what it said before stands."""
    before = heard.results[number]
    if before.found:
        return before
    return replace(before, whole=False, error=why)


def _late(asking: Asking, heard: Heard, number: int) -> Consulted:
    return _not_asked(heard, number, f"it did not answer within {asking.allowed_seconds:g} s")


async def _ask(asking: Asking, state: ShardState, lacking: str) -> Consulted:
    consulted = await consult(asking, state, lacking=lacking)
    return await _with_sentences(asking, consulted)


async def _dispute(
    asking: Asking, state: ShardState, heard: Heard, pairs: Iterable[tuple[int, int]]
) -> Consulted:
    """A shard's answer after it saw what stands against it; its first one when that fails."""
    before = heard.results[state.number]
    against = [n for pair in pairs if state.number in pair for n in pair if n != state.number]
    quotes = tuple(one for n in against for one in heard.results[n].citations)
    after = await consult(asking, state, other=OtherSide(before.answer, quotes))
    rounds = before.rounds + 1
    if after.error is not None:
        return replace(before, rounds=rounds)
    after = await _with_sentences(asking, after)
    return replace(
        after,
        rounds=rounds,
        missing=after.missing or before.missing,
        unverified=before.unverified + after.unverified,
    )


async def _with_sentences(asking: Asking, consulted: Consulted) -> Consulted:
    """With the sentences that code chooses: all of an extractive shard, else agents' findings."""
    number = consulted.shard
    all_of_it = consulted.model == EXTRACTIVE and consulted.error is None
    if not all_of_it and number != FINDINGS_SHARD:
        return consulted
    offered = [
        (place, hit)
        for place, hit in enumerate(asking.hits)
        if hit.shard == number and (all_of_it or hit.key < 0)
    ][:PASSAGES_A_SHARD]
    if not offered or asking.question.unknown:
        return consulted
    space = asking.space
    try:
        context = await space.contexts.fetch(number)
        candidates = await space.compute(offer, space, asking.question, context, offered)
        chosen = tuple(await verified(space, select(candidates)))
    except IfMemError as error:
        return consulted if consulted.found else replace(consulted, error=error.message)
    if not chosen:
        return consulted
    citations = (*consulted.citations, *chosen)
    said = consulted.said or _quoted(consulted.citations, 0)
    held = asking.sought().share_held(one.quote for one in citations)
    sure = shard_confidence(held=held, verified=len(citations), unverified=consulted.unverified)
    return replace(
        consulted,
        found=True,
        citations=citations,
        said=(*said, *_quoted(chosen, len(consulted.citations))),
        confidence=max(consulted.confidence, sure),
    )


def _quoted(citations: Sequence[CitationShape], first: int) -> tuple[Said, ...]:
    return tuple(
        Said(on_one_line(one.quote), (place,)) for place, one in enumerate(citations, start=first)
    )


async def _holders(asking: Asking, lacking: str, among: Sequence[int]) -> tuple[int, ...]:
    """The shards among these whose passages match best what is lacking."""
    space = asking.space
    hits: list[Hit] = await space.compute(
        space.index.search, lacking, where=asking.where, limit=_HITS
    )
    scores = shard_scores((hit.shard, hit.score) for hit in hits)
    holding = [n for n in among if n in scores]
    return tuple(sorted(holding, key=lambda n: (-scores[n], n))[:MOST_FOLLOWED])
