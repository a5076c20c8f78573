"""Questions that are heard on the channel of queries, taken into the durable queue."""

from __future__ import annotations

import logging

from ifmem.engine.archive_queries import QueryState
from ifmem.errors import Refused
from ifmem.runtime.archive_outcomes import outcome_of
from ifmem.runtime.archive_telling import respond
from ifmem.runtime.archived import holds_something
from ifmem.runtime.librarian_tries import Asked
from ifmem.runtime.librarians import new_query, submitted
from ifmem.runtime.space import Space
from ifmem.wire.queries import ONLY, Query

log = logging.getLogger(__name__)


async def adopt(space: Space, query: Query, found: bool) -> None:
    """Queue a question if the librarians are to answer it; a question that was answered before
    gets the same answer.

    Args:
        space: that it was heard in.
        query: not stale.
        found: whether a shard that is held here has found something.
    """
    if query.sender == space.worker_id or not _is_for_librarians(space, query, found):
        return
    asked = Asked(max_tokens=query.max_tokens, on_channel=True)
    new = new_query(
        space,
        query.query_id,
        query.question,
        asked,
        sender=query.sender or "-",
        hint=query.librarian,
    )
    try:
        queued = await submitted(space, new, in_turn=True)
    except Refused as error:
        log.info("query %s was not taken: %s", query.query_id, error.message)
        return
    if queued.standing.state is QueryState.ANSWERED:
        answer = outcome_of(queued)
        assert answer is not None
        await respond(space, queued, answer)


def _is_for_librarians(space: Space, query: Query, found: bool) -> bool:
    match query.archive or space.settings.archive.mode:
        case "never":
            return False
        case "auto":
            return not found and holds_something(space)
        case "always":
            return True
        case other:
            return other == ONLY
