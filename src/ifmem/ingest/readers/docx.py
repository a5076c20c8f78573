"""Word files: their text with its headings (extra ``docx``)."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from pathlib import PurePosixPath

from ifmem.domain.document import Kind
from ifmem.ingest.readers.html import render
from ifmem.ingest.reading import Part, Reading, Unreadable

_MAX_UNPACKED = 64 * 1024 * 1024
_OLE = b"\xd0\xcf\x11\xe0"


def read(data: bytes, name: str) -> Reading:
    """The whole document in one part, headings as Markdown.

    Raises:
        Unreadable: damaged, encrypted, unreasonably large unpacked, without text, or the extra
            is not installed.
    """
    try:
        import mammoth
    except ImportError as error:
        raise Unreadable("needs the extra: pip install 'ifmem[docx]'") from error
    if data.startswith(_OLE):
        raise Unreadable("is encrypted or an old .doc; save it as .docx without a password")
    _check(data)
    try:
        html = mammoth.convert_to_html(
            io.BytesIO(data), convert_image=mammoth.images.img_element(_no_image)
        ).value
    except Exception as error:
        # The converter lets whatever its XML and ZIP layers raise through.
        raise Unreadable("is damaged or no .docx") from error
    _, text = render(html)
    if not text.strip():
        raise Unreadable("holds no text")
    markdown = PurePosixPath(name).stem + ".md"
    part = Part(text=text, kind=Kind.PROSE, name=markdown)
    return Reading(parts=(part,), kind=Kind.PROSE, format="docx")


def _check(data: bytes) -> None:
    """Refuse what would grow without bound when unpacked or parsed."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            # A member that holds more than its entry says is cut off by zipfile at that size.
            unpacked = sum(member.file_size for member in archive.infolist())
            if unpacked > _MAX_UNPACKED:
                raise Unreadable(f"unpacks to more than {_MAX_UNPACKED >> 20} MiB")
            if any(_declares_entities(archive, member) for member in archive.infolist()):
                raise Unreadable("declares XML entities, which no word processor writes")
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError, OSError) as error:
        raise Unreadable("is damaged or no .docx") from error


def _declares_entities(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> bool:
    if not member.filename.endswith((".xml", ".rels")):
        return False
    with archive.open(member) as file:
        head = file.read(4096)
    return b"<!DOCTYPE" in head or b"<!ENTITY" in head


def _no_image(image: object) -> Mapping[str, str]:
    return {}
