"""What a process without a store learns of the store's commits, through the bus."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import Counter, OrderedDict
from collections.abc import Callable

import msgspec

from ifmem.bus.bus import Bus
from ifmem.bus.feed import Feed
from ifmem.errors import NotPermitted, OutcomeUnknown, Refused, Unavailable
from ifmem.runtime.acknowledging import Acknowledgements
from ifmem.runtime.insisting import NOT_OPENED, REBUILDING, committed
from ifmem.wire import keys
from ifmem.wire.log_entries import BEGINNING, Verdict, position

log = logging.getLogger(__name__)

_BACKSTOP_SECONDS = 1.0
_MOST_VERDICTS = 10_000


class _Said(msgspec.Struct, frozen=True):
    """A message on ``channel:durable``."""

    drained: str | None = None
    verdicts: dict[str, Verdict] = {}
    refusing: str = ""
    epoch: int | None = None


_said = msgspec.json.Decoder(_Said)


class Commitments:
    """Waits for the store through ``channel:durable``, and looks itself as a backstop.

    Guarantees:
        no false yes: what a server had accepted when it was lost is never taken for committed
            because another server's entries are. After every reconnect nothing is believed until
            the server and the epoch are known to be the same; otherwise all who wait are told.
    """

    def __init__(self, bus: Bus, feed: Feed, *, commit_seconds: float) -> None:
        self._bus = bus
        self._seconds = commit_seconds
        self._acknowledgements = Acknowledgements()
        self._waiting: Counter[str] = Counter()
        self._look = asyncio.Event()
        self._believed = False
        self._sure = asyncio.Event()
        self._life: tuple[str, int] | None = None
        """Of the log: the server's process and the store's epoch."""
        self._heard_since = self._upto = position(BEGINNING)
        """Between these, every verdict was heard."""
        self._verdicts: OrderedDict[str, Verdict] = OrderedDict()
        self._ends: list[Callable[[], None]] = [
            feed.listen(keys.CHANNEL_DURABLE, self._hear),
            feed.on_connected(self._doubt),
        ]

    @property
    def losses(self) -> int:
        """How often all who waited were told that the bus was lost; their steps are repeated."""
        return self._acknowledgements.losses

    def close(self) -> None:
        """Listen no longer."""
        while self._ends:
            self._ends.pop()()

    async def sure(self) -> None:
        """Wait until it is known which server this is, and how far the store is."""
        await self._sure.wait()

    async def durable(self, entry: str, **facts: object) -> Verdict | None:
        """Wait until the store has committed an entry of the log; errors as ``Space.durable``.

        Raises:
            Refused: the store would not have it.
            OutcomeUnknown: it was not committed in time, or the bus was lost: ``facts`` say what
                to repeat.
        """
        return await committed(self._decided(entry), **facts)

    async def caught_up(self, entry: str, **facts: object) -> None:
        """Wait until the store has committed what was said up to an entry of somebody else.

        Raises:
            OutcomeUnknown: as ``durable``.
        """
        with contextlib.suppress(Refused):
            await self.durable(entry, **facts)

    async def _decided(self, entry: str) -> Verdict | None:
        place = position(entry)
        if self._believed and place <= self._upto:
            if place > self._heard_since:
                return self._verdicts.get(entry)
            try:
                return await self._bus.log.verdict(entry)
            except Unavailable as error:
                raise OutcomeUnknown(f"{error.message}; repeat it with the same id") from error
        self._waiting[entry] += 1
        self._look.set()
        try:
            return await self._acknowledgements.wait(entry, seconds=self._seconds)
        finally:
            self._waiting[entry] -= 1
            if not self._waiting[entry]:
                del self._waiting[entry]

    async def watch(self) -> None:
        """Look, while somebody waits or the connection is new, how far the store is; for ever."""
        while True:
            await self._look.wait()
            try:
                await self._check()
            except (Unavailable, NotPermitted) as error:
                log.debug("how far the store is cannot be seen: %s", error.message)
            if self._believed and not self._waiting:
                self._look.clear()
            else:
                await asyncio.sleep(_BACKSTOP_SECONDS if self._believed else 0.1)

    def _hear(self, payload: bytes) -> None:
        try:
            said = _said.decode(payload)
        except msgspec.MsgspecError as error:
            log.warning("a message on the channel of commits cannot be read: %s", error)
            return
        if said.refusing in (REBUILDING, NOT_OPENED):
            self._lose()
        elif said.refusing:
            self._acknowledgements.fail(said.refusing)
        elif said.epoch is not None and self._life is not None and said.epoch != self._life[1]:
            self._doubt()
        elif said.drained is not None:
            # Kept also while in doubt: what is committed after the look that ends the doubt may be
            # told before that look is answered.
            self._verdicts.update(said.verdicts)
            while len(self._verdicts) > _MOST_VERDICTS:
                oldest, _ = self._verdicts.popitem(last=False)
                self._heard_since = max(self._heard_since, position(oldest))
            if self._believed:
                self._advance(said.drained, said.verdicts)

    def _advance(self, upto: str, verdicts: dict[str, Verdict]) -> None:
        self._upto = max(self._upto, position(upto))
        self._acknowledgements.advance(upto, verdicts)

    def _doubt(self) -> None:
        """Messages may have been missed, or the server may be another."""
        self._believed = False
        self._sure.clear()
        self._look.set()

    def _lose(self) -> None:
        self._life = None
        self._doubt()
        self._upto = self._heard_since = position(BEGINNING)
        self._verdicts.clear()
        self._acknowledgements.begin_again()

    async def _check(self) -> None:
        run_id = await self._bus.run_id()
        state = await self._bus.log.state()
        if state is None:
            # The bridge will write it; until then everything may have been lost.
            if self._life is not None:
                self._lose()
            return
        life = (run_id, state.epoch)
        if self._life is not None and self._life != life:
            self._lose()
        new, self._life = not self._believed, life
        if state.refusing:
            if state.refusing not in (REBUILDING, NOT_OPENED):
                self._acknowledgements.fail(state.refusing)
            return
        place = position(state.drained)
        if new:
            self._heard_since = max(self._heard_since, place)
            self._believed = True
            self._sure.set()
        verdicts = {}
        for entry in [one for one in self._waiting if position(one) <= place]:
            verdict = await self._bus.log.verdict(entry)
            if verdict is not None:
                verdicts[entry] = verdict
        if self._life == life:
            self._advance(state.drained, verdicts)
