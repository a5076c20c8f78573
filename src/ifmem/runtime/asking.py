"""The coordinator: routes a question, asks the shards in parallel, verifies every quote, answers.

search → route → fetch contexts → each shard offers sentences → select → verify → compose
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import msgspec

from ifmem import clock
from ifmem.bus.state import Context
from ifmem.domain.passage import Passage
from ifmem.engine import synthesis
from ifmem.engine.evidence import best_evidence, locate, question_weights, unknown_names
from ifmem.engine.fanout import Answered, DeadlinePassed, FanOut, GaveUp
from ifmem.engine.routing import Route, route, too_few_live
from ifmem.engine.synthesis import Candidate
from ifmem.errors import IfMemError, Invalid, NotFound, Refused
from ifmem.index.space_index import Hit, Where
from ifmem.runtime.citing import is_stale
from ifmem.runtime.filtering import where_of
from ifmem.runtime.indexing import FINDINGS_SHARD
from ifmem.runtime.recalling import require_question
from ifmem.runtime.space import Space
from ifmem.store import contents, findings
from ifmem.store.findings import StoredFinding
from ifmem.wire import finding_json
from ifmem.wire.answers import Answer, CitationShape, Usage
from ifmem.wire.calls import AskCall

MOST_HITS = 80
"""Passages that a question is routed by and answered from; the answer is in the first few."""
PASSAGES_A_SHARD = 10
"""The passages of its own that a shard looks through for an answer."""

MOST_BUILT_ON = 3
"""Findings cited by those that answer, which are cited beside them."""
_FINDING = "finding:"

Events = asyncio.Queue[Answered[list[Candidate]] | GaveUp]


@dataclass(frozen=True, slots=True)
class Question:
    """A question with what it takes to judge evidence for it."""

    text: str
    weights: Mapping[str, float]
    unknown: tuple[str, ...]
    """Its names that occur nowhere in what is searched."""


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
    hits = await space.compute(space.index.search, text, where=where, limit=MOST_HITS)
    question = await space.compute(understand, space, text, where)
    chosen = await choose_shards(space, call, hits)
    gathered = await _gather(space, question, hits, chosen, call.deadline_seconds)
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


def understand(space: Space, text: str, where: Where | None) -> Question:
    """A question's words by weight, and its names that are nowhere in what is searched."""
    occurs = partial(space.index.occurs, where=where)
    return Question(text, question_weights(text, space.index.idf), unknown_names(text, occurs))


async def choose_shards(space: Space, call: AskCall, hits: Sequence[Hit]) -> Route:
    """The shards that a question goes to.

    Raises:
        NotFound: the hinted shard does not exist.
        Refused: it is a question for all shards, and too few are live.
    """
    _, states = await space.bus.shards()
    if call.shard is not None and call.shard not in {state.number for state in states}:
        raise NotFound(
            f"there is no shard {call.shard}: `ifmem shards` lists those there are",
            shard=call.shard,
        )
    live = [state.number for state in states if state.active]
    chosen = route(
        call.question,
        [(hit.shard, hit.score) for hit in hits],
        active=live,
        inactive=[state.number for state in states if not state.active],
        hint=call.shard,
    )
    require_live(space, chosen, live=len(live), shards=len(states))
    return chosen


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
    space: Space, question: Question, hits: Sequence[Hit], chosen: Route, deadline: float
) -> FanOut[list[Candidate]]:
    """Ask the chosen shards at once; the state when all answered or time was up."""
    of_shard: dict[int, list[tuple[int, Hit]]] = defaultdict(list)
    for place, hit in enumerate(hits):
        if len(of_shard[hit.shard]) < PASSAGES_A_SHARD:
            of_shard[hit.shard].append((place, hit))
    # A shard without a matching passage has nothing to say, and its context is not fetched.
    silent = [n for n in chosen.asked if not of_shard[n]]
    state: FanOut[list[Candidate]] = FanOut.of(chosen.asked)
    for number in silent:
        state = state.step(Answered(number, []))
    events: Events = asyncio.Queue()
    try:
        async with asyncio.timeout(deadline), asyncio.TaskGroup() as group:
            for number in sorted(state.waiting_for):
                group.create_task(_ask_shard(space, question, number, of_shard[number], events))
            while not state.done:
                state = state.step(await events.get())
    except TimeoutError:
        while not events.empty():
            state = state.step(events.get_nowait())
        state = state.step(DeadlinePassed())
    return state


