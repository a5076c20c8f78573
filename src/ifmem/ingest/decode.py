"""From the bytes of a file to its text, whatever encoding they are in."""

from __future__ import annotations

import codecs
import re

from ifmem.ingest import reasons

_BOMS = (
    (codecs.BOM_UTF8, "utf-8"),
    # UTF-32 first: its little-endian mark begins with that of UTF-16.
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
# Only signatures that no text begins with; most other binary files hold a NUL byte.
_MAGIC = (
    b"\x89PNG",
    b"\xff\xd8\xff",
    b"GIF87a",
    b"GIF89a",
    b"PK\x03\x04",
    b"PK\x05\x06",
    b"\x1f\x8b",
    b"BZh9",
    b"\xfd7zXZ",
    b"\x28\xb5\x2f\xfd",
    b"7z\xbc\xaf",
    b"\x7fELF",
    b"\xca\xfe\xba\xbe",
    b"\xcf\xfa\xed\xfe",
    b"\xd0\xcf\x11\xe0",
    b"%PDF-",
    b"SQLite format 3",
    b"\x89HDF",
    b"!<arch>\n",
)
_DECLARED = re.compile(rb"""(?:charset|coding|encoding)[ \t]*[=:][ \t]*["']?([\w.-]{2,40})""")
_DECLARED_WITHIN = 1024
_GUESSED = [
    *("cp1252", "cp1250", "cp1251", "cp1253", "cp1254", "cp1255", "cp1256", "koi8_r"),
    *("cp932", "euc_jp", "gb18030", "big5", "cp949", "euc_kr"),
]
"""What real files are in; with rarer ones on the list, short texts are guessed at random."""
_SAMPLE = 16 * 1024
_REPLACEMENT = "\ufffd"
_CONTROL = re.compile(r"[\x00-\x08\x0e-\x1a\x1c-\x1f\x7f-\x9f]")
_HIGH = re.compile(rb"[\x80-\xff]")
_FOREIGN = re.compile(r"[^\x00-\x7f]")


class Undecodable(Exception):
    """The bytes are no text; the argument is the reason."""


def decode(data: bytes) -> str:
    """The text of ``data``, with line ends as ``\\n``.

    UTF-8 is tried first, then a byte order mark, the encoding the text declares (PEP 263, HTML,
    XML) and the one its letters suggest. Bytes that do not fit a text that is otherwise UTF-8
    become U+FFFD.

    Raises:
        Undecodable: the bytes are binary, or in no encoding we recognise.
    """
    return clean(_decoded(data))


def clean(text: str) -> str:
    """The text as it can be stored: ``\\n`` ends lines, and no NUL or lone surrogate is left."""
    if "\r" in text:
        text = text.replace("\r\n", "\n")
        # A lone return ends lines only where nothing else does (old Mac files); in the output
        # of a progress bar it does not, and counting it would shift every line number.
        if "\n" not in text:
            text = text.replace("\r", "\n")
    if "\x00" in text:
        text = text.replace("\x00", _REPLACEMENT)
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return text.encode("utf-8", "surrogatepass").decode("utf-8", "replace")
    return text


def _decoded(data: bytes) -> str:
    for mark, encoding in _BOMS:
        if data.startswith(mark):
            return data[len(mark) :].decode(encoding, "replace")
    if data.startswith(_MAGIC) or b"\x00" in data:
        raise Undecodable(reasons.BINARY)
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return _mostly_utf8(data) or _declared(data) or _guessed(data)


def _mostly_utf8(data: bytes) -> str | None:
    """The text, if its valid UTF-8 letters outweigh the bytes that fit nowhere."""
    text = data.decode("utf-8", "replace")
    broken = text.count(_REPLACEMENT)
    whole = len(_FOREIGN.findall(text)) - broken
    return text if whole > broken else None


def _declared(data: bytes) -> str | None:
    match = _DECLARED.search(data, 0, _DECLARED_WITHIN)
    if match is None:
        return None
    try:
        return data.decode(match[1].decode("ascii"))
    except (LookupError, UnicodeError):
        return None


def _guessed(data: bytes) -> str:
    sample = _telling_lines(data)
    guess = None if _is_sparse(sample) else _most_likely(sample)
    for encoding in (guess, "cp1252"):
        if encoding is None:
            continue
        text = data.decode(encoding, "replace")
        if _is_plausible(text):
            return text
    raise Undecodable(reasons.UNKNOWN_ENCODING)


def _most_likely(sample: bytes) -> str | None:
    # Loaded here: it is needed for one file in thousands and costs as much as all the rest.
    from charset_normalizer import from_bytes

    best = from_bytes(sample, cp_isolation=_GUESSED, enable_fallback=False).best()
    return best.encoding if best is not None else None


def _is_sparse(sample: bytes) -> bool:
    """Whether so few letters lie outside ASCII that any guess but western would be chance."""
    foreign = len(_HIGH.findall(sample))
    return foreign < 8 and foreign * 5 <= len(sample)


def _telling_lines(data: bytes) -> bytes:
    """Whole lines with bytes outside ASCII, since the others say nothing about the encoding."""
    lines: list[bytes] = []
    size = 0
    for line in data.splitlines(keepends=True):
        if line.isascii():
            continue
        lines.append(line[: _SAMPLE - size])
        size += len(lines[-1])
        if size >= _SAMPLE:
            break
    return b"".join(lines)


def _is_plausible(text: str) -> bool:
    """Whether this reads as text: no control characters, and foreign ones mostly letters."""
    sample = text[: 64 * 1024]
    strange = len(_CONTROL.findall(sample)) + sample.count(_REPLACEMENT)
    if strange * 200 > len(sample):
        return False
    foreign = _FOREIGN.findall(sample)
    letters = sum(character.isalpha() for character in foreign)
    # In a text of a western language, few letters are accented; in bytes at random, most are
    # outside ASCII and half of those are signs.
    return letters * 3 >= len(foreign) * 2 or len(foreign) * 10 <= len(sample)
