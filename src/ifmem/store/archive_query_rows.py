"""Questions to the archive as rows of the store."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from ifmem import clock
from ifmem.engine.archive_queries import QueryState, Standing


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchiveQuery:
    """A question as the queue has it."""

    number: int
    query_id: str
    asked_at: str
    sender: str
    question: str
    params: str
    hint: int | None
    librarian: int | None
    """Who answered."""
    answered_at: str | None
    """When it ended, however that was."""
    response: bytes | None
    standing: Standing


COLUMNS = (
    "number, query_id, asked_at, sender, question, params, hint, librarian, answered_at, "
    "response, state, expires_at, attempts, fence, holder, lease_until, not_before, reason"
)
"""What ``query_of`` reads."""


def query_of(row: tuple[Any, ...]) -> ArchiveQuery:
    """The question that a row of ``COLUMNS`` is."""
    number, query_id, asked_at, sender, question, params, hint, librarian, ended, response = row[
        :10
    ]
    state, expires_at, attempts, fence, holder, lease_until, not_before, reason = row[10:]
    return ArchiveQuery(
        number=number,
        query_id=query_id,
        asked_at=asked_at,
        sender=sender,
        question=question,
        params=params,
        hint=hint,
        librarian=librarian,
        answered_at=ended,
        response=None if response is None else response.encode(),
        standing=Standing(
            state=QueryState(state),
            expires_at=datetime.fromisoformat(expires_at),
            attempts=attempts,
            fence=fence,
            holder=holder,
            lease_until=_moment(lease_until),
            not_before=_moment(not_before),
            reason=reason,
        ),
    )


def _stamp(moment: datetime | None) -> str | None:
    return None if moment is None else clock.stamp(moment)


def _moment(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)


def values_of(standing: Standing) -> tuple[object, ...]:
    """Where a question stands, as columns: state to reason."""
    return (
        standing.state,
        standing.attempts,
        standing.holder,
        standing.fence,
        _stamp(standing.lease_until),
        _stamp(standing.not_before),
        _stamp(standing.expires_at),
        standing.reason,
    )
