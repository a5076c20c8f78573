"""From the filters of a call to a question that the index can ask of each of its rows."""

from __future__ import annotations

from functools import partial

import msgspec

from ifmem.errors import Invalid
from ifmem.index.space_index import Row, Where
from ifmem.runtime.space import Space
from ifmem.store import reports
from ifmem.wire.calls import Filters


async def where_of(space: Space, filters: Filters, *, then: bool = False) -> Where | None:
    """True for the rows that all filters leave; None when there is no filter.

    Args:
        space: whose documents are looked up.
        filters: of the call.
        then: the caller knows what was believed at another moment.

    Raises:
        Invalid: another moment is asked for, and the caller does not.

    A project root restricts documents and leaves the space's findings; a source leaves none, a run
    only its own. A
    passage is of the time it was said, and without one of the time its document was loaded.
    """
    if filters.at is not None:
        if not then:
            raise Invalid("answers are of what is believed now: use `ifmem recall --at` instead")
        until = min(filters.at, filters.until or filters.at)
        filters = msgspec.structs.replace(filters, at=None, until=until)
    if filters == Filters():
        return None
    chosen: set[int] | None = None
    if filters.source or filters.root is not None:
        read = partial(reports.contents_of, sources=filters.source, root=filters.root)
        chosen = await space.read(read)
    in_time: set[int] | None = None
    if filters.since is not None or filters.until is not None:
        since, until = filters.since or "", filters.until or "~"
        in_time = await space.read(partial(reports.contents_of, since=since, until=until))
    return partial(_passes, filters, chosen, in_time)


def _passes(filters: Filters, chosen: set[int] | None, in_time: set[int] | None, row: Row) -> bool:
    is_finding = row.key < 0
    if is_finding and (filters.source or filters.run not in (None, row.group)):
        return False
    if not is_finding and chosen is not None and row.content_id not in chosen:
        return False
    if filters.group is not None and row.group != filters.group:
        return False
    if filters.author is not None and row.author != filters.author:
        return False
    if in_time is None:
        return True
    if row.said_at is None:
        return row.content_id in in_time
    return (filters.since or "") <= row.said_at <= (filters.until or "~")
