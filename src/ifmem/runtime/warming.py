"""What providers hold of a space's shards: every call over a shard's documents goes through here.

A call gets the lifetime, the handle and the cache key that make its prefix readable to the next
one; what its usage says of the prefix is remembered; and questions to a cold prefix wait for the
first of them, since together each would pay for all of it.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Literal, TypeAlias

from ifmem import clock
from ifmem.domain.model import Caching, Completion, ModelCall, ModelCard, Purpose, Warming
from ifmem.domain.prompt import Prompt
from ifmem.engine.hotness import Heat, Hotness, after_call, is_readable, never_asked
from ifmem.engine.keeping_alive import lifetime_for, object_pays
from ifmem.errors import IfMemError
from ifmem.llm.port import LanguageModel
from ifmem.runtime.accounts import LedgerAccounts
from ifmem.runtime.cache_storage import CacheStorage, PriceOf
from ifmem.runtime.one_first import OneFirst
from ifmem.store import hotness as reports
from ifmem.store.database import Database

log = logging.getLogger(__name__)

Key: TypeAlias = tuple[str, str]
"""A model and the digest of a prefix."""
KeepHot: TypeAlias = Literal["auto", "off", "ahead"]
Send: TypeAlias = Callable[[LanguageModel, ModelCall], Awaitable[Completion]]

_CHARACTERS_OF_A_TOKEN = 3
_NEVER = datetime.min.replace(tzinfo=UTC)
_OBJECT_LIFETIME = timedelta(hours=1)


class Warmth:
    """Hot and cold of one space's shards, remembered over restarts.

    Args:
        name: of the space, as providers may see it in cache keys.
        price: of a model at a moment.
        keep_hot: as `models.keep_hot`: with `off` no cache object is made, with `ahead` the keeper
            is told of documents that came.
    """

    def __init__(
        self,
        database: Database,
        accounts: LedgerAccounts,
        price: PriceOf,
        *,
        name: str,
        keep_hot: KeepHot = "auto",
        now: Callable[[], datetime] = clock.now,
    ) -> None:
        self.changed = asyncio.Event()
        """Set when something became known that the keeper should look at."""
        self.grown = False
        """Documents came, or moved, since the keeper last looked."""
        self.storage = CacheStorage(accounts, price)
        self.price = price
        self.now = now
        self._database = database
        self._name = name
        self._objects = keep_hot != "off"
        self._ahead = keep_hot == "ahead"
        self._known: dict[Key, Hotness] = {}
        self._newest: dict[tuple[str, int], str] = {}
        """Digest of each model's and shard's newest prefix."""
        self._replaced: list[Hotness] = []
        self._firsts = OneFirst()
        for one in database.read(reports.all_reports):
            self._take(one.restarted())
        if any(one.state(now()) is Heat.HOT or one.is_object for one in self.kept()):
            self.changed.set()

    async def complete(self, model: LanguageModel, call: ModelCall) -> Completion:
        """As the model's; over documents, after the first call to a cold prefix has begun."""
        if not call.prompt.documents:
            return await model.complete(call)
        return await self._in_turn(model, call, self._complete)

    async def warm(self, model: LanguageModel, call: ModelCall) -> Completion:
        """Have the provider hold the call's prefix, in its own way.

        Raises:
            BudgetExceeded: a limit would be passed, also that of an object's storage.
        """
        return await self._in_turn(model, call, self._warm)

    def state(self, shard: int | None, model: str, prefix_sha256: str, at: datetime) -> Hotness:
        """What is known of a prefix; ``.state(at)`` says whether it is hot."""
        known = self._known.get((model, prefix_sha256))
        return known or never_asked(model, shard, None, prefix_sha256)

    def of_shard(self, model: str, shard: int) -> Hotness | None:
        """What was last reported of a shard by a model."""
        digest = self._newest.get((model, shard))
        return None if digest is None else self._known.get((model, digest))

    def newest_of(self, shard: int) -> Hotness | None:
        """What was last reported of a shard by any model."""
        asked = [one for one in self.kept() if one.shard == shard and one.last_call_at is not None]
        return max(asked, key=lambda one: one.last_call_at or _NEVER, default=None)

    def kept(self) -> list[Hotness]:
        """The newest prefix of every model and shard that was sent."""
        return [self._known[model, digest] for (model, _), digest in self._newest.items()]

    def stir(self) -> None:
        """Documents came, or moved: shards may be warmed ahead."""
        self.grown = True
        if self._ahead:
            self.changed.set()

    def take_replaced(self) -> list[Hotness]:
        """Objects that nobody reads any more, for the keeper to end."""
        replaced, self._replaced = self._replaced, []
        return replaced

    def let_go(self, hotness: Hotness, why: str) -> None:
        """An object was given up."""
        known = self._known.get((hotness.model, hotness.prefix_sha256))
        if known is None or known.handle != hotness.handle:
            return
        gone = replace(
            known,
            reported=Heat.COLD,
            hot_until=None,
            why_missed=why,
            handle=None,
            storage_id=None,
            storage_from=None,
            held_since=None,
        )
        self._take(gone)
        self._keep(gone)

    async def _in_turn(self, model: LanguageModel, call: ModelCall, send: Send) -> Completion:
        card = model.card
        key = (str(card.ref), call.prompt.prefix_sha256)
        return await self._firsts.send(
            key,
            call,
            partial(send, model),
            readable=lambda: is_readable(self._known.get(key), card.cache, self.now()),
            at_first_token=card.cache.warming is not Warming.TWO_QUESTIONS,
        )

    async def _complete(self, model: LanguageModel, call: ModelCall) -> Completion:
        card, at = model.card, self.now()
        directed = self._directed(card, call, at)
        if directed.handle is None and self._wants_object(card, call, at):
            handle = await self._object_for(model, directed)
            directed, at = replace(directed, handle=handle), self.now()
        completion = await model.complete(directed)
        self._record(card, directed, completion, at)
        return completion

    async def _warm(self, model: LanguageModel, call: ModelCall) -> Completion:
        card, at = model.card, self.now()
        directed = self._directed(card, call, at)
        if card.cache.caching is Caching.OBJECT:
            return await self._hold_object(model, directed, at)
        completion = await model.warm(directed)
        both = card.cache.warming is Warming.TWO_QUESTIONS and completion.miss_reason is None
        self._record(card, directed, completion, at, requests=2 if both else 1)
        return completion

    def _directed(self, card: ModelCard, call: ModelCall, at: datetime) -> ModelCall:
        """With what makes its prefix readable, and what holds it already."""
        known = self._known.get((str(card.ref), call.prompt.prefix_sha256))
        before = known or self._before(card, call)
        handle = call.handle
        if handle is None and known is not None:
            # An object that lapsed is not there; a slot may be saved.
            lives = card.cache.caching is Caching.ENGINE or known.state(at) is Heat.HOT
            handle = known.handle if lives else None
        return replace(
            call,
            lifetime=call.lifetime or lifetime_for(card.cache, before, at),
            handle=handle,
            cache_key=call.cache_key or f"{self._name}-{call.shard or 0}",
        )

    def _wants_object(self, card: ModelCard, call: ModelCall, at: datetime) -> bool:
        if not self._objects or card.cache.caching is not Caching.OBJECT:
            return False
        known = self._before(card, call)
        return object_pays(known, self.price(str(card.ref), at), card.cache)

    async def _object_for(self, model: LanguageModel, call: ModelCall) -> str | None:
        """The handle of an object made for the questions to come; None when none could be."""
        warming = replace(
            call,
            call_id=clock.new_id(),
            purpose=Purpose.WARM,
            max_output=0,
            question_id=None,
            limit=None,
            begun=None,
        )
        try:
            return (await self._warm(model, warming)).handle
        except IfMemError as error:
            # The question can be answered without it.
            log.warning("no cache object for shard %s: %s", call.shard, error.message)
            return None

    async def _hold_object(self, model: LanguageModel, call: ModelCall, at: datetime) -> Completion:
        """An object made or prolonged, with the row for its storage."""
        card, name = model.card, str(model.card.ref)
        lifetime = call.lifetime or _OBJECT_LIFETIME
        before = self._known.get((name, call.prompt.prefix_sha256))
        tokens = before.prefix_tokens if before is not None else 0
        storage_id = await self.storage.begin(
            name, call, tokens=tokens or _at_most(card, call.prompt), at=at, lifetime=lifetime
        )
        try:
            completion = await model.warm(replace(call, lifetime=lifetime))
        except BaseException:
            await asyncio.shield(self.storage.give_up(storage_id, "no object was made"))
            raise
        if completion.handle is None:
            await self.storage.give_up(storage_id, "no object was made")
            self._record(card, call, completion, at)
            return completion
        if before is not None and before.handle is not None:
            await self.storage.end(before, at)
        is_same = before is not None and before.handle == completion.handle
        self._record(
            card,
            call,
            completion,
            at,
            held=_Held(storage_id, at, (before.held_since if before and is_same else None) or at),
        )
        return completion

    def _record(
        self,
        card: ModelCard,
        call: ModelCall,
        completion: Completion,
        at: datetime,
        *,
        requests: int = 1,
        held: _Held | None = None,
    ) -> None:
        before = self._before(card, call)
        price = self.price(str(card.ref), at)
        cost = 0 if price is None else price.cost(completion.usage)
        seen = after_call(before, card, call, completion, at, cost=cost, requests=requests)
        if held is not None:
            seen = replace(seen, storage_id=held.row, storage_from=held.since, held_since=held.made)
        if before is not None and _lost_its_object(before, seen):
            self._end_later(before)
        self._take(seen)
        self._keep(seen)
        self.changed.set()

    def _before(self, card: ModelCard, call: ModelCall) -> Hotness | None:
        """What is known of the prefix, else of the shard's last one."""
        name = str(card.ref)
        known = self._known.get((name, call.prompt.prefix_sha256))
        if known is not None or call.shard is None:
            return known
        return self.of_shard(name, call.shard)

    def _take(self, one: Hotness) -> None:
        """Hold a report; it replaces that of the shard's prefix before."""
        self._known[one.model, one.prefix_sha256] = one
        if one.shard is None:
            return
        place = (one.model, one.shard)
        older = self._newest.get(place)
        self._newest[place] = one.prefix_sha256
        if older is None or older == one.prefix_sha256:
            return
        gone = self._known.pop((one.model, older), None)
        if gone is not None:
            self._end_later(gone)
            self._write(partial(reports.forget, model=one.model, prefix_sha256=older))

    def _end_later(self, one: Hotness) -> None:
        if one.is_object or one.storage_id is not None:
            self._replaced.append(one)

    def _keep(self, one: Hotness) -> None:
        at = clock.stamp(self.now())
        self._write(partial(reports.keep, hotness=one, at=at))

    def _write(self, work: Callable[[sqlite3.Connection], None]) -> None:
        """Behind the reply; what is lost with a crash is reported anew by the next call."""
        self._database.write(work).add_done_callback(_noted)


@dataclass(frozen=True, slots=True)
class _Held:
    """An object's storage: its row, since when that counts, and when the object was made."""

    row: str
    since: datetime
    made: datetime


def _lost_its_object(before: Hotness, seen: Hotness) -> bool:
    return before.prefix_sha256 == seen.prefix_sha256 and before.handle != seen.handle


def _noted(written: Future[None]) -> None:
    error = written.exception()
    if error is not None:
        log.warning("hotness was not written: %s", error)


def _at_most(card: ModelCard, prompt: Prompt) -> int:
    characters = len(prompt.rules) + len(prompt.documents)
    return round(characters / _CHARACTERS_OF_A_TOKEN * card.tokens_per_o200k)
