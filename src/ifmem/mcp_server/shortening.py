"""From what the daemon answers to replies of ever fewer tokens; what is left out is counted."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

import msgspec

from ifmem.mcp_server.fitting import ever_fewer, first_that_fit, size, those_that_fit
from ifmem.mcp_server.replies import (
    AskReply,
    ChangeReply,
    ChangesReply,
    LibrarianReply,
    LoadReply,
    PassageReply,
    ReasonReply,
    RecalledFindingReply,
    RecallReply,
    RedisReply,
    Reply,
    ShardReply,
    ShardTokensReply,
    SkippedReply,
    StatusReply,
    StoreReply,
    TaskCountsReply,
    TaskReply,
    WorkerReply,
)
from ifmem.mcp_server.reply_items import (
    change_reply,
    passage_reply,
    recalled_finding_reply,
    shown_ms,
    whole_answer,
)
from ifmem.wire.answers import Answer
from ifmem.wire.shapes import (
    FindingLine,
    LoadReport,
    Page,
    Recall,
    Status,
    TaskShape,
)

Shape = TypeVar("Shape", bound=Reply)
SKIPPED_SHOWN = 20
LISTED = 100
"""Shards, workers and librarians that one reply names."""
_FRAME_TOKENS = 155
"""What stands around the text of a passage: of 1,671 recalled from source text, 130 to 186 for nine
of ten, the median 152."""
_SHORT_TOKENS = 100
"""What stands around a passage shorter than this is most of it: it is counted."""
_COUNTED_TOKENS = 1_000
"""Up to such a cap every item is counted: a single one more or less is much of the reply."""
_SHORTEST_CLAIM = 400
_REASONS = 5
_ADDRESS = re.compile(r"[a-z][a-z+]*://\S+")


def recall_replies(found: Recall, max_tokens: int) -> Iterator[RecallReply]:
    """The best that fit, in the order of their scores."""
    items: list[PassageReply | RecalledFindingReply] = [
        *map(passage_reply, found.passages),
        *map(recalled_finding_reply, found.findings),
    ]
    items.sort(key=lambda item: -item.score)

    def reply(kept: Sequence[PassageReply | RecalledFindingReply]) -> RecallReply:
        return RecallReply(
            passages=[one for one in kept if isinstance(one, PassageReply)],
            findings=[one for one in kept if isinstance(one, RecalledFindingReply)],
            tokens=sum(one.tokens for one in kept),
            elapsed_ms=shown_ms(found.elapsed_ms),
            omitted=len(items) - len(kept),
        )

    room = max_tokens - size(reply([]))
    # Counting is most of the work of a reply: a large one is chosen by estimate and counted whole.
    measure = size if max_tokens <= _COUNTED_TOKENS else _estimate
    yield from map(reply, ever_fewer(those_that_fit(items, room, measure)))


def _estimate(item: PassageReply | RecalledFindingReply) -> int:
    if isinstance(item, PassageReply) and item.tokens >= _SHORT_TOKENS:
        return item.tokens + _FRAME_TOKENS
    return size(item)


def answer_replies(answer: Answer, max_tokens: int) -> Iterator[AskReply]:
    """First the last citations go, then what disagrees, then the end of the answer."""
    whole = whole_answer(answer)
    yield whole
    bare = _without(whole, citations=[])
    kept = first_that_fit(whole.citations, max_tokens - size(bare))
    for citations in ever_fewer(kept):
        yield _without(whole, citations=citations)
    yield (bare := _without(bare, disagreements=[], missing=None))
    text = whole.answer or ""
    length = len(text)
    while length > 0:
        length = length * 3 // 4
        yield msgspec.structs.replace(bare, answer=text[:length] + "…", cut=len(text) - length)


def changes_replies(page: Page[FindingLine], since: str, max_tokens: int) -> Iterator[ChangesReply]:
    """From the first on as many as fit; the cursor stands behind the last that is there."""
    items = [change_reply(line) for line in page.items]
    last = page.next or (items[-1].cursor if items else since)
    yield ChangesReply(items=items, cursor=last, next=page.next)
    room = max_tokens - size(ChangesReply(items=[], cursor=last, next=last))
    for kept in ever_fewer(first_that_fit(items, room)):
        if kept:
            yield ChangesReply(items=kept, cursor=kept[-1].cursor, next=kept[-1].cursor)
    if not items:
        return
    # One that alone is too long is shortened, so that nobody is stuck before it.
    further = page.next if len(items) == 1 else items[0].cursor
    for short in _ever_shorter(items[0]):
        yield ChangesReply(items=[short], cursor=further or short.cursor, next=further)


def load_replies(report: LoadReport) -> Iterator[LoadReply]:
    """What was loaded, and the first of what was not."""
    skipped = [SkippedReply(one.path, one.reason) for one in report.skipped]
    shards = [msgspec.convert(one, ShardTokensReply, from_attributes=True) for one in report.shards]
    counts = {
        name: getattr(report, name)
        for name in LoadReply.__struct_fields__
        if name not in {"skipped", "shards", "omitted"}
    }
    for some_shards in _fewer(shards[:LISTED]):
        for some in _fewer(skipped[:SKIPPED_SHOWN]):
            omitted = len(skipped) - len(some) + len(shards) - len(some_shards)
            yield LoadReply(**counts, skipped=some, shards=some_shards, omitted=omitted)


def status_replies(board: Status, *, space: str, agent: str) -> Iterator[StatusReply]:
    """The board without the bus's address."""
    shards = [msgspec.convert(one, ShardReply, from_attributes=True) for one in board.shards]
    workers = [msgspec.convert(one, WorkerReply, from_attributes=True) for one in board.workers]
    librarians = [
        msgspec.convert(one, LibrarianReply, from_attributes=True) for one in board.librarians
    ]
    # The living first: they are what a reader looks for.
    workers.sort(key=lambda one: not one.alive)
    for share in (1, 2, 4, 8, 16, 1_000):
        most = LISTED // share
        shown = (shards[:most], workers[:most], librarians[:most])
        every = len(shards) + len(workers) + len(librarians)
        yield StatusReply(
            context_active=board.context_active,
            shards=shown[0],
            workers=shown[1],
            librarians=shown[2],
            findings=board.findings,
            tasks=msgspec.convert(board.tasks, TaskCountsReply, from_attributes=True),
            redis=RedisReply(board.redis.embedded, board.redis.version),
            store=StoreReply(board.store.path, board.store.bytes),
            version=board.version,
            health=_ADDRESS.sub("the bus", board.health),
            space=space,
            agent=agent,
            omitted=every - sum(len(one) for one in shown),
        )


