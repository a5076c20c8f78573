"""Text for people: styles on a terminal only, hostile characters made visible, short paths."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TextIO


class Bold(str):
    """Text that stands out."""

    __slots__ = ()


class Dim(str):
    """Text that stands back."""

    __slots__ = ()


class Accent(str):
    """Text that names a place."""

    __slots__ = ()


_CODES = {Bold: "1", Dim: "2", Accent: "36"}
# What a terminal obeys instead of showing: escape sequences and text that runs backwards.
_COMMANDS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


class Paper:
    """Writes lines for a person who stands in a directory."""

    def __init__(self, stream: TextIO, directory: Path) -> None:
        self._stream = stream
        self._directory = directory
        self._styled = (
            stream.isatty()
            and not os.environ.get("NO_COLOR")
            and os.environ.get("TERM", "") != "dumb"
        )

    def line(self, *spans: str) -> None:
        """Write one line; spans are plain, ``Bold``, ``Dim`` or ``Accent``."""
        self._stream.write("".join(self._styled_span(span) for span in spans) + "\n")

    def table(self, header: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
        """Write rows under a header; numbers stand right, with thousands apart."""
        cells = [[_cell(value) for value in row] for row in rows]
        widths = [max(map(len, column)) for column in zip(header, *cells, strict=True)]
        right = [
            all(isinstance(row[i], int | float) for row in rows) and bool(rows)
            for i in range(len(header))
        ]
        for style, row in [(Dim, header), *((str, row) for row in cells)]:
            padded = (
                cell.rjust(width) if to_right else cell.ljust(width)
                for cell, width, to_right in zip(row, widths, right, strict=True)
            )
            self.line(style("  ".join(padded).rstrip()))

    def place(self, source: str, lines: Sequence[int] | None = None) -> str:
        """A source as seen from here, with its lines: ``src/retry.py:10-12``."""
        path = short_path(source, self._directory)
        if not lines:
            return path
        first, last = lines
        return f"{path}:{first}" if first == last else f"{path}:{first}-{last}"

    def _styled_span(self, span: str) -> str:
        text = visible(span)
        code = _CODES.get(type(span))
        return f"\x1b[{code}m{text}\x1b[0m" if self._styled and code and text else text


def visible(text: str) -> str:
    """The text with everything a terminal would obey written out."""
    return _COMMANDS.sub(lambda match: match[0].encode("unicode_escape").decode(), text)


def one_line(text: str, limit: int = 200) -> str:
    """The text on one line, cut where a reader has seen enough."""
    joined = " ".join(text.split())
    return joined if len(joined) <= limit else joined[: limit - 1].rstrip() + "…"


def short_path(source: str, directory: Path) -> str:
    """A path relative to a directory when that is shorter; anything else as it is."""
    if not source.startswith("/"):
        return source
    relative = os.path.relpath(source, os.path.realpath(directory))
    return relative if len(relative) < len(source) else source


def size(count: int) -> str:
    """Bytes in the unit a person would choose."""
    amount = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if amount < 1000 or unit == "GB":
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1000
    raise AssertionError("unreachable")


def count(number: int, noun: str) -> str:
    """``1 document``, ``1,204 documents``."""
    plural = noun[:-1] + "ies" if noun.endswith("y") else noun + "s"
    return f"{number:,} {noun if number == 1 else plural}"


def _cell(value: object) -> str:
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    return visible(str(value))
