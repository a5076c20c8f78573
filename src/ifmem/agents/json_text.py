"""JSON as people write it, comments and trailing commas included, with the place of every value.

Only what an edit needs is kept: where each object, array, member and element begins and ends in
the text, so that everything else stays as it is, byte for byte.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from ifmem.agents.unreadable import UnreadableError

_DEEPEST = 200
_GAP = re.compile(r"(?:[ \t\r\n]+|//[^\r\n]*|/\*.*?\*/)*", re.DOTALL)
_STRING = re.compile(r'"(?:[^"\\]|\\.)*"')
_SCALAR = re.compile(r"[-+0-9.eE]+|true|false|null")


@dataclass(slots=True)
class Item:
    """A member of an object, or an element of an array."""

    start: int
    """Where its name begins; of an element, its value."""
    value: Value
    name: str | None = None
    comma: int | None = None
    """Where the comma after it stands."""


@dataclass(slots=True)
class Value:
    """A value, and the text it takes: ``text[start:end]``."""

    start: int
    end: int
    plain: Any
    """As ``json.loads`` would give it."""
    items: Sequence[Item] = ()
    """Of an object or an array, in the order written."""

    def member(self, name: str) -> Item | None:
        """The member of that name; the last one, as in every reader, where there are several."""
        named = [item for item in self.items if item.name == name]
        return named[-1] if named and isinstance(self.plain, dict) else None


def parse(text: str) -> Value:
    """The one value of a text.

    Raises:
        UnreadableError: it is no JSON, even with comments and trailing commas allowed.
    """
    scanner = _Scanner(text)
    scanner.skip_gap(text.startswith("\ufeff"))
    value = scanner.value(_DEEPEST)
    scanner.skip_gap()
    if scanner.at != len(text):
        raise scanner.wrong("more than one value")
    return value


def plain(text: str) -> Any:
    """The value of a text without its places, which takes a fraction of the time.

    Raises:
        UnreadableError: as ``parse``.
    """
    try:
        return json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError):
        # It may have comments; and if not, this one says where it is wrong.
        return parse(text).plain


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is no JSON")


class _Scanner:
    """Reads a text once, from its beginning to its end."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0

    def wrong(self, what: str) -> UnreadableError:
        line = self.text.count("\n", 0, self.at) + 1
        return UnreadableError(f"it is no JSON: {what} in line {line}")

    def skip_gap(self, mark: bool = False) -> None:
        """Go behind spaces and comments; ``mark``: behind a byte order mark first."""
        found = _GAP.match(self.text, self.at + mark)
        self.at = found.end() if found else self.at

    def takes(self, character: str) -> bool:
        if not self.text.startswith(character, self.at):
            return False
        self.at += 1
        return True

    def value(self, depth: int) -> Value:
        if not depth:
            raise self.wrong("values nested too deep")
        start = self.at
        if self.takes("{"):
            members = list(self._items("}", depth))
            plain: Any = {item.name: item.value.plain for item in members}
            return Value(start, self.at, plain, members)
        if self.takes("["):
            elements = list(self._items("]", depth))
            return Value(start, self.at, [item.value.plain for item in elements], elements)
        plain = self._token()
        return Value(start, self.at, plain)

    def _items(self, closing: str, depth: int) -> Iterator[Item]:
        self.skip_gap()
        while not self.takes(closing):
            start, name = self.at, self._name() if closing == "}" else None
            value = self.value(depth - 1)
            self.skip_gap()
            comma = self.at - 1 if self.takes(",") else None
            yield Item(start, value, name, comma)
            self.skip_gap()
            if comma is None and not self.text.startswith(closing, self.at):
                raise self.wrong(f"no , or {closing}")

    def _name(self) -> str:
        name = self._token()
        if not isinstance(name, str):
            raise self.wrong("a member without a name")
        self.skip_gap()
        if not self.takes(":"):
            raise self.wrong("no :")
        self.skip_gap()
        return name

    def _token(self) -> Any:
        pattern = _STRING if self.text.startswith('"', self.at) else _SCALAR
        found = pattern.match(self.text, self.at)
        if found is None:
            raise self.wrong("no value")
        try:
            plain = json.loads(found[0])
        except ValueError as error:
            raise self.wrong(f"{found[0][:20]!r}") from error
        self.at = found.end()
        return plain