async def _ask_shard(
    space: Space, question: Question, number: int, hits: list[tuple[int, Hit]], events: Events
) -> None:
    try:
        context = await space.contexts.fetch(number)
        offered = await space.compute(offer, space, question, context, hits)
    except IfMemError:
        events.put_nowait(GaveUp(number))
    else:
        events.put_nowait(Answered(number, offered))


def offer(
    space: Space, question: Question, context: Context, hits: list[tuple[int, Hit]]
) -> list[Candidate]:
    """The sentences of a shard's passages that support an answer."""
    keys = [hit.key for _, hit in hits]
    rows = space.database.read_together(lambda connection: _rows(connection, keys))
    offered = []
    for place, hit in hits:
        row = rows.get(hit.key)
        if row is None:
            continue
        text, header = text_of(row, context)
        offered += [
            Candidate(hit.key, context.shard, place, text[one.start : one.end], one)
            for one in best_evidence(question.weights, text, header)
        ]
    return offered


Source = Passage | StoredFinding


def _rows(connection: sqlite3.Connection, keys: Sequence[int]) -> dict[int, Source]:
    rows: dict[int, Source] = {}
    rows |= contents.passages_by_id(connection, [key for key in keys if key > 0])
    said = findings.by_sequence(connection, [-key for key in keys if key < 0])
    return rows | {-sequence: finding for sequence, finding in said.items()}


def text_of(row: Source, context: Context) -> tuple[str, str]:
    """What the shard reads of a match: from its context, or the claim of a finding."""
    if isinstance(row, StoredFinding):
        finding = finding_json.parse(row.body)
        return finding.claim, finding.topic or ""
    return context.text(row.sha256, row.ordinal) or row.text, f"{row.title} {row.header}"


async def verified(space: Space, selected: Sequence[Candidate]) -> list[CitationShape]:
    """A citation for each sentence that code finds in the stored source; the others are dropped."""
    rows = await space.read(partial(_rows, keys=[one.key for one in selected]))
    citations = []
    for one in selected:
        citation = _citation(one, rows.get(one.key))
        if citation is not None:
            stale = await is_stale(space, citation.source)
            citations.append(msgspec.structs.replace(citation, stale=stale))
    return [*citations, *await _built_on(space, rows.values(), citations)]


async def _built_on(
    space: Space, rows: Iterable[Source], citations: Sequence[CitationShape]
) -> list[CitationShape]:
    """The findings that the selected findings cite: what they say rests on them."""
    cited = {one.finding_id for one in citations}
    wanted = {
        reference.removeprefix(_FINDING): None
        for row in rows
        if isinstance(row, StoredFinding)
        for reference in finding_json.parse(row.body).citations
        if isinstance(reference, str) and reference.startswith(_FINDING)
    }
    ids = [one for one in wanted if one not in cited][:MOST_BUILT_ON]
    found = await space.read(lambda connection: [findings.by_id(connection, i) for i in ids])
    return [_claim(one) for one in found if one is not None]


def _claim(row: StoredFinding) -> CitationShape:
    finding = finding_json.parse(row.body)
    return CitationShape(
        source=_FINDING + finding.finding_id,
        lines=None,
        quote=finding.claim.strip(),
        sha256=finding.content_sha256,
        verified=True,
        finding_id=finding.finding_id,
        shard=FINDINGS_SHARD,
    )


def _citation(candidate: Candidate, row: Source | None) -> CitationShape | None:
    if isinstance(row, StoredFinding):
        finding = finding_json.parse(row.body)
        if locate(candidate.sentence, finding.claim) is None:
            return None
        return CitationShape(
            source=f"finding:{finding.finding_id}",
            lines=None,
            quote=candidate.sentence.strip(),
            sha256=finding.content_sha256,
            verified=True,
            finding_id=finding.finding_id,
            shard=FINDINGS_SHARD,
        )
    place = None if row is None else locate(candidate.sentence, row.text)
    if row is None or place is None:
        return None
    first = row.first_line + row.text.count("\n", 0, place[0])
    return CitationShape(
        source=row.source,
        lines=(first, first + row.text.count("\n", *place)),
        quote=row.text[slice(*place)].strip(),
        sha256=row.sha256,
        verified=True,
        locator=row.locator,
        shard=row.shard,
    )
