"""From the bytes of one format to parts of text: which reader reads which file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import PurePosixPath

from ifmem.ingest.readers import chat, docx, html, notebook, pdf, plain
from ifmem.ingest.reading import Part, Reading, Unreadable

__all__ = ["Part", "Reader", "Reading", "Unreadable", "reader_for"]

Reader = Callable[[bytes, str], Reading]
"""Takes the bytes and the name of a file; raises ``Unreadable`` for a malformed one."""

_BY_SUFFIX: dict[str, Reader] = {
    ".ipynb": notebook.read,
    ".html": html.read,
    ".htm": html.read,
    ".xhtml": html.read,
    ".json": chat.read,
    ".jsonl": chat.read,
    ".ndjson": chat.read,
    ".pdf": pdf.read,
    ".docx": docx.read,
}


def reader_for(name: str) -> Reader:
    """The reader of files with this name; what none claims is read as plain text."""
    return _BY_SUFFIX.get(PurePosixPath(name).suffix.lower(), plain.read)
