"""How a librarian answers: with sentences of the archive, or by a model whose quotes code finds."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

import msgspec

from ifmem.domain.model import Completion, ModelCard, Stop
from ifmem.domain.prompt import Prompt
from ifmem.engine import synthesis
from ifmem.engine.answer_texts import Unreadable, WrittenAnswer, read_free, read_structured
from ifmem.engine.confidence import shard_confidence
from ifmem.engine.evidence import best_evidence
from ifmem.engine.joining import Voice, join_by_code
from ifmem.engine.librarian_reading import is_echo, says_absent
from ifmem.engine.plain_answers import judge_free
from ifmem.engine.shard_answers import Judged, Said, Sought, judge_structured
from ifmem.engine.synthesis import Candidate
from ifmem.prompts.archive_answer import archive_answer
from ifmem.prompts.fencing import as_written
from ifmem.runtime.asking import MOST_HITS, verified
from ifmem.runtime.citing import is_stale
from ifmem.runtime.librarian_texts import Reading, cite, echoes
from ifmem.runtime.quoting import rows_of, words_of
from ifmem.runtime.space import Space
from ifmem.runtime.understanding import Question
from ifmem.store.sessions import sessions_of
from ifmem.wire.answers import CitationShape

DECLINED = "its model declined to answer"


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What a librarian told, as far as it is believed."""

    citations: tuple[CitationShape, ...] = ()
    answer: str | None = None
    confidence: float = 0.0
    missing: str | None = None
    unverified: int = 0
    """Quotes, ids and sentences that code did not find: dropped."""
    failed: str | None = None
    """Why its words are no answer."""

    @property
    def found(self) -> bool:
        """Without a citation it has told nothing."""
        return bool(self.citations)


async def extract(space: Space, question: Question, found: Sequence[int]) -> Told:
    """The sentences of the archive that answer, or none.

    Args:
        found: the archive's keys for the question, best first.
    """
    if question.unknown:
        return Told()
    candidates = await space.compute(_candidates, space, question, found[:MOST_HITS])
    # The author of a finding that others built on may be a librarian, too.
    cited = [
        one
        for one in await verified(space, synthesis.select(candidates))
        if not (one.finding_id and is_echo(one.author or ""))
    ]
    if not cited:
        return Told()
    citations = await _with_sessions(space, cited)
    held = _sought(question).share_held(one.quote for one in citations)
    return Told(
        citations=citations,
        answer=synthesis.compose([one.quote for one in citations]),
        confidence=shard_confidence(held=held, verified=len(citations), unverified=0),
    )


def _candidates(space: Space, question: Question, keys: Sequence[int]) -> list[Candidate]:
    rows = space.database.read_together(partial(rows_of, keys=keys))
    candidates: list[Candidate] = []
    best = 0.0
    for place, key in enumerate(keys):
        row = rows.get(key)
        if row is None or echoes(row):
            continue
        text, header = words_of(row)
        least = synthesis.least_useful(best, place)
        offered = [
            Candidate(key, 0, place, text[one.start : one.end], one)
            for one in best_evidence(question.weights, text, header, least=least)
        ]
        if offered:
            best = max(best, offered[0].rated)
            candidates += offered
    return candidates


def prompt_of(reading: Reading, question: str, card: ModelCard) -> Prompt:
    """What a librarian's model is told."""
    return archive_answer(
        reading.text if reading.whole else "",
        question,
        structured=card.structured,
        excerpts=() if reading.whole else [record.fenced for record in reading.records],
    )


async def believed(
    space: Space, question: Question, reading: Reading, completion: Completion, *, structured: bool
) -> Told:
    """What is believed of a model's answer: quotes that stand in what it read, and sentences that
    such quotes hold."""
    if completion.stop is Stop.REFUSED:
        return Told(failed=DECLINED)
    sought = _sought(question)
    judged = await asyncio.to_thread(_judged, completion, sought, reading, structured=structured)
    if isinstance(judged, Unreadable):
        told = f"its model's answer could not be read: {judged.reason}"
        return Told(failed=told, unverified=1)
    cites = await asyncio.to_thread(cite, space, reading, judged.proofs)
    places = {old: new for new, old in enumerate(n for n, one in enumerate(cites) if one)}
    kept = [one for one in cites if one is not None]
    said = tuple(
        Said(one.text, tuple(places[n] for n in one.proofs))
        for one in judged.said
        if all(n in places for n in one.proofs)
    )
    unverified = judged.unverified + len(cites) - len(kept) + len(judged.said) - len(said)
    if not kept:
        return Told(unverified=unverified, missing=judged.missing or None)
    held = sought.share_held(
        text for n in places for text in (judged.proofs[n].quote, judged.proofs[n].about)
    )
    stale = [msgspec.structs.replace(one, stale=await is_stale(space, one.source)) for one in kept]
    return Told(
        citations=await _with_sessions(space, stale),
        answer=join_by_code([Voice(tuple(one.quote for one in kept), said)]),
        confidence=shard_confidence(held=held, verified=len(kept), unverified=unverified),
        missing=judged.missing or None,
        unverified=unverified,
    )


def _sought(question: Question) -> Sought:
    return Sought(question.text, dict(question.weights))


def _judged(
    completion: Completion, sought: Sought, reading: Reading, *, structured: bool
) -> Judged | Unreadable:
    if structured:
        written = read_structured(completion.text, cut=completion.stop is Stop.LENGTH)
    else:
        written = read_free(completion.text)
    if isinstance(written, Unreadable):
        return Judged() if says_absent(completion.text) else written
    if says_absent(written.answer):
        return Judged(unverified=len(written.quotes), missing=written.missing)
    judge = judge_structured if structured else judge_free
    return judge(_as_sources_have_it(written), sought, reading.documents)


def _as_sources_have_it(written: WrittenAnswer) -> WrittenAnswer:
    """The answer without what fencing put into the records that it quotes."""
    return replace(
        written,
        quotes=tuple(replace(one, quote=as_written(one.quote)) for one in written.quotes),
        answer=as_written(written.answer),
    )


async def _with_sessions(
    space: Space, citations: Sequence[CitationShape]
) -> tuple[CitationShape, ...]:
    """The citations, those of documents with the session that loaded them."""
    sources = {one.source for one in citations if one.finding_id is None}
    if not sources:
        return tuple(citations)

    stored_in = await space.read(partial(sessions_of, sources=sources))
    return tuple(
        one
        if one.finding_id is not None
        else msgspec.structs.replace(one, session=stored_in.get(one.source))
        for one in citations
    )
