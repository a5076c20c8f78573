"""Recall of what was believed at another moment: what was corrected since counts again."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from ifmem.index.space_index import Hit, SpaceIndex, Wanted
from ifmem.runtime.indexing import index_finding
from ifmem.runtime.space import Space
from ifmem.store import supersession

MOST_CORRECTED = 5_000
"""Findings believed then and not any more that are searched, the newest of them. They are in no
index that is kept: one is made for the question, in some 30 µs a finding."""


def believed_then(space: Space, wanted: Wanted, at: str, live: Sequence[Hit]) -> list[Hit]:
    """The best matches among what was believed at a moment, best first.

    Args:
        space: whose findings, live, archived and corrected since, are searched.
        wanted: the search; its filter leaves nothing that was said after the moment.
        at: the moment.
        live: what that search found among what is live now.
    """
    read = partial(supersession.believed_then, at=at, limit=MOST_CORRECTED)
    corrected = SpaceIndex()
    for stored in space.database.read(read):
        index_finding(corrected, stored)
    found = [*live]
    for index in (space.archive, corrected):
        if len(index):
            found += index.search(wanted.question, where=wanted.where, limit=wanted.limit)
    found.sort(key=lambda hit: -hit.score)
    return found[: wanted.limit]
