"""Calls forwarded over the bus: one list that the bridge takes from, one list of replies for each.

client                       bus                            bridge
  call, with its end  ──▶  ifmem:1:calls             ──▶  begun, events, result or error
  still there, cancel ──▶  ifmem:1:calls
  reads               ◀──  ifmem:1:reply:{id}        ◀──  each part, kept for a minute
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
from redis.asyncio import Redis

from ifmem import clock
from ifmem.bus.replies import integer, text, translated
from ifmem.errors import IfMemError, Invalid, OutcomeUnknown, Unavailable, from_wire
from ifmem.wire import keys
from ifmem.wire.forwarded import (
    Begun,
    Cancel,
    Event,
    Failure,
    ForwardedCall,
    Lost,
    Order,
    Part,
    Result,
    StillThere,
    read_part,
)
from ifmem.wire.keys import Keys

MOST_WAITING = 1_000
"""Calls that may wait to be taken; above it a call is refused."""
MOST_UNREAD = 100
"""Parts of one call that its caller has not read; above it the sender waits."""
KEPT_SECONDS = 60
"""What nobody reads is gone after this."""
SIGN_SECONDS = 5.0
"""Time between two signs of a caller that it waits on."""
SILENT_SECONDS = 30.0
"""A caller without a sign for this long has gone."""
_LOOK_SECONDS = 1.0
"""How often a caller looks whether the bridge lives."""
_CANCEL_SECONDS = 5.0
_SHORTEST_WAIT, _LONGEST_WAIT = 0.01, 0.5

OnEvent = Callable[[dict[str, Any]], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Asked:
    """A call as its caller makes it."""

    method: str
    params: msgspec.Raw
    caller: str
    repeat: str | None = None
    """What to do when the answer to a call that writes is lost; None for one that only reads."""
    facts: Mapping[str, object] | None = None
    """What a caller needs to repeat it, for that error."""


@dataclass(frozen=True, slots=True)
class _Bridge:
    id: str
    name: str
    is_live: bool
    now_ms: int


class Calls:
    """The calls of one space between its client daemons and its bridge.

    Guarantees:
        at most once: a call is taken by one bridge, and never after its end, by the server's clock.
        order: the parts of a call come in order; the calls of one caller are taken in order.
        loss: a call or reply whose connection broke half-way is lost, and its caller is told.
        memory: bounded by refusing calls and by making senders wait.
    """

    def __init__(self, client: Redis, keys: Keys, blocking: Redis) -> None:
        self.keys = keys
        self._client = client
        self._blocking = blocking

    async def call(self, asked: Asked, on_event: OnEvent, *, patience: float) -> msgspec.Raw:
        """Have the bridge do a call; its result as it came.

        Args:
            asked: the call.
            on_event: awaited with each event; the sender waits meanwhile.
            patience: seconds within which the bridge must have begun.

        Raises:
            IfMemError: the one that the bridge answered with.
            OutcomeUnknown: the answer is lost, and the call writes.
            Unavailable: there is no live bridge, it takes no more, or the answer is lost.
        """
        bridge = await self._live_bridge()
        call = ForwardedCall(
            id=clock.new_id(),
            caller=asked.caller,
            method=asked.method,
            until_ms=bridge.now_ms + int(patience * 1000),
            params=asked.params,
        )
        waiting = _Waiting(self, call, asked, bridge.id, bridge.name)
        try:
            await self._push(call)
            return await waiting.result(on_event, patience)
        except IfMemError:
            raise
        except BaseException:
            # Cancelled, or whoever takes the events has gone.
            await self._cancel(call)
            raise

    async def take(self, seconds: float) -> bytes | None:
        """The next order, as it was sent; None when there was none for so long."""
        return await self._pop(self.keys.of(keys.CALLS), seconds)

    async def is_late(self, call: ForwardedCall) -> bool:
        """Whether its caller has given it up by now."""
        return await self._now_ms() > call.until_ms

    async def reply(self, call_id: str, part: Part) -> None:
        """Send a part; returns when the caller has few enough unread."""
        name = self.keys.of(keys.REPLY, id=call_id)
        async with translated(), self._client.pipeline(transaction=False) as pipe:
            pipe.rpush(name, msgspec.json.encode(part))
            pipe.expire(name, KEPT_SECONDS)
            unread, _ = await pipe.execute()
        wait = _SHORTEST_WAIT
        while unread > MOST_UNREAD and isinstance(part, Event):
            await asyncio.sleep(wait)
            wait = min(2 * wait, _LONGEST_WAIT)
            async with translated(), self._client.pipeline(transaction=False) as pipe:
                pipe.llen(name)
                # A caller that reads slowly loses nothing: whether it lives is seen elsewhere.
                pipe.expire(name, KEPT_SECONDS)
                unread, _ = await pipe.execute()

    async def next_part(self, call_id: str, seconds: float) -> Part | None:
        """The next reply to a call; None when there was none for so long."""
        raw = await self._pop(self.keys.of(keys.REPLY, id=call_id), seconds)
        return None if raw is None else read_part(raw)

    async def bridge(self) -> _Bridge:
        """The bridge that has, or last had, the lease of the space."""
        async with translated(), self._client.pipeline(transaction=False) as pipe:
            pipe.time()
            pipe.hmget(self.keys.of(keys.BRIDGE), "bridge", "name", "until")
            (seconds, micros), (bridge, name, until) = await pipe.execute()
        now = int(seconds) * 1000 + int(micros) // 1000
        is_live = integer(text(until)) > now
        return _Bridge(text(bridge) or "", text(name) or "", is_live, now)

    async def say(self, order: Order) -> int:
        """Put an order on the list; how many wait there now."""
        name = self.keys.of(keys.CALLS)
        async with translated(), self._client.pipeline(transaction=False) as pipe:
            pipe.rpush(name, msgspec.json.encode(order))
            pipe.expire(name, KEPT_SECONDS)
            waiting, _ = await pipe.execute()
        return int(waiting)

    async def withdraw(self, call: ForwardedCall) -> bool:
        """Take a call back; False when the bridge has taken it, or the bus has lost it."""
        async with translated():
            body = msgspec.json.encode(call)
            gone: int = await self._client.lrem(self.keys.of(keys.CALLS), -1, body)  # type: ignore[arg-type]
        return gone > 0

    async def _push(self, call: ForwardedCall) -> None:
        waiting = await self.say(call)
        if waiting > MOST_WAITING and await self.withdraw(call):
            raise Unavailable(
                f"{MOST_WAITING:,} calls wait for the owner of space {self.keys.space!r} and this "
                "one was not begun: repeat it a little later",
                outcome="busy",
            )

    async def _live_bridge(self) -> _Bridge:
        bridge = await self.bridge()
        if not bridge.is_live:
            last = f" (the last one was {bridge.name})" if bridge.name else ""
            raise Unavailable(
                f"no owner of space {self.keys.space!r} is running on this Redis{last}: run "
                "`ifmem up` where its store lies",
                space=self.keys.space,
            )
        return bridge

    async def _cancel(self, call: ForwardedCall) -> None:
        """Tell the bridge that nobody waits; if it cannot be told, it finds out by the silence."""
        try:
            async with asyncio.timeout(_CANCEL_SECONDS):
                if not await self.withdraw(call):
                    await self.say(Cancel(call.id))
        except (IfMemError, TimeoutError):
            pass

    async def _pop(self, name: str, seconds: float) -> bytes | None:
        async with translated():
            found: Any = await self._blocking.blpop([name], timeout=seconds)
        return None if not found else bytes(found[1])

    async def _now_ms(self) -> int:
        async with translated():
            seconds, micros = await self._client.time()
        return int(seconds) * 1000 + int(micros) // 1000


class _Waiting:
    """A call that was sent, until its end."""

    def __init__(
        self, calls: Calls, call: ForwardedCall, asked: Asked, bridge: str, name: str
    ) -> None:
        self._calls = calls
        self._call = call
        self._asked = asked
        self._bridge = bridge
        self._name = name
        self._begun = asyncio.Event()

    async def result(self, on_event: OnEvent, patience: float) -> msgspec.Raw:
        """What the call gives; errors as ``Calls.call``."""
        try:
            async with asyncio.TaskGroup() as group:
                watching = group.create_task(self._watch(patience))
                result = await self._read(on_event)
                watching.cancel()
            return result
        except BaseExceptionGroup as errors:
            failure = _first(errors)
        # Not above: its context would be the group that holds it.
        raise failure

    async def _read(self, on_event: OnEvent) -> msgspec.Raw:
        while True:
            try:
                part = await self._calls.next_part(self._call.id, SIGN_SECONDS)
            except (Unavailable, Invalid) as error:
                raise self._lost(f"the answer was lost ({error.message})") from error
            match part:
                case None:
                    continue
                case Begun(bridge):
                    self._bridge = bridge
                    self._begun.set()
                case Event(event):
                    await on_event(event)
                case Result(result):
                    return result
                case Failure(error_data):
                    raise from_wire(error_data)
                case Lost():
                    raise self._lost(f"the owner {self._name} was interrupted")

    async def _watch(self, patience: float) -> None:
        """Show that somebody waits, and end the call when the bridge that has it is gone."""
        deadline = clock.monotonic() + patience
        next_sign = clock.monotonic() + SIGN_SECONDS
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            signs = clock.monotonic() >= next_sign
            try:
                bridge = await self._look(signs)
                late = not self._begun.is_set() and clock.monotonic() >= deadline
                unlikely = not self._begun.is_set() and not bridge.is_live
                taken_back = (late or unlikely) and await self._calls.withdraw(self._call)
            except Unavailable as error:
                raise self._lost(f"the bus was lost ({error.message})") from error
            if signs:
                next_sign = clock.monotonic() + SIGN_SECONDS
            if taken_back:
                raise self._not_begun()
            if late:
                # Taken and perhaps begun; by now it is too late for a bridge to begin it.
                raise self._lost(f"the owner {self._name} did not answer")
            if self._begun.is_set() and (bridge.id != self._bridge or not bridge.is_live):
                raise self._lost(f"the owner {self._name} ended")

    async def _look(self, signs: bool) -> _Bridge:
        if signs:
            await self._calls.say(StillThere(self._call.id))
        return await self._calls.bridge()

    def _not_begun(self) -> Unavailable:
        return Unavailable(
            f"the owner of space {self._calls.keys.space!r}, {self._name}, does not answer, and "
            f"`{self._asked.method}` was not begun: run `ifmem up` where its store lies",
            method=self._asked.method,
        )

    def _lost(self, what: str) -> Unavailable:
        method, facts = self._asked.method, self._asked.facts or {}
        if self._asked.repeat is None:
            return Unavailable(
                f"{what} before `{method}` was answered: repeat it", method=method, **facts
            )
        named = "".join(f" ({name} {value})" for name, value in facts.items())
        return OutcomeUnknown(
            f"{what} before `{method}` was answered, so it may or may not have happened: "
            f"{self._asked.repeat}{named}",
            method=method,
            **facts,
        )


def _first(errors: BaseExceptionGroup[BaseException]) -> BaseException:
    first = errors.exceptions[0]
    return _first(first) if isinstance(first, BaseExceptionGroup) else first
