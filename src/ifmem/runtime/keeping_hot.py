"""What is done for hot shards while nobody asks: pings, letting go, warming ahead.

Nothing runs before a model was used: the keeper waits for what is reported.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta

from ifmem import clock
from ifmem.bus.state import ShardState
from ifmem.domain.model import EXTRACTIVE, ModelCall, ModelCard, Purpose
from ifmem.domain.prompt import Prompt
from ifmem.engine.hotness import Heat, Hotness
from ifmem.engine.keeping_alive import Step, plan
from ifmem.engine.shard_models import model_of
from ifmem.errors import BudgetExceeded, IfMemError
from ifmem.llm.port import LanguageModel
from ifmem.prompts.shard_answer import shard_answer
from ifmem.runtime.shard_prompts import budget_of
from ifmem.runtime.space import Space
from ifmem.runtime.warming import Key, Warmth

log = logging.getLogger(__name__)

_REST_SECONDS = 1.0
"""Between two looks, however much is asked meanwhile."""

_NOT_AGAIN_FOR = timedelta(minutes=1)
"""After a failure."""

PromptOf = Callable[[int, ModelCard], Awaitable[Prompt | None]]
"""A shard as its model is told it now; None when that is not the whole of it."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """A shard that is to be hot."""

    shard: int
    generation: int
    model: str


async def keep_hot(space: Space) -> None:
    """Keep what is hot as long as that pays, until cancelled."""
    warmth = space.warmth
    keeper = Keeper(
        warmth,
        card=space.models.card,
        model=lambda name: space.models.model(name, space.accounts),
        prompt=lambda shard, card: _prompt_of(space, shard, card),
        pings=space.settings.models.keep_hot != "off",
    )
    until: datetime | None = None
    while True:
        await _due(warmth, until)
        until = None
        try:
            if warmth.grown and space.settings.models.keep_hot == "ahead":
                warmth.grown = False
                await keeper.warm(await _all_shards(space))
            until = await keeper.look()
        except IfMemError as error:
            # Nobody waits for this: what is not kept is written again by the next question.
            log.warning("keeping space %s hot: %s", space.name, error.message)
        except Exception:
            log.exception("keeping space %s hot", space.name)
        await asyncio.sleep(_REST_SECONDS)


class Keeper:
    """What is due for the prefixes of a space."""

    def __init__(
        self,
        warmth: Warmth,
        *,
        card: Callable[[str], ModelCard],
        model: Callable[[str], Awaitable[LanguageModel]],
        prompt: PromptOf,
        pings: bool = True,
    ) -> None:
        self._warmth = warmth
        self._card = card
        self._model = model
        self._prompt = prompt
        self._pings = pings
        self._tried: dict[Key, datetime | None] = {}
        """Until when a prefix was hot that could not be kept so any longer."""
        self._closed_until = datetime.min.replace(tzinfo=UTC)
        """The day's limit for this is spent until then."""

    async def look(self) -> datetime | None:
        """Do what is due now; when to look again. None: when something is reported."""
        for one in self._warmth.take_replaced():
            await self._unless_impossible(one, self._drop(one, "documents were added since"))
        kept = self._warmth.kept()
        keys = {(one.model, one.prefix_sha256) for one in kept}
        self._tried = {key: until for key, until in self._tried.items() if key in keys}
        moments: list[datetime] = []
        async with asyncio.TaskGroup() as group:
            for one in kept:
                group.create_task(self._look_at(one, moments))
        return min(moments, default=None)

    async def warm(self, wanted: Sequence[Wanted]) -> None:
        """Warm the shards that are not hot; stops when the day's limit is spent."""
        for one in wanted:
            if self._is_closed():
                return
            known = self._warmth.of_shard(one.model, one.shard)
            try:
                await self._warm_ahead(one, known)
            except BudgetExceeded as error:
                self._close(error)
            except IfMemError as error:
                log.warning("warming shard %s ahead: %s", one.shard, error.message)

    async def _look_at(self, one: Hotness, moments: list[datetime]) -> None:
        moment = await self._unless_impossible(one, self._step(one))
        if moment is not None:
            moments.append(moment)

    async def _unless_impossible(
        self, one: Hotness, step: Awaitable[datetime | None] | Awaitable[None]
    ) -> datetime | None:
        try:
            return await step
        except BudgetExceeded as error:
            self._close(error)
        except IfMemError as error:
            log.warning("keeping shard %s of %s hot: %s", one.shard, one.model, error.message)
        # What holds an object is accounted for sooner or later.
        return self._warmth.now() + _NOT_AGAIN_FOR if one.is_object else None

    async def _step(self, one: Hotness) -> datetime | None:
        if one.hot_until is None and not one.is_object:
            return None  # nothing was promised, so nothing can be kept
        at = self._warmth.now()
        price = self._warmth.price(one.model, at)
        planned = plan(one, price, self._card(one.model).cache, at)
        match planned.step:
            case Step.WAIT:
                return planned.until
            case Step.DROP:
                lapsed = one.hot_until is not None and at >= one.hot_until
                await self._drop(one, "its hour ended" if lapsed else "no questions came")
                return None
            case Step.PING if self._may_ping(one):
                # What that did is reported, and looked at again.
                await self._ping(one)
                return None
            case Step.PING | Step.LET_GO:
                # An object ends by itself, and is accounted for then.
                return one.hot_until if one.is_object else None

    def _may_ping(self, one: Hotness) -> bool:
        tried = self._tried.get((one.model, one.prefix_sha256))
        return self._pings and not self._is_closed() and (tried is None or tried != one.hot_until)

    async def _ping(self, one: Hotness) -> None:
        # Once for each end: what did not move it would not the next time.
        self._tried[one.model, one.prefix_sha256] = one.hot_until
        prompt = None if one.shard is None else await self._current(one.shard, one.model)
        if prompt is None or prompt.prefix_sha256 != one.prefix_sha256:
            if one.is_object:
                await self._drop(one, "documents were added since")
            return
        await self._warmth.warm(
            await self._model(one.model),
            ModelCall(
                call_id=clock.new_id(),
                prompt=prompt,
                purpose=Purpose.KEEP_ALIVE,
                max_output=0,
                shard=one.shard,
                generation=one.generation,
                lifetime=one.lifetime,
                handle=one.handle,
            ),
        )

    async def _warm_ahead(self, one: Wanted, known: Hotness | None) -> None:
        prompt = await self._current(one.shard, one.model)
        if prompt is None:
            return
        now_known = self._warmth.state(
            one.shard, one.model, prompt.prefix_sha256, self._warmth.now()
        )
        if now_known.state(self._warmth.now()) is Heat.HOT:
            return
        packed_anew = known is not None and known.generation != one.generation
        await self._warmth.warm(
            await self._model(one.model),
            ModelCall(
                call_id=clock.new_id(),
                prompt=prompt,
                purpose=Purpose.REPACK if packed_anew else Purpose.WARM,
                max_output=0,
                shard=one.shard,
                generation=one.generation,
            ),
        )

    async def _current(self, shard: int, model: str) -> Prompt | None:
        return await self._prompt(shard, self._card(model))

    async def _drop(self, one: Hotness, why: str) -> None:
        """Give an object up and settle its storage; one that ended by itself is only settled."""
        at = self._warmth.now()
        if one.handle is not None and one.hot_until is not None and at < one.hot_until:
            model = await self._model(one.model)
            await model.drop(one.handle)
        await self._warmth.storage.end(one, at)
        self._warmth.let_go(one, why)

    def _is_closed(self) -> bool:
        return self._warmth.now() < self._closed_until

    def _close(self, error: BudgetExceeded) -> None:
        today = self._warmth.now().astimezone(UTC).date()
        self._closed_until = datetime.combine(today + timedelta(days=1), time(), UTC)
        log.info("nothing is kept hot until tomorrow: %s", error.message)


