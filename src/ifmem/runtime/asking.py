"""The coordinator: routes a question, asks the shards in parallel, verifies every quote, answers.

search → route → fetch contexts → each shard offers sentences → select → verify → compose
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from operator import itemgetter

from msgspec import structs

from ifmem import clock
from ifmem.bus.state import Context, Look
from ifmem.engine import synthesis
from ifmem.engine.evidence import best_evidence
from ifmem.engine.fanout import Answered, DeadlinePassed, FanOut, GaveUp
from ifmem.engine.routing import Route, route, too_few_live
from ifmem.engine.synthesis import Candidate
from ifmem.errors import IfMemError, Invalid, NotFound, Refused
from ifmem.index.space_index import Hit, Wanted, Where
from ifmem.runtime.citing import stale_among
from ifmem.runtime.filtering import where_of
from ifmem.runtime.quoting import (
    Match,
    Source,
    citation_of,
    cited_by,
    claim_of,
    matches_of,
    rows_of,
    text_of,
)
from ifmem.runtime.recalling import require_question
from ifmem.runtime.space import Space
from ifmem.runtime.understanding import Question, understood
from ifmem.store import findings
from ifmem.wire.answers import Answer, CitationShape, Usage
from ifmem.wire.calls import AskCall

MOST_HITS = 80
"""Passages that a question is routed by and answered from; the answer is in the first few."""
PASSAGES_A_SHARD = 10
"""The passages of its own that a shard looks through for an answer."""

MOST_BUILT_ON = 3
"""Findings cited by those that answer, which are cited beside them."""

Places = list[tuple[int, Hit]]
"""Matches with their places in the ranking."""


@dataclass(frozen=True, slots=True)
class _Put:
    """A question put to shards whose contexts are held."""

    question: Question
    to: list[tuple[Context, Places]]


Events = asyncio.Queue[Answered[list[Candidate]] | GaveUp]


async def ask(space: Space, call: AskCall) -> Answer:
    """Answer from what is stored, with verified citations, or say that nothing supports one.

    Returns by the deadline; shards that had not answered by then are named as missing.

    Raises:
        Invalid: an empty or oversize question, or a model that this version does not have.
        NotFound: the hinted shard does not exist.
        Refused: it is a question for all shards, and too few are live.
    """
    started = clock.stopwatch_ns()
    text = require_question(call.question)
    if call.model != synthesis.MODEL:
        raise Invalid(
            f"model {call.model!r} is not available: this version answers with "
            f"`{synthesis.MODEL}`, which needs no key",
            model=call.model,
        )
    where = await where_of(space, call.filters)
    question, hits = await space.compute_together(_search, Wanted(text, MOST_HITS, where))
    look = await space.contexts.look()
    chosen = _chosen(space, call, hits, look)
    gathered = await _gather(space, question, hits, chosen, look, call.deadline_seconds)
    candidates = [one for _, offered in gathered.results for one in offered]
    selected = [] if question.unknown else synthesis.select(candidates)
    citations = await verified(space, selected)
    found = bool(citations)
    return Answer(
        answer=synthesis.compose([one.quote for one in citations]) if found else None,
        found=found,
        citations=citations,
        shards_asked=list(chosen.asked),
        shards_missing=sorted({*chosen.missing, *gathered.missing}),
        model=synthesis.MODEL,
        usage=Usage(),
        cost_usd="0",
        elapsed_ms=clock.milliseconds_since(started),
        query_id=clock.new_id(),
        routing=chosen.reason,
    )


def _search(space: Space, wanted: Sequence[Wanted]) -> list[tuple[Question, list[Hit]]]:
    found = space.index.search_together(wanted)
    understood = [understand(space, one.question, one.where) for one in wanted]
    return list(zip(understood, found, strict=True))


def understand(space: Space, text: str, where: Where | None) -> Question:
    """A question's words by weight, and its names that are nowhere in what is searched."""
    return understood(space.index, text, where)


async def choose_shards(space: Space, call: AskCall, hits: Sequence[Hit]) -> Route:
    """The shards that a question goes to.

    Raises:
        NotFound: the hinted shard does not exist.
        Refused: it is a question for all shards, and too few are live.
    """
    return _chosen(space, call, hits, await space.contexts.look())


def _chosen(space: Space, call: AskCall, hits: Sequence[Hit], look: Look) -> Route:
    if call.shard is not None and call.shard not in look.active:
        raise NotFound(
            f"there is no shard {call.shard}: `ifmem shards` lists those there are",
            shard=call.shard,
        )
    live = [number for number, active in look.active.items() if active]
    chosen = route(
        call.question,
        [(hit.shard, hit.score) for hit in hits],
        active=live,
        inactive=[number for number, active in look.active.items() if not active],
        hint=call.shard,
    )
    require_live(space, chosen, live=len(live), shards=len(look.active))
    return chosen


def offer(space: Space, question: Question, context: Context, hits: Places) -> list[Candidate]:
    """The sentences of a shard's passages that support an answer."""
    wanted = [(context, hit.key) for _, hit in hits]
    matches = space.database.read_together(partial(matches_of, wanted=wanted))
    return [
        one
        for place, hit in hits
        for one in _candidates(question, context, place, hit.key, matches, least=0.0)
    ]


async def verified(space: Space, selected: Sequence[Candidate]) -> list[CitationShape]:
    """A citation for each sentence that code finds in the stored source; the others are dropped."""
    if not selected:
        return []
    return await space.look_up_together(_verify_together, selected)


