"""Which slot of the local engine holds which prefix, and who may use it now."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile

_GROWN = 0.5
"""A slot whose tokens begin the wanted ones by this share is an earlier state of the same shard."""


@dataclass(slots=True)
class Slot:
    """One place of the engine. While somebody has it, only they may change what it holds."""

    number: int
    key: str | None = None
    """Of the prefix it holds, or is about to hold."""
    tokens: Sequence[int] = ()
    """Of that prefix."""
    taken: bool = False
    used: int = 0
    """Grows with every use of any slot: the least is the one unused longest."""


class Slots:
    """All slots of an engine; used from one event loop."""

    def __init__(self, count: int) -> None:
        self._slots = [Slot(number) for number in range(count)]
        self._turn = 0
        self._waiting: list[asyncio.Future[None]] = []

    async def take(self, key: str, tokens: Sequence[int]) -> tuple[Slot, bool]:
        """A slot for a prefix, and whether it already holds it; give it back with ``release``.

        Calls with one prefix follow each other in one slot, so the second finds what the first
        has computed. A new prefix gets the slot that holds its own beginning (a shard that grew),
        else the free one that was unused longest.
        """
        while True:
            holder = self._holder(key)
            slot = holder or self._free_for(tokens)
            if slot is not None and not slot.taken:
                self._turn += 1
                slot.taken, slot.used = True, self._turn
                slot.key, slot.tokens = key, tokens
                return slot, holder is not None
            await self._changed()

    async def take_holder(self, key: str) -> Slot | None:
        """The slot that holds a prefix, once nobody uses it; None when none does."""
        while (slot := self._holder(key)) is not None:
            if not slot.taken:
                slot.taken = True
                return slot
            await self._changed()
        return None

    def forget(self, slot: Slot) -> None:
        """What a slot holds is no longer known; it stays taken."""
        slot.key, slot.tokens, slot.used = None, (), 0

    def release(self, slot: Slot) -> None:
        """Let others use it."""
        slot.taken = False
        waiting, self._waiting = self._waiting, []
        for one in waiting:
            if not one.done():
                one.set_result(None)

    def _holder(self, key: str) -> Slot | None:
        return next((slot for slot in self._slots if slot.key == key), None)

    def _free_for(self, tokens: Sequence[int]) -> Slot | None:
        free = [slot for slot in self._slots if not slot.taken]
        grown = [slot for slot in free if slot.tokens and _begins(slot.tokens, tokens)]
        return min(grown or free, key=lambda slot: slot.used, default=None)

    async def _changed(self) -> None:
        change = asyncio.get_running_loop().create_future()
        self._waiting.append(change)
        await change


def _begins(held: Sequence[int], wanted: Sequence[int]) -> bool:
    alike = sum(
        1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(held, wanted, strict=False))
    )
    return alike >= _GROWN * max(len(held), 1)
