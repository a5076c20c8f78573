"""From the filters of a call to a question that the index can ask of each of its rows."""

from __future__ import annotations

from functools import partial

from ifmem.index.space_index import Row, Where
from ifmem.runtime.space import Space
from ifmem.store import reports
from ifmem.wire.calls import Filters


async def where_of(space: Space, filters: Filters) -> Where | None:
    """True for the rows that all filters leave; None when there is no filter.

    A project root restricts documents and leaves the space's findings; a source leaves none.
    """
    if filters == Filters():
        return None
    contents: set[int] | None = None
    if filters.source or filters.root is not None:
        contents = await space.read(
            partial(reports.contents_of, sources=filters.source, root=filters.root)
        )
    return partial(_passes, filters, contents)


def _passes(filters: Filters, contents: set[int] | None, row: Row) -> bool:
    is_finding = row.key < 0
    if is_finding and (filters.source or filters.group is not None):
        return False
    if not is_finding and contents is not None and row.content_id not in contents:
        return False
    if filters.group is not None and row.group != filters.group:
        return False
    if filters.author is not None and row.author != filters.author:
        return False
    if filters.since is None and filters.until is None:
        return True
    if row.said_at is None:
        return False
    return (filters.since or "") <= row.said_at and row.said_at <= (filters.until or "~")