def require_live(space: Space, chosen: Route, *, live: int, shards: int) -> None:
    """Let a question for all shards pass when enough of them are live, otherwise ``Refused``."""
    least = space.settings.shards.live_share
    if too_few_live(chosen, live=live, shards=shards, least=least):
        raise Refused(
            f"the question is for all shards, and {live} of {shards} are live; shards.live_share "
            f"asks for {least:.0%}: start `ifmem worker --shards any`, or name one with --shard",
            live=live,
            shards=shards,
        )


async def _gather(
    space: Space,
    question: Question,
    hits: Sequence[Hit],
    chosen: Route,
    look: Look,
    deadline: float | None,
) -> FanOut[list[Candidate]]:
    """Ask the chosen shards at once; the state when all answered or time was up."""
    of_shard: dict[int, Places] = defaultdict(list)
    for place, hit in enumerate(hits):
        if len(of_shard[hit.shard]) < PASSAGES_A_SHARD:
            of_shard[hit.shard].append((place, hit))
    # A shard without a matching passage has nothing to say, and its context is not fetched.
    silent = [n for n in chosen.asked if not of_shard[n]]
    state: FanOut[list[Candidate]] = FanOut.of(chosen.asked)
    for number in silent:
        state = state.step(Answered(number, []))
    contexts = {n: space.contexts.held(n, look) for n in sorted(state.waiting_for)}
    held = [(context, of_shard[n]) for n, context in contexts.items() if context is not None]
    events: Events = asyncio.Queue()
    try:
        async with asyncio.timeout(deadline), asyncio.TaskGroup() as group:
            for number in [n for n, context in contexts.items() if context is None]:
                group.create_task(_ask_shard(space, question, number, of_shard[number], events))
            if held:
                await _ask_held(space, _Put(question, held), events)
            while not state.done:
                state = state.step(await events.get())
    except TimeoutError:
        while not events.empty():
            state = state.step(events.get_nowait())
        state = state.step(DeadlinePassed())
    return state


async def _ask_held(space: Space, put: _Put, events: Events) -> None:
    """Ask the shards whose contexts are here, by one step for all questions that wait."""
    try:
        offers = await space.compute_together(_offer_together, put)
    except IfMemError:
        for context, _ in put.to:
            events.put_nowait(GaveUp(context.shard))
    else:
        for (context, _), offered in zip(put.to, offers, strict=True):
            events.put_nowait(Answered(context.shard, offered))


async def _ask_shard(
    space: Space, question: Question, number: int, hits: Places, events: Events
) -> None:
    """Ask a shard whose context is fetched first."""
    try:
        context = await space.contexts.fetch(number)
    except IfMemError:
        events.put_nowait(GaveUp(number))
    else:
        await _ask_held(space, _Put(question, [(context, hits)]), events)


def _offer_together(space: Space, puts: Sequence[_Put]) -> list[list[list[Candidate]]]:
    """What each question's shards offer; what several ask for is looked up once."""
    wanted = {
        (context.shard, context.generation, hit.key): (context, hit.key)
        for put in puts
        for context, hits in put.to
        for _, hit in hits
    }
    matches = space.database.read_together(partial(matches_of, wanted=wanted.values()))
    return [_useful(put, matches) for put in puts]


def _useful(put: _Put, matches: Mapping[int, Match]) -> list[list[Candidate]]:
    """What each shard offers that may be selected: what cannot is not worked out."""
    best = 0.0
    offers: list[list[Candidate]] = [[] for _ in put.to]
    in_order = [
        (place, hit.key, context, offers[number])
        for number, (context, hits) in enumerate(put.to)
        for place, hit in hits
    ]
    # The best ranked first: they say soonest what the others must come up to.
    for place, key, context, offered in sorted(in_order, key=itemgetter(0)):
        least = synthesis.least_useful(best, place)
        found = _candidates(put.question, context, place, key, matches, least)
        if found:
            best = max(best, found[0].rated)
            offered += found
    return offers


def _candidates(
    question: Question,
    context: Context,
    place: int,
    key: int,
    matches: Mapping[int, Match],
    least: float,
) -> list[Candidate]:
    match = matches.get(key)
    if match is None:
        return []
    text, header = text_of(match, context)
    return [
        Candidate(key, context.shard, place, text[one.start : one.end], one)
        for one in best_evidence(question.weights, text, header, least=least)
    ]


def _verify_together(
    space: Space, selections: Sequence[Sequence[Candidate]]
) -> list[list[CitationShape]]:
    keys = {one.key for selected in selections for one in selected}

    def cited(connection: sqlite3.Connection) -> list[list[CitationShape]]:
        rows = rows_of(connection, list(keys))
        return [_citations(connection, selected, rows) for selected in selections]

    citations = space.database.read_together(cited)
    stale = stale_among(space, {one.source for each in citations for one in each})
    return [
        [structs.replace(one, stale=True) if one.source in stale else one for one in each]
        for each in citations
    ]


def _citations(
    connection: sqlite3.Connection, selected: Sequence[Candidate], rows: Mapping[int, Source]
) -> list[CitationShape]:
    """A citation for each sentence that stands, then the findings that cited findings rest on."""
    found = [citation_of(one, rows.get(one.key)) for one in selected]
    citations = [one for one in found if one is not None]
    cited = {one.finding_id for one in citations}
    wanted = cited_by(rows[one.key] for one in selected if one.key in rows)
    ids = [one for one in wanted if one not in cited][:MOST_BUILT_ON]
    built_on = [findings.by_id(connection, one) for one in ids]
    return [*citations, *(claim_of(one) for one in built_on if one is not None)]
