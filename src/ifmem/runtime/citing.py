"""Citations: quotes found by code in the snapshot as read, and whether the source still is it."""

from __future__ import annotations

import asyncio
import hashlib
import sqlite3
from collections.abc import Iterable
from dataclasses import replace
from functools import partial
from pathlib import Path

from ifmem.domain import if_uri
from ifmem.domain.finding import Citation, CitationStatus
from ifmem.domain.if_uri import IfUri
from ifmem.engine.evidence import locate
from ifmem.errors import Invalid, NotFound, NotPermitted
from ifmem.ingest import reasons
from ifmem.ingest.fence import Fence
from ifmem.runtime.fencing import not_permitted, require_named, require_source
from ifmem.runtime.source_states import Snapshot, read_present
from ifmem.runtime.space import Space
from ifmem.store import citations, contents, findings, reports

MAX_QUOTE_CHARACTERS = 4_000


async def cite_given(
    space: Space,
    given: Citation | str,
    *,
    elsewhere: bool = False,
    fence: Fence | None = None,
) -> Citation | str:
    """A citation as it is stored, checked where it can be; errors as ``cite``.

    An ``if://`` URI becomes what it stands for, when that is here: ``finding:<uuid>``, or the
    citation of a document that keeps it as ``uri``. One that leads nowhere stays, unverified.
    """
    named = given if isinstance(given, str) else given.source
    uri = if_uri.parse(named)
    if uri is not None:
        return await _cite_uri(space, given, uri, elsewhere=elsewhere, fence=fence)
    if isinstance(given, str):
        return require_source(fence, given, elsewhere=elsewhere)
    return await cite(space, given, elsewhere=elsewhere, fence=fence)


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
        NotFound: it is neither stored nor on disk.
        NotPermitted: it lies outside the fence, or is not there.
    """
    source = require_source(fence, citation.source, elsewhere=elsewhere)
    citation = replace(citation, source=source)
    if not citation.source.startswith(("/", "chat:", "git+file:")):
        # What its author says of it is a claim: nobody here has looked.
        return replace(citation, status=CitationStatus.UNVERIFIED)
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


async def _cite_uri(
    space: Space, given: Citation | str, uri: IfUri, *, elsewhere: bool, fence: Fence | None
) -> Citation | str:
    citation = Citation(source=given) if isinstance(given, str) else given
    text = if_uri.normalised(citation.source)
    as_given = (
        text
        if isinstance(given, str)
        else replace(citation, source=text, status=CitationStatus.UNVERIFIED)
    )
    named = uri.source
    if named is None:
        return as_given
    if named.startswith("finding:"):
        known = await space.read(partial(findings.by_id, finding_id=named.removeprefix("finding:")))
        return named if known is not None and isinstance(given, str) else as_given
    is_absolute = named.startswith("/")
    if not is_absolute and not named.startswith("chat:"):
        named = await space.read(partial(citations.document_named, name=named)) or ""
    if not named:
        return as_given
    meant = replace(
        citation,
        source=named,
        lines=citation.lines or uri.lines,
        unknown={**citation.unknown, "uri": text},
    )
    try:
        return await cite(space, meant, elsewhere=elsewhere, fence=fence)
    except NotPermitted:
        if is_absolute:
            raise
        # Not loaded, or below a root outside the caller's: to it there is no such document.
        return as_given
    except Invalid:
        if citation.quote:
            raise
        return as_given


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


def _stored(connection: sqlite3.Connection, source: str) -> Snapshot | None:
    found = contents.content_at(connection, source)
    if found is None:
        return None
    content_id, sha256 = found
    return Snapshot(contents.text_of(connection, content_id), sha256)


def _on_disk(space: Space, source: str, fence: Fence | None) -> Snapshot:
    """A file that is not loaded, read by the same rules as a load."""
    named = source if fence is None else require_named(fence, source)
    found = read_present(space.settings.ingest, named, fence=fence)
    if isinstance(found, Snapshot):
        return found
    if found == reasons.NOT_PERMITTED or (fence is not None and found == reasons.VANISHED):
        raise not_permitted(source)
    if found == reasons.VANISHED:
        raise NotFound(f"{source} does not exist", path=source)
    raise Invalid(f"{source} cannot be cited: it {found}", source=source)
