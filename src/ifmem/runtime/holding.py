"""Holding shards: taken, loaded, kept true to the bus, taken over from the dead, given back.

nobody's, the bridge's, the dead's ── load, take, ready ──▶ ours ── give back ──▶ the bridge's
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Coroutine, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from ifmem.bus.bus import Bus
from ifmem.bus.state import ShardState
from ifmem.errors import IfMemError, NotFound, Unavailable
from ifmem.runtime.answering import Answering
from ifmem.runtime.contexts import Contexts
from ifmem.runtime.held_answers import HeldAnswers
from ifmem.runtime.membership import Membership, OnEvent, Pauses
from ifmem.runtime.space import Space
from ifmem.wire.queries import Query, Response

log = logging.getLogger(__name__)

Shards = Collection[int] | Literal["any"] | None
"""Those to hold: by number, whatever no other worker holds, or none."""


@dataclass(frozen=True, slots=True)
class _Loaded:
    """A shard's context as it was loaded."""

    tokens: int
    generation: int
    documents: int

    @classmethod
    def of(cls, state: ShardState) -> _Loaded:
        return cls(state.tokens, state.generation, state.documents)


class Holding:
    """The shards of one worker.

    Guarantees:
        one holder: a shard is taken in one step on the server, and only from nobody, from a dead
            worker or from the bridge.
        ready: it is active only while its context, checked against its digests, is in memory here;
            what the bus has of it since is loaded with the next heartbeat.
    """

    def __init__(
        self, member: Membership, *, shards: Shards, capacity: int | None, on_event: OnEvent
    ) -> None:
        self._member = member
        self._bus = member.bus
        self._wanted = shards
        self._capacity = capacity
        self._say = on_event
        self._loaded: dict[int, _Loaded] = {}
        self._contexts = Contexts(member.bus)
        self._missing: dict[int, str] = {}
        self._look = asyncio.Event()
        self._look.set()
        self._changed = asyncio.Condition()
        self._answers = HeldAnswers()
        member.on_beat(self._look.set)

    @property
    def ready(self) -> Mapping[int, int]:
        """The shards held, and their tokens."""
        return {number: loaded.tokens for number, loaded in sorted(self._loaded.items())}

    def background(self) -> list[Coroutine[Any, Any, None]]:
        """What must run while shards are to be held."""
        return [self._hold(), self._answer()] if self._wanted else []

    async def wait_for(self, numbers: Collection[int]) -> None:
        """Wait until these shards, or any when none are named, are ready."""
        async with self._changed:
            await self._changed.wait_for(
                lambda: self._loaded.keys() >= set(numbers) and bool(self._loaded)
            )

    async def give_back(self) -> None:
        """Hand everything to the bridge, if it lives, else to nobody."""
        for number in list(self._loaded):
            try:
                await _hand_over(self._bus, number, self._member.name)
            except IfMemError as error:
                log.warning("shard %d was not given back: %s", number, error.message)
            self._forget(number, "given back")

    async def _hold(self) -> None:
        """Look with every heartbeat, and after each reconnection, for ever."""
        pauses = Pauses()
        while True:
            await self._look.wait()
            self._look.clear()
            try:
                await self._look_around()
            except IfMemError as error:
                log.info("shards cannot be looked at now: %s", error.message)
                await pauses.pause()
                self._look.set()
            else:
                pauses = Pauses()

    async def _look_around(self) -> None:
        _, states = await self._bus.shards()
        owner = await self._bus.ownership.owner()
        bridge = (owner and owner.bridge_name) or ""
        alive = await _alive(self._bus, {state.worker for state in states if state.worker})
        for state in states:
            number = state.number
            if state.worker == self._member.name and number in self._loaded and state.active:
                await self._keep(state)
                continue
            if number in self._loaded:
                self._forget(number, f"held by {state.worker or 'nobody'}")
            free = state.worker in ("", None, bridge, self._member.name)
            if self._wants(state) and (free or state.worker not in alive):
                await self._take(state, bridge)
        self._tell_missing({state.number: state.worker for state in states})

    def _tell_missing(self, holders: Mapping[int, str | None]) -> None:
        """Say, when it changes, which of the shards named for us are not ours, and why."""
        if self._wanted == "any":
            return
        missing = {
            number: f"held by {holders[number]}" if number in holders else "there is no such shard"
            for number in sorted(set(self._wanted or ()) - self._loaded.keys())
        }
        for number, why in missing.items():
            if self._missing.get(number) != why:
                self._say({"event": "not holding", "shard": number, "reason": why})
        self._missing = missing

    def _wants(self, state: ShardState) -> bool:
        if self._wanted != "any":
            return state.number in (self._wanted or ())
        held = sum(loaded.tokens for loaded in self._loaded.values())
        return self._capacity is None or held + state.tokens <= self._capacity

    async def _take(self, state: ShardState, bridge: str) -> None:
        """Load it first, so that it is inactive for no longer than two steps on the server."""
        number = state.number
        try:
            context = await self._contexts.fetch(number)
            await self._answers.load(context)
            holder = await self._bus.take_shard(number, self._member.name, over=bridge)
            if holder is not None:
                log.info("shard %d stays with %s", number, holder)
                self._answers.drop(number)
                return
            if await self._bus.set_ready(number, self._member.name, active=True):
                await self._note(number, _Loaded.of(state))
                self._say({"event": "holding", "shard": number, "tokens": state.tokens})
            else:
                self._answers.drop(number)
        except (NotFound, Unavailable) as error:
            log.warning("shard %d cannot be taken: %s", number, error.message)
        except IfMemError as error:
            # Its context is damaged: whoever repairs it finds it with the bridge.
            log.warning("shard %d cannot be loaded: %s", number, error.message)

    async def _keep(self, state: ShardState) -> None:
        if self._loaded[state.number] == _Loaded.of(state):
            return
        context = await self._contexts.fetch(state.number)
        await self._answers.load(context)
        await self._note(state.number, _Loaded.of(state))
        self._say({"event": "loaded", "shard": state.number, "tokens": state.tokens})

    async def _note(self, number: int, loaded: _Loaded) -> None:
        self._loaded[number] = loaded
        async with self._changed:
            self._changed.notify_all()

    def _forget(self, number: int, why: str) -> None:
        del self._loaded[number]
        self._answers.drop(number)
        self._say({"event": "not holding", "shard": number, "reason": why})

    async def _answer(self) -> None:
        """Answer the questions of the channel for what is held, for ever."""
        pauses = Pauses()
        answering = Answering(
            self._bus, self._member.feed, held=self._ready_to_answer, answer=self._answer_now
        )
        while True:
            try:
                await answering.run()
            except* IfMemError as errors:
                log.info("no questions can be answered now: %s", errors.exceptions[0])
                await pauses.pause()

    async def _ready_to_answer(self) -> Collection[int]:
        return list(self._loaded)

    async def _answer_now(self, query: Query, number: int) -> Response:
        """Answer from the context as it is now: what was just loaded is found."""
        if number in self._loaded:
            await self._answers.load(await self._contexts.fetch(number))
        return await self._answers.answer(query, number)


async def hold_orphans(space: Space) -> list[int]:
    """Have the bridge hold every shard whose holder is dead or absent; their numbers."""
    bus, bridge = space.bus, space.worker_id
    _, states = await bus.shards()
    alive = await _alive(bus, {state.worker for state in states if state.worker})
    taken = []
    for state in states:
        if state.worker in alive and not (state.worker == bridge and not state.active):
            continue
        if await bus.take_shard(state.number, bridge) is None:
            await bus.set_ready(state.number, bridge, active=True)
            taken.append(state.number)
    return taken


async def _hand_over(bus: Bus, number: int, worker: str) -> None:
    """Give a shard to the bridge, which has its content, so that it does not stand idle."""
    owner = await bus.ownership.owner()
    bridge = owner.bridge_name if owner else None
    if bridge and bridge in await _alive(bus, [bridge]):
        if await bus.take_shard(number, bridge, over=worker) is None:
            await bus.set_ready(number, bridge, active=True)
    else:
        await bus.set_ready(number, worker, active=False)


async def _alive(bus: Bus, names: Iterable[str | None]) -> set[str]:
    """Those of these workers whose heartbeat is there."""
    wanted = set(names)
    return {one.worker_id for one in await bus.workers() if one.alive and one.worker_id in wanted}
