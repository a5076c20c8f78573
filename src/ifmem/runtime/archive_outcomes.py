"""What became of a question to the archive, for who asks later."""

from __future__ import annotations

from functools import partial

import msgspec

from ifmem.engine.archive_queries import QueryState
from ifmem.errors import Failed, Refused, Unavailable
from ifmem.runtime.librarian_tries import exhausted
from ifmem.runtime.space import Space
from ifmem.store import archive_queries
from ifmem.store.archive_query_rows import ArchiveQuery
from ifmem.wire.answers import Answer
from ifmem.wire.librarian_calls import ArchiveAnswerCall


async def archive_answer(space: Space, call: ArchiveAnswerCall) -> Answer:
    """The answer to a question that was kept, or whose answer was not waited for.

    Raises:
        NotFound: there is no such question, or its answer was kept long enough.
        QuotaExhausted: it still waits for a reset.
        Unavailable: it is being worked on.
        IfMemError: why no librarian could answer.
    """
    query = await space.read(partial(archive_queries.require, query_id=call.query_id))
    answer = outcome_of(query)
    if answer is None:
        raise Unavailable(
            f"question {query.query_id} is being worked on: ask for its answer a little later",
            query_id=query.query_id,
        )
    return answer


def outcome_of(query: ArchiveQuery) -> Answer | None:
    """What became of a question; None while it is open.

    Raises:
        QuotaExhausted: it is kept.
        IfMemError: it was not answered.
    """
    standing = query.standing
    match standing.state:
        case QueryState.ANSWERED:
            assert query.response is not None
            return msgspec.json.decode(query.response, type=Answer)
        case QueryState.KEPT:
            assert standing.not_before is not None
            raise exhausted(query.query_id, standing.not_before, [])
        case QueryState.FAILED:
            raise Failed(
                f"question {query.query_id} was not answered: {standing.reason}",
                query_id=query.query_id,
            )
        case QueryState.EXPIRED:
            raise Refused(
                f"question {query.query_id} was not answered in time: ask again with a new id",
                query_id=query.query_id,
            )
        case _:
            return None
