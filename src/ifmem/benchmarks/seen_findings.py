"""What a subscriber has seen, written so that nothing of it is lost when it is killed."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec

_ENTRY = struct.Struct("<qqq")


class Seen(msgspec.Struct, frozen=True):
    """One finding that was seen, once or again."""

    number: int
    published_ns: int
    seen_ns: int

    @property
    def waited_ms(self) -> float:
        """From publishing to seeing."""
        return (self.seen_ns - self.published_ns) / 1e6


class SeenLog:
    """A file of one logical subscriber that all its processes, one after the other, append to."""

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def append(self, seen: Seen) -> None:
        """One write for each, with no buffer in the process: what was seen stays seen."""
        os.write(self._descriptor, _ENTRY.pack(seen.number, seen.published_ns, seen.seen_ns))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        os.close(self._descriptor)


def read_seen(path: Path) -> list[Seen]:
    """What was seen, in the order it was; nothing when the subscriber never came to write."""
    return list(_entries(path.read_bytes())) if path.exists() else []


def _entries(written: bytes) -> Iterator[Seen]:
    for fields in _ENTRY.iter_unpack(written):
        yield Seen(*fields)


class Delivery(msgspec.Struct, frozen=True):
    """What the logical subscribers of one run have got."""

    published: int
    subscribers: int
    lost: list[int]
    """By subscriber: findings it has never seen."""
    repeated: list[int]
    """By subscriber: findings it has seen again."""
    out_of_order: list[int]
    """By subscriber: findings first seen after a later one."""

    @property
    def lost_in_all(self) -> int:
        return sum(self.lost)


def delivery(published: int, seen: list[list[Seen]]) -> Delivery:
    """What was lost and repeated of the findings 0 to ``published`` - 1, by subscriber."""
    firsts = [list(dict.fromkeys(one.number for one in by_one)) for by_one in seen]
    wanted = set(range(published))
    return Delivery(
        published=published,
        subscribers=len(seen),
        lost=[len(wanted.difference(first)) for first in firsts],
        repeated=[len(by_one) - len(first) for by_one, first in zip(seen, firsts, strict=True)],
        out_of_order=[_out_of_order(first) for first in firsts],
    )


def _out_of_order(first_seen: list[int]) -> int:
    highest, count = -1, 0
    for number in first_seen:
        count += number < highest
        highest = max(highest, number)
    return count
