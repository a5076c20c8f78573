"""PDF files: the text of each page (extra ``pdf``)."""

from __future__ import annotations

import threading
from pathlib import PurePosixPath

from ifmem.domain.document import Kind
from ifmem.ingest.decode import clean
from ifmem.ingest.reading import Part, Reading, Unreadable

_MAX_CHARACTERS = 32_000_000
_MAX_PAGES = 20_000
_ONE_AT_A_TIME = threading.Lock()
"""PDFium keeps global state and is not safe to call from two threads."""


def read(data: bytes, name: str) -> Reading:
    """One part per page that holds text, ``page N`` counted from 1.

    Raises:
        Unreadable: damaged, encrypted, without text, or the extra is not installed.
    """
    try:
        import pypdfium2
    except ImportError as error:
        raise Unreadable("needs the extra: pip install 'ifmem[pdf]'") from error
    with _ONE_AT_A_TIME:
        try:
            document = pypdfium2.PdfDocument(data)
        except pypdfium2.PdfiumError as error:
            encrypted = "password" in str(error).lower() or "security" in str(error).lower()
            reason = "is encrypted" if encrypted else "is damaged or no PDF"
            raise Unreadable(reason) from error
        try:
            pages = _pages(document)
        except pypdfium2.PdfiumError as error:
            raise Unreadable("is damaged: a page cannot be read") from error
        finally:
            document.close()
    page_name = PurePosixPath(name).stem + ".txt"
    parts = tuple(
        Part(text=text, kind=Kind.PROSE, name=page_name, locator=f"page {number}")
        for number, text in enumerate(pages, start=1)
        if text.strip()
    )
    if not parts:
        raise Unreadable("holds no text (scanned pages?)")
    return Reading(parts=parts, kind=Kind.PROSE, format="pdf")


def _pages(document: object) -> list[str]:
    texts: list[str] = []
    total = 0
    count = len(document)  # type: ignore[arg-type]
    if count > _MAX_PAGES:
        raise Unreadable(f"has {count:,} pages; the limit is {_MAX_PAGES:,}")
    for number in range(count):
        page = document[number]  # type: ignore[index]
        text_page = page.get_textpage()
        text = _without_hyphens(text_page.get_text_bounded())
        text_page.close()
        page.close()
        total += len(text)
        if total > _MAX_CHARACTERS:
            raise Unreadable(f"holds more than {_MAX_CHARACTERS:,} characters of text")
        texts.append(text)
    return texts


def _without_hyphens(text: str) -> str:
    """The text with words that a line end had divided put together again.

    PDFium writes U+FFFE or U+0002 for a hyphen that stands only for the division.
    """
    text = clean(text)
    for mark in ("\ufffe", "\x02"):
        text = text.replace(f"{mark}\n", "").replace(mark, "")
    return text
