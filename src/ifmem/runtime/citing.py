"""Citations: quotes found by code in the snapshot as read, and whether the source still is it."""

from __future__ import annotations

import asyncio
import hashlib
import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from ifmem.domain.document import Draft, Skipped
from ifmem.domain.finding import Citation, CitationStatus
from ifmem.engine.evidence import locate
from ifmem.errors import Invalid
from ifmem.ingest import reasons
from ifmem.ingest.fence import Fence
from ifmem.ingest.files import read_file
from ifmem.ingest.walk import walk
from ifmem.runtime.fencing import not_permitted, require_named, require_source
from ifmem.runtime.space import Space
from ifmem.store import contents, reports

MAX_QUOTE_CHARACTERS = 4_000


@dataclass(frozen=True, slots=True)
class _Snapshot:
    """A source as it was read."""

    text: str
    sha256: str


async def cite(
    space: Space, citation: Citation, *, elsewhere: bool = False, fence: Fence | None = None
) -> Citation:
    """The citation with its quote, lines and digest filled in and checked.

    Args:
        space: whose documents are looked through first.
        citation: as its author gave it.
        elsewhere: its author is on another host: no file of this one is read.
        fence: nothing outside is cited, neither from the store nor from disk.

    Raises:
        Invalid: the source is neither stored nor readable, has no such lines, or does not hold
            the quote.
        NotPermitted: it lies outside the fence, or is not there.
    """
    source = require_source(fence, citation.source, elsewhere=elsewhere)
    citation = replace(citation, source=source)
    if not citation.source.startswith(("/", "chat:", "git+file:")):
        return citation
    snapshot = await space.read(partial(_stored, source=citation.source))
    if snapshot is None and elsewhere:
        raise Invalid(
            f"{citation.source} cannot be cited from another host, for it is not loaded: load it "
            f"at the owner {space.worker_id}, or send its text with `load_text`",
            source=citation.source,
        )
    if snapshot is None:
        snapshot = await asyncio.to_thread(_on_disk, space, citation.source, fence)
    lines, quote = _located(citation, snapshot.text)
    return replace(
        citation,
        lines=lines,
        quote=quote,
        sha256=snapshot.sha256,
        status=CitationStatus.VERIFIED if quote else CitationStatus.UNVERIFIED,
    )


async def is_stale(space: Space, source: str) -> bool:
    """True when a file has changed, or is gone, since it was read."""
    return bool(await asyncio.to_thread(stale_among, space, [source]))


def stale_among(space: Space, sources: Iterable[str]) -> set[str]:
    """Those of the sources that are files which have changed, or are gone, since they were read.

    Size and time decide when they can; otherwise the bytes are digested again. Takes as long as
    the file systems do: not for the event loop.
    """
    files = {source for source in sources if source.startswith("/")}
    origins = space.database.read(
        lambda connection: [(file, reports.origin_of(connection, file)) for file in files]
    )
    return {
        file for file, origin in origins if origin is not None and _differs(Path(file), *origin)
    }


def _differs(path: Path, sha256: str, size: int, mtime_ns: int) -> bool:
    try:
        now = path.stat()
        if now.st_size != size:
            return True
        if now.st_mtime_ns == mtime_ns:
            return False
        return hashlib.sha256(path.read_bytes()).hexdigest() != sha256
    except OSError:
        return True


def _located(citation: Citation, text: str) -> tuple[tuple[int, int] | None, str]:
    all_lines = text.split("\n")
    if citation.lines is not None:
        first, last = citation.lines
        if not 1 <= first <= last <= len(all_lines):
            raise Invalid(
                f"{citation.source} has {len(all_lines)} lines; the citation names "
                f"{first}-{last}: give lines that exist"
            )
        within = "\n".join(all_lines[first - 1 : last])
        if not citation.quote:
            return citation.lines, within.strip()[:MAX_QUOTE_CHARACTERS]
        _require(locate(citation.quote, within), citation)
        return citation.lines, citation.quote
    if not citation.quote:
        return None, ""
    start, end = _require(locate(citation.quote, text), citation)
    first = text.count("\n", 0, start) + 1
    return (first, first + text.count("\n", start, end)), citation.quote


def _require(place: tuple[int, int] | None, citation: Citation) -> tuple[int, int]:
    if place is None:
        raise Invalid(
            f"the quote does not stand in {citation.source} as stored: quote it word for word",
            source=citation.source,
        )
    return place


def _stored(connection: sqlite3.Connection, source: str) -> _Snapshot | None:
    found = contents.content_at(connection, source)
    if found is None:
        return None
    content_id, sha256 = found
    return _Snapshot(contents.text_of(connection, content_id), sha256)


def _on_disk(space: Space, source: str, fence: Fence | None) -> _Snapshot:
    """A file that is not loaded, read by the same rules as a load."""
    skipped: list[Skipped] = []
    ingest = space.settings.ingest
    path = Path(source if fence is None else require_named(fence, source))
    for found in walk([path], allow=ingest.allow, fence=fence, on_skip=skipped.append):
        draft = read_file(found, max_bytes=ingest.max_file_bytes, fence=fence)
        if isinstance(draft, Draft):
            return _Snapshot(draft.text, draft.sha256)
        skipped.append(draft)
    if any(one.reason == reasons.NOT_PERMITTED for one in skipped):
        raise not_permitted(source)
    reason = skipped[0].reason if skipped else "is a directory"
    raise Invalid(f"{source} cannot be cited: it {reason}", source=source)
