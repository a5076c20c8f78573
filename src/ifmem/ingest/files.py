"""From a file that was found, or a text that was given, to a draft."""

from __future__ import annotations

import hashlib

from ifmem.domain.document import Draft, Skipped
from ifmem.engine.masking import mask
from ifmem.errors import Invalid
from ifmem.ingest import reasons
from ifmem.ingest.decode import clean
from ifmem.ingest.fence import Fence
from ifmem.ingest.passages import cut
from ifmem.ingest.readers import Reading, Unreadable, docx, pdf, plain, reader_for
from ifmem.ingest.snapshot import snapshot
from ifmem.ingest.walk import Found


def read_file(found: Found, *, max_bytes: int, fence: Fence | None = None) -> Draft | Skipped:
    """The draft of one file, or why there is none.

    Args:
        max_bytes: a larger file is not read.
        fence: neither is one outside.
    """
    if mask(found.path).count:
        return Skipped(found.path, reasons.NAMED)
    content = snapshot(found, max_bytes=max_bytes, fence=fence)
    if isinstance(content, Skipped):
        return content
    name = found.path.rsplit("/", 1)[1]
    try:
        reading = reader_for(name)(content, name)
    except Unreadable as error:
        return Skipped(found.path, str(error))
    return _draft(content, reading, found.path, reading.group)


def read_text(text: str, *, source: str, name: str, group: str | None) -> Draft:
    """The draft of a text given by a caller, read as a file called ``name`` would be.

    Raises:
        Invalid: the text is not what its name says.
    """
    content = clean(text).encode("utf-8")
    reader = reader_for(name)
    if reader in (pdf.read, docx.read):
        # Their files are no text, so this is text about, or taken from, one.
        reader = plain.read
    try:
        reading = reader(content, name)
    except Unreadable as error:
        raise Invalid(f"{source} {error}", source=source) from error
    return _draft(content, reading, source, group or reading.group)


def _draft(content: bytes, reading: Reading, source: str, group: str | None) -> Draft:
    text, spans, masked = cut(reading.parts)
    return Draft(
        source=source,
        sha256=hashlib.sha256(content).hexdigest(),
        format=reading.format,
        kind=reading.kind,
        text=text,
        spans=spans,
        size=len(content),
        masked=masked,
        group=group,
    )
