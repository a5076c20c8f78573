"""Recall: the best passages and findings under a token budget, without a model."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from ifmem import clock
from ifmem.archive_settings import ArchiveMode
from ifmem.domain.passage import Passage
from ifmem.engine.capturing import local_space, merged
from ifmem.engine.evidence import held_share, is_sufficient, question_weights
from ifmem.engine.packing import pack
from ifmem.errors import Invalid
from ifmem.index.space_index import Hit, SpaceIndex, Wanted, Where
from ifmem.runtime.archived import holds_something, where_of_archive
from ifmem.runtime.believed_then import believed_then
from ifmem.runtime.filtering import where_of
from ifmem.runtime.quoting import words_of
from ifmem.runtime.space import Space
from ifmem.runtime.understanding import understood
from ifmem.store import contents, findings, sessions
from ifmem.store.findings import StoredFinding
from ifmem.store.shards import ARCHIVE
from ifmem.wire import finding_json
from ifmem.wire.calls import MAX_QUESTION_CHARACTERS, RecallCall
from ifmem.wire.shapes import Recall, RecalledFinding, RecalledPassage, Why

MOST_HITS = 500
"""Passages looked at for one recall, whatever its budget."""
_LEAST_HITS = 40
_SMALL_PASSAGE = 20
"""Tokens of a small passage: a budget is not filled by more than this divides it into."""

_JUDGED = 10
"""The best matches that are looked through for one that answers by itself."""
_LEAST_WORTH = 0.25
"""What is left of the scores of an index that holds no term of the question: it may mean it."""


class Found(NamedTuple):
    """A match as stored, and the session it was stored in."""

    hit: Hit
    row: Passage | StoredFinding
    session: str | None


@dataclass(frozen=True, slots=True)
class _Wish:
    """What is to be found, and the room for it."""

    search: Wanted
    max_tokens: int
    limit: int
    at: str | None = None
    """What was believed at this moment is wanted, instead of what is now."""
    archive: ArchiveMode = "never"
    past: Where | None = None
    """The filter of what is archived."""


async def recall(space: Space, call: RecallCall) -> Recall:
    """The passages and findings nearest to a query that fit its budget together.

    Raises:
        Invalid: an empty or oversize query, or a budget below one token.
    """
    local = await space.beside(local_space(space.name), False) if call.captured else None
    if local is None:
        return await _recall_here(space, call)
    here, captured = await _recall_here(space, call), await _recall_here(local, call)
    return _within(call, here, captured)


def _within(call: RecallCall, here: Recall, captured: Recall) -> Recall:
    """Both, best first, as far as they fit the budget of one."""
    everything: list[RecalledPassage | RecalledFinding] = [*here.passages, *here.findings]
    ranked = merged(everything, captured.passages, score=lambda one: one.score)
    taken = pack(
        ranked,
        budget=call.max_tokens,
        limit=call.limit,
        tokens=lambda one: one.tokens,
        identity=lambda one: one.text if isinstance(one, RecalledPassage) else one.finding_id,
    )
    return Recall(
        passages=[one for one in taken if isinstance(one, RecalledPassage)],
        findings=[one for one in taken if isinstance(one, RecalledFinding)],
        tokens=sum(one.tokens for one in taken),
        elapsed_ms=round(here.elapsed_ms + captured.elapsed_ms, 3),
    )


async def _recall_here(space: Space, call: RecallCall) -> Recall:
    started = clock.stopwatch_ns()
    query = require_question(call.query)
    if call.max_tokens < 1 or call.limit < 1:
        raise Invalid("max_tokens and limit must be at least 1")
    where = await where_of(space, call.filters, then=True)
    hits = min(MOST_HITS, _LEAST_HITS + call.max_tokens // _SMALL_PASSAGE)
    wish = _Wish(Wanted(query, hits, where), call.max_tokens, call.limit, call.filters.at)
    # Whoever asks for another moment searches the archive as well.
    if wish.at is None and holds_something(space):
        mode = call.archive or space.settings.archive.mode
        past = await where_of_archive(space, call.filters)
        wish = replace(wish, archive=mode, past=past)
    taken = await space.compute_together(_recall, wish)
    return Recall(
        passages=[_passage(one, one.row) for one in taken if isinstance(one.row, Passage)],
        findings=[_finding(one, one.row) for one in taken if isinstance(one.row, StoredFinding)],
        tokens=sum(one.row.tokens for one in taken),
        elapsed_ms=clock.milliseconds_since(started),
    )


def require_question(text: str) -> str:
    """The question itself when it can be searched for, otherwise ``Invalid``."""
    if not text.strip():
        raise Invalid("the question is empty: ask something")
    if len(text) > MAX_QUESTION_CHARACTERS:
        raise Invalid(
            f"the question has {len(text):,} characters; the limit is "
            f"{MAX_QUESTION_CHARACTERS:,}: load the text as a document and ask about it",
            characters=len(text),
            limit=MAX_QUESTION_CHARACTERS,
        )
    return text


def _recall(space: Space, wishes: Sequence[_Wish]) -> list[list[Found]]:
    """For each wish the best matches that fit its room, best first."""
    found = space.index.search_together([wish.search for wish in wishes])
    found = [
        hits if wish.at is None else believed_then(space, wish.search, wish.at, hits)
        for wish, hits in zip(wishes, found, strict=True)
    ]

    taken = _read(space, wishes, found)
    late = [n for n, wish in enumerate(wishes) if _reaches_archive(space, wish, taken[n])]
    if late:
        again = [wishes[n] for n in late]
        past = space.archive.search_together([replace(one.search, where=one.past) for one in again])
        archived = _read(space, again, past)
        both = [
            merged(
                _comparable(space.index, wish, found[n], taken[n]),
                _comparable(space.archive, wish, hits, best),
                score=lambda hit: hit.score,
            )
            for n, wish, hits, best in zip(late, again, past, archived, strict=True)
        ]
        for n, one in zip(late, _read(space, again, both), strict=True):
            taken[n] = one
    return taken


def _reaches_archive(space: Space, wish: _Wish, live: Sequence[Found]) -> bool:
    """True when what is archived is wanted beside what was found among what is live."""
    if wish.archive != "auto":
        return wish.archive == "always"
    question = understood(space.index, wish.search.question, wish.search.where)
    texts = (words_of(one.row) for one in live[:_JUDGED])
    return not is_sufficient(question.weights, question.unknown, texts)


def _comparable(
    index: SpaceIndex, wish: _Wish, hits: Sequence[Hit], best: Sequence[Found]
) -> list[Hit]:
    """Matches of one index with scores that can stand beside another's.

    Each index scales to its own best match, however bad that is. So all of its scores count as
    far as its best matches hold the question's terms.
    """
    weights = question_weights(wish.search.question, index.idf)
    texts = (words_of(one.row) for one in best[:_JUDGED])
    worth = _LEAST_WORTH + (1 - _LEAST_WORTH) * held_share(weights, texts)
    return [
        Hit(
            hit.key,
            hit.shard,
            *(worth * part for part in (hit.score, hit.lexical, hit.vector, hit.neighbour)),
        )
        for hit in hits
    ]


def _read(
    space: Space, wishes: Sequence[_Wish], found: Sequence[Sequence[Hit]]
) -> list[list[Found]]:
    def packed(connection: sqlite3.Connection) -> list[list[Found]]:
        return [_packed(connection, *each) for each in zip(wishes, found, strict=True)]

    return space.database.read_together(packed)


def _packed(connection: sqlite3.Connection, wish: _Wish, hits: Sequence[Hit]) -> list[Found]:
    """Most matches do not fit: their texts stay unread."""
    tokens = contents.tokens_by_id(connection, [hit.key for hit in hits if hit.key > 0])
    said = findings.by_sequence(connection, [-hit.key for hit in hits if hit.key < 0])
    tokens |= {-sequence: finding.tokens for sequence, finding in said.items()}
    rows: dict[int, Passage | StoredFinding] = {-n: finding for n, finding in said.items()}

    def identity(hit: Hit) -> str:
        if hit.key > 0:
            rows.update(contents.passages_by_id(connection, [hit.key]))
        row = rows[hit.key]
        return row.text if isinstance(row, Passage) else row.finding_id

    taken = pack(
        [hit for hit in hits if hit.key in tokens],
        budget=wish.max_tokens,
        limit=wish.limit,
        tokens=lambda hit: tokens[hit.key],
        identity=identity,
    )
    return [_found(connection, hit, rows[hit.key]) for hit in taken]


def _found(connection: sqlite3.Connection, hit: Hit, row: Passage | StoredFinding) -> Found:
    if isinstance(row, StoredFinding):
        return Found(hit, row, row.run)
    if row.shard != ARCHIVE:
        return Found(hit, row, None)
    return Found(hit, row, sessions.sessions_of(connection, [row.source]).get(row.source))


def _why(hit: Hit) -> Why:
    return Why(round(hit.lexical, 6), round(hit.vector, 6), round(hit.neighbour, 6))


def _passage(found: Found, passage: Passage) -> RecalledPassage:
    hit = found.hit
    return RecalledPassage(
        id=passage.public_id,
        source=passage.source,
        lines=(passage.first_line, passage.last_line),
        text=passage.text,
        score=round(hit.score, 6),
        why=_why(hit),
        shard=passage.shard,
        tokens=passage.tokens,
        sha256=passage.sha256,
        header=passage.header,
        speaker=passage.speaker,
        said_at=passage.said_at,
        locator=passage.locator,
        trust=passage.trust,
        author=passage.author,
        time=passage.time,
        archived=hit.shard == ARCHIVE,
        session=found.session,
    )


def _finding(found: Found, stored: StoredFinding) -> RecalledFinding:
    hit = found.hit
    finding = finding_json.parse(stored.body)
    return RecalledFinding(
        finding_id=finding.finding_id,
        claim=finding.claim,
        score=round(hit.score, 6),
        why=_why(hit),
        confidence=finding.confidence,
        worker_id=finding.worker_id,
        timestamp=finding.timestamp,
        trust=finding.trust,
        tokens=stored.tokens,
        citations=finding_json.citations_json(finding),
        topic=finding.topic,
        archived=hit.shard == ARCHIVE,
        session=found.session,
    )