async def _prompt_of(space: Space, shard: int, card: ModelCard) -> Prompt | None:
    """A shard as questions have it before them; None when its model is shown passages only."""
    _, states = await space.bus.shards()
    state = next((one for one in states if one.number == shard), None)
    if state is None or not state.documents:
        return None
    context = await space.contexts.fetch(shard)
    text = await space.compute(space.shard_texts.of, context)
    if text.tokens > budget_of(space, space.settings.models, state.speciality, card):
        return None
    return shard_answer(text.text, "", structured=card.structured)


async def _all_shards(space: Space) -> list[Wanted]:
    """Every shard with documents and a model."""
    _, states = await space.bus.shards()
    return [
        Wanted(one.number, one.generation, name)
        for one in states
        if one.documents and (name := _model_of(space, one)) != EXTRACTIVE
    ]


def _model_of(space: Space, state: ShardState) -> str:
    return model_of(space.settings.models, state.number, state.speciality).model


async def _due(warmth: Warmth, until: datetime | None) -> None:
    """Wait until a moment, or until something is reported."""
    seconds = None if until is None else max((until - warmth.now()).total_seconds(), 0.0)
    try:
        async with asyncio.timeout(seconds):
            await warmth.changed.wait()
    except TimeoutError:
        return
    warmth.changed.clear()
