"""Waiting for the store: a writer is answered once its entry of the log is committed."""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field

from ifmem.errors import OutcomeUnknown
from ifmem.wire.log_entries import BEGINNING, Verdict, position

_MOST_VERDICTS = 10_000


@dataclass
class Acknowledgements:
    """Who waits for which entry, and how far the store is.

    Guarantees:
        order: an entry is acknowledged only with all before it.
    """

    losses: int = 0
    """How often the log began anew, and what it held was lost."""
    _verdicts: OrderedDict[str, Verdict] = field(default_factory=OrderedDict)
    """The latest, for writers that ask after the commit."""
    _upto: tuple[int, int] = position(BEGINNING)
    _waiting: list[tuple[tuple[int, int], int, str, asyncio.Future[Verdict | None]]] = field(
        default_factory=list
    )
    _ties: itertools.count[int] = field(default_factory=itertools.count)

    async def wait(self, entry: str, *, seconds: float) -> Verdict | None:
        """What the store decided of an entry; None for a plain yes.

        Raises:
            OutcomeUnknown: the store cannot write now, or did not commit it in time.
        """
        place = position(entry)
        if place <= self._upto:
            return self._verdicts.get(entry)
        decided: asyncio.Future[Verdict | None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._waiting, (place, next(self._ties), entry, decided))
        try:
            async with asyncio.timeout(seconds):
                return await decided
        except TimeoutError as error:
            raise OutcomeUnknown(
                f"the store has not committed it within {seconds:g} s: repeat it with the same id",
                entry=entry,
            ) from error

    def advance(self, upto: str, verdicts: Mapping[str, Verdict]) -> None:
        """The store has committed everything up to an entry."""
        self._upto = max(self._upto, position(upto))
        self._verdicts.update(verdicts)
        while len(self._verdicts) > _MOST_VERDICTS:
            self._verdicts.popitem(last=False)
        while self._waiting and self._waiting[0][0] <= self._upto:
            _, _, entry, decided = heapq.heappop(self._waiting)
            if not decided.done():
                decided.set_result(verdicts.get(entry))

    def begin_again(self) -> None:
        """The log begins anew: nobody learns what became of their entry of the lost one."""
        self._upto = position(BEGINNING)
        self.losses += 1
        self.fail("the bus was lost before the store had it")

    def fail(self, reason: str) -> None:
        """Tell everybody who waits that it is not known when the store will have theirs."""
        waiting, self._waiting = self._waiting, []
        for _, _, entry, decided in waiting:
            if not decided.done():
                decided.set_exception(
                    OutcomeUnknown(f"{reason}: repeat it with the same id", entry=entry)
                )
