"""From the daemon's shapes to the items of replies: scores rounded, quotes to a length."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from ifmem.mcp_server.replies import (
    AnswerCitation,
    AskReply,
    ChangeReply,
    Cited,
    DisagreementReply,
    PassageReply,
    RecalledFindingReply,
    SideReply,
    UsageReply,
    Why,
)
from ifmem.wire import finding_json, shapes
from ifmem.wire.answers import Answer, CitationShape
from ifmem.wire.shapes import FindingLine, RecalledFinding, RecalledPassage

_SCORE_DIGITS = 4
_QUOTE_CHARACTERS = 300
"""Of a finding's citation where findings are many."""
_CITATIONS = 5


def passage_reply(found: RecalledPassage) -> PassageReply:
    return PassageReply(
        id=found.id,
        source=found.source,
        lines=list(found.lines),
        text=found.text,
        score=round(found.score, _SCORE_DIGITS),
        why=_why(found.why),
        shard=found.shard,
        tokens=found.tokens,
        author=found.author,
        trust=found.trust,
        time=found.time,
        header=found.header,
        locator=found.locator,
        archived=found.archived,
        session_id=found.session,
    )


def recalled_finding_reply(found: RecalledFinding) -> RecalledFindingReply:
    citations, cut = _citations(found.citations)
    return RecalledFindingReply(
        finding_id=found.finding_id,
        worker_id=found.worker_id,
        timestamp=found.timestamp,
        trust=found.trust,
        claim=found.claim,
        confidence=found.confidence,
        citations=citations,
        tokens=found.tokens,
        topic=found.topic,
        cut=cut,
        score=round(found.score, _SCORE_DIGITS),
        why=_why(found.why),
        archived=found.archived,
        session_id=found.session,
    )


def change_reply(line: FindingLine) -> ChangeReply:
    finding = finding_json.from_json(line.finding)
    citations, cut = _citations(finding_json.citations_json(finding))
    return ChangeReply(
        cursor=line.cursor,
        finding_id=finding.finding_id,
        worker_id=finding.worker_id,
        timestamp=finding.timestamp,
        trust=finding.trust,
        claim=finding.claim,
        confidence=finding.confidence,
        citations=citations,
        tokens=finding.tokens,
        topic=finding.topic,
        cut=cut,
        speech_act=finding.speech_act,
        durable=finding.durable,
        task_id=finding.task_id,
        session_id=finding.session_id,
        value=finding.value,
        unit=finding.unit,
        tags=list(finding.tags),
        source_model=finding.source_model,
        cost_usd=finding.cost_usd,
        supersedes=finding.supersedes,
    )


def _citations(citations: Sequence[Any]) -> tuple[list[Cited], int]:
    """The first citations with the beginnings of their quotes, and how much is missing."""
    shown, cut = [], max(0, len(citations) - _CITATIONS)
    for one in citations[:_CITATIONS]:
        if not isinstance(one, Mapping):
            shown.append(Cited(str(one)))
            continue
        quote = str(one.get("quote", ""))
        cut += max(0, len(quote) - _QUOTE_CHARACTERS)
        shown.append(
            Cited(
                source=str(one["source"]),
                lines=one.get("lines"),
                locator=one.get("locator"),
                quote=quote[:_QUOTE_CHARACTERS],
                sha256=one.get("sha256"),
                status=one.get("status"),
            )
        )
    return shown, cut


def whole_answer(answer: Answer) -> AskReply:
    return AskReply(
        answer=answer.answer,
        found=answer.found,
        citations=[_answer_citation(one) for one in answer.citations],
        shards_asked=answer.shards_asked,
        shards_missing=answer.shards_missing,
        model=answer.model,
        usage=msgspec.convert(answer.usage, UsageReply, from_attributes=True),
        cost_usd=answer.cost_usd,
        elapsed_ms=shown_ms(answer.elapsed_ms),
        query_id=answer.query_id,
        omitted=0,
        confidence=round(answer.confidence, _SCORE_DIGITS),
        missing=answer.missing,
        disagreements=[
            DisagreementReply([SideReply(s.shard, s.claim, s.citations) for s in one.sides])
            for one in answer.disagreements
        ],
        unverified=answer.unverified,
        cached=answer.cached,
    )


def _answer_citation(citation: CitationShape) -> AnswerCitation:
    return AnswerCitation(
        source=citation.source,
        lines=None if citation.lines is None else list(citation.lines),
        quote=citation.quote,
        sha256=citation.sha256,
        verified=citation.verified,
        stale=citation.stale,
        finding_id=citation.finding_id,
        locator=citation.locator,
        shard=citation.shard,
        author=citation.author,
        trust=citation.trust,
        time=citation.time,
    )


def _why(why: shapes.Why) -> Why:
    return Why(
        round(why.lexical, _SCORE_DIGITS),
        round(why.vector, _SCORE_DIGITS),
        round(why.neighbour, _SCORE_DIGITS),
    )


def shown_ms(milliseconds: float) -> float:
    return round(milliseconds, 1)
