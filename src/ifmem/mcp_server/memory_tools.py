"""The tools of the memory itself: what is found, asked, said, loaded, heard of and forgotten."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from ifmem import clock
from ifmem.domain.finding import Trust, require_uuid
from ifmem.errors import Invalid, NotPermitted, OutcomeUnknown
from ifmem.mcp_server import sources
from ifmem.mcp_server.arguments import (
    AskArguments,
    ChangesArguments,
    ForgetArguments,
    LoadArguments,
    RecallArguments,
    RememberArguments,
    StatusArguments,
)
from ifmem.mcp_server.fitting import Fitting
from ifmem.mcp_server.invocation import Invocation
from ifmem.mcp_server.replies import ForgetReply, RememberReply, Reply
from ifmem.mcp_server.shortening import (
    answer_replies,
    changes_replies,
    load_replies,
    recall_replies,
    status_replies,
)
from ifmem.wire import calls, naming
from ifmem.wire.answers import Answer
from ifmem.wire.shapes import (
    FindingLine,
    Forgotten,
    LoadReport,
    Page,
    Recall,
    Remembered,
    Status,
)

REPLY_TOKENS = 4_000
"""What a tool without ``max_tokens`` returns at most."""
_CHANGES = 50


async def recall(made: Invocation, given: RecallArguments) -> Fitting:
    """The best passages and findings for a query."""
    filters = sources.filters(
        made.caller, source=given.source, group=given.group, since=given.since, scope=given.scope
    )
    call = calls.RecallCall(
        query=naming.question(given.query),
        max_tokens=given.max_tokens,
        filters=filters,
        captured=made.caller.sees_captured,
    )
    if given.limit is not None:
        call = msgspec.structs.replace(call, limit=given.limit)
    found = await made.call("recall", call, Recall)
    return Fitting(recall_replies(found, given.max_tokens), given.max_tokens)


async def ask(made: Invocation, given: AskArguments) -> Fitting:
    """An answer with its evidence."""
    call = calls.AskCall(
        question=naming.question(given.question),
        filters=sources.filters(made.caller),
        max_cost=_dollars(given.max_cost),
        captured=made.caller.sees_captured,
    )
    answer = await made.call("ask", call, Answer)
    return Fitting(answer_replies(answer, given.max_tokens), given.max_tokens)


async def remember(made: Invocation, given: RememberArguments) -> Fitting:
    """Store a finding of the caller's."""
    finding_id = require_uuid(given.id) if given.id is not None else clock.new_id()
    finding: dict[str, Any] = {
        "finding_id": finding_id,
        "worker_id": made.caller.agent,
        "claim": given.claim,
        "citations": sources.cited(made.caller, given.citations),
        "tags": given.tags or [],
    }
    if given.confidence is not None:
        finding["confidence"] = given.confidence
    if given.topic is not None:
        finding["topic"] = given.topic
    call = calls.RememberCall(finding=finding, trust=made.caller.trust, within=made.caller.roots)
    try:
        said = await made.call("remember", call, Remembered)
    except OutcomeUnknown as error:
        raise with_id(error, "id", finding_id) from error
    return _whole(RememberReply(said.finding_id, said.cursor, said.outcome))


async def load(made: Invocation, given: LoadArguments) -> Fitting:
    """Read files, or store a text.

    Raises:
        NotPermitted: what the caller says waits until somebody has looked at it, and documents
            cannot wait.
    """
    if made.caller.trust is Trust.QUARANTINED:
        raise NotPermitted(
            "what you say is kept apart until somebody has looked at it, and documents cannot be: "
            "`remember` what they say instead"
        )
    if given.paths and given.text is None and given.source is None:
        report = await _load_paths(made, given.paths)
    elif given.text is not None and given.source is not None and not given.paths:
        report = await _load_text(made, given.text, given.source)
    else:
        raise Invalid("give either `paths`, or `text` and `source`", field="paths")
    return Fitting(load_replies(report), REPLY_TOKENS)


async def changes(made: Invocation, given: ChangesArguments) -> Fitting:
    """Findings after a cursor, and where to go on."""
    since = given.cursor or "0"
    found = sources.filters(
        made.caller,
        source=given.source,
        group=given.group,
        author=given.author,
        since=given.since,
        until=given.until,
        # Findings belong to the whole space.
        scope="space",
    )
    call = calls.FindingsCall(since=since, limit=given.limit or _CHANGES, filters=found)
    page = await made.call("findings", call, Page[FindingLine])
    return Fitting(changes_replies(page, since, REPLY_TOKENS), REPLY_TOKENS)


async def forget(made: Invocation, given: ForgetArguments) -> Fitting:
    """Remove what was recalled."""
    gone = await made.call("forget", calls.ForgetCall(given.id), Forgotten)
    return _whole(ForgetReply(gone.id, gone.kind))


async def status(made: Invocation, given: StatusArguments) -> Fitting:
    """Everything at a glance."""
    board = await made.call("status", calls.StatusCall(), Status)
    replies = status_replies(board, space=made.caller.space, agent=made.caller.agent)
    return Fitting(replies, REPLY_TOKENS)


def with_id(error: OutcomeUnknown, name: str, value: str) -> OutcomeUnknown:
    """The same error, with what the caller needs to repeat the call."""
    return OutcomeUnknown(f"{error.message} ({name} {value})", **{**error.facts, name: value})


async def _load_paths(made: Invocation, paths: list[str]) -> LoadReport:
    call = calls.LoadCall(
        paths=tuple(sources.path_named(made.caller, path) for path in paths),
        within=made.caller.roots,
    )

    def on_event(event: Any) -> None:
        if "progress" in event:
            far = event["progress"]
            made.report(far["done"], far["total"], str(far["path"]))

    return await made.call("load", call, LoadReport, on_event=on_event)


async def _load_text(made: Invocation, text: str, source: str) -> LoadReport:
    call = calls.LoadTextCall(
        text=text, source=sources.source_named(made.caller, source), within=made.caller.roots
    )
    return await made.call("load_text", call, LoadReport)


def _dollars(amount: float | str | None) -> str | None:
    if amount is None or isinstance(amount, str):
        return naming.dollars(amount)
    return naming.dollars(format(amount, ".12f").rstrip("0").rstrip("."))


def _whole(reply: Reply) -> Fitting:
    """A reply so small that it always fits."""

    def candidates() -> Iterator[Reply]:
        yield reply

    return Fitting(candidates(), REPLY_TOKENS)
