"""Entries of the log between the bus and the store, and what the store says of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import msgspec

from ifmem.errors import Invalid

BEGINNING = "0-0"
"""The position before the first entry."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry, its fields as the function on the server wrote them."""

    id: str
    """``<ms>-<n>``: grows within the life of a server."""
    kind: str
    """``finding``, ``task``, ``message`` or ``audit``."""
    at_ms: int
    """When it was appended, by the server's clock."""
    fields: Mapping[str, bytes]

    def text(self, name: str) -> str:
        """A field as text; ``Invalid`` when it is absent or not UTF-8."""
        try:
            return self.fields[name].decode()
        except KeyError as error:
            raise Invalid(f"a {self.kind} entry needs the field {name!r}") from error
        except UnicodeDecodeError as error:
            raise Invalid(f"the field {name!r} is not UTF-8") from error

    def integer(self, name: str) -> int:
        """A field as a whole number; ``Invalid`` otherwise."""
        try:
            number = int(self.text(name))
        except ValueError as error:
            raise Invalid(f"the field {name!r} is no whole number") from error
        if abs(number) > LARGEST:
            raise Invalid(f"the field {name!r} is past every number that is counted here")
        return number


LARGEST = 10**14
"""Of any number in an entry: a time in ms until the year 5138, and exact in a score of the bus."""


class Verdict(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the store decided of an entry when that is not simply yes."""

    outcome: str
    """``refused``, ``known`` or ``unreadable``."""
    message: str
    """One sentence for a person."""
    facts: dict[str, str] = {}


def position(entry_id: str) -> tuple[int, int]:
    """An entry's id as numbers that compare in log order.

    Raises:
        Invalid: it is no ``<ms>-<n>``.
    """
    first, _, second = entry_id.partition("-")
    if not (first.isdecimal() and second.isdecimal()):
        raise Invalid(f"{entry_id[:40]!r} is no position in the log")
    return int(first), int(second)


def read_entry(entry_id: bytes, raw: Mapping[bytes, bytes]) -> Entry:
    """The entry that the stream holds.

    Raises:
        Invalid: it has no kind or no time.
    """
    fields = {name.decode("utf-8", "replace"): value for name, value in raw.items()}
    bare = Entry(entry_id.decode(), fields.get("kind", b"?").decode("utf-8", "replace"), 0, fields)
    bare.text("kind")
    return Entry(bare.id, bare.kind, bare.integer("at"), fields)
