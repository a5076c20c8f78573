"""Text, code, Markdown, settings: files whose bytes are their text."""

from __future__ import annotations

from ifmem.domain.document import Kind
from ifmem.engine.kinds import kind_of
from ifmem.ingest.decode import Undecodable, decode
from ifmem.ingest.reading import Part, Reading, Unreadable


def read(data: bytes, name: str) -> Reading:
    """The text in one part."""
    return as_text(text_of(data), name, kind_of(name))


def as_text(text: str, name: str, kind: Kind) -> Reading:
    """A reading of text that needs no taking apart."""
    return Reading(parts=(Part(text=text, kind=kind, name=name),), kind=kind, format="text")


def text_of(data: bytes) -> str:
    """The decoded bytes.

    Raises:
        Unreadable: they are binary or in no encoding we recognise.
    """
    try:
        return decode(data)
    except Undecodable as error:
        raise Unreadable(str(error)) from error