def task_replies(task: TaskShape, kind: type[Shape], **more: Any) -> Iterator[Shape]:
    """A task with its newest reasons; of data that is too long the largest fields go first."""
    fields = {
        name: getattr(task, name)
        for name in TaskReply.__struct_fields__
        if name not in {"reasons", "omitted"}
    }
    reasons = [msgspec.convert(one, ReasonReply, from_attributes=True) for one in task.reasons]
    largest = sorted(task.data, key=lambda name: -len(msgspec.json.encode(task.data[name])))
    for number in range(len(largest) + 1):
        gone = set(largest[:number])
        data = {name: value for name, value in task.data.items() if name not in gone}
        kept = reasons[-_REASONS:]
        omitted = len(gone) + len(reasons) - len(kept)
        yield kind(**{**fields, "data": data}, reasons=kept, omitted=omitted, **more)


def _ever_shorter(finding: ChangeReply) -> Iterator[ChangeReply]:
    length = len(finding.claim)
    while True:
        cut = len(finding.claim) - length + len(finding.citations) + len(finding.tags)
        yield msgspec.structs.replace(
            finding,
            claim=finding.claim[:length] + ("…" if length < len(finding.claim) else ""),
            citations=[],
            tags=[],
            topic=None if finding.topic is None else finding.topic[:_SHORTEST_CLAIM],
            unit=None if finding.unit is None else finding.unit[:_SHORTEST_CLAIM],
            cut=finding.cut + cut,
        )
        if length <= _SHORTEST_CLAIM:
            return
        length = max(length // 2, _SHORTEST_CLAIM)


def _without(whole: AskReply, **changed: Any) -> AskReply:
    """The reply with less in it, and a count of what has gone."""
    less = msgspec.structs.replace(whole, **changed)
    gone = sum(
        len(getattr(whole, name)) - len(getattr(less, name))
        for name in ("citations", "disagreements")
    )
    told = whole.missing is not None and less.missing is None
    return msgspec.structs.replace(less, omitted=whole.omitted + gone + told)


def _fewer(items: Sequence[Shape]) -> Iterator[list[Shape]]:
    """All, then half of them, and so on to none."""
    number = len(items)
    while number:
        yield list(items[:number])
        number //= 2
    yield []
