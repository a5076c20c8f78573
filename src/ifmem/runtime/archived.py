"""What is archived: searched like what is live, by an index of its own, and counted."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import structs

from ifmem.index.space_index import Hit, Wanted, Where
from ifmem.runtime.filtering import where_of
from ifmem.runtime.space import Space
from ifmem.runtime.understanding import Question, understood
from ifmem.store import sessions
from ifmem.wire.calls import Filters

_ALL = Filters()


async def search_archive(
    space: Space, question: str, *, most: int, filters: Filters = _ALL
) -> tuple[Question, list[Hit]]:
    """The question as the archive understands it, and its best matches, best first."""
    where = await where_of_archive(space, filters)
    return await space.compute_together(_search, Wanted(question, most, where))


async def where_of_archive(space: Space, filters: Filters) -> Where | None:
    """The filter of what is archived; a run restricts nothing there, for all of them have ended."""
    return await where_of(space, structs.replace(filters, run=None))


async def archive_tokens(space: Space) -> int:
    """o200k tokens of everything archived."""
    return await space.read(sessions.archived_tokens)


def holds_something(space: Space) -> bool:
    """True when something is archived: all that a call pays for an archive that is empty."""
    return len(space.archive) > 0


def _search(space: Space, wanted: Sequence[Wanted]) -> list[tuple[Question, list[Hit]]]:
    found = space.archive.search_together(wanted)
    questions = [understood(space.archive, one.question, one.where) for one in wanted]
    return list(zip(questions, found, strict=True))
