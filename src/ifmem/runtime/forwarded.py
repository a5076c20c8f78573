"""The bridge's side of forwarded calls: taken from the bus, done here, answered there.

Whoever may write to the bus may call, so nothing is done for such a caller that reaches further
than the space: no file of this host is read, nothing of other spaces is shown, and what it says
is an agent's claim.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import msgspec

from ifmem import clock
from ifmem.bus.calls import SILENT_SECONDS
from ifmem.domain.finding import Trust
from ifmem.errors import Failed, IfMemError, Invalid, Refused, Unavailable, to_wire
from ifmem.runtime.forwarding import at_the_owner, no_files
from ifmem.runtime.granting import PARAMS as GRANT_METHODS
from ifmem.runtime.space import Space
from ifmem.wire.calls import (
    AskCall,
    LoadRowsCall,
    LoadTextCall,
    RecallCall,
    RememberCall,
    Request,
    StatusCall,
    TaskFinishCall,
)
from ifmem.wire.forget_calls import ForgetMatchingCall
from ifmem.wire.forwarded import (
    Begun,
    Cancel,
    Event,
    Failure,
    ForwardedCall,
    Lost,
    Result,
    StillThere,
    read_order,
)
from ifmem.wire.shapes import Page, SpaceShape

log = logging.getLogger(__name__)

MOST_RUNNING = 1_000
"""Forwarded calls done at once; above it a call is refused."""
MOST_UNSENT = 100
"""Events of one call that wait to be sent; above it its sender is asked to wait."""
_BLOCK_SECONDS = 2.0

Handle = Callable[[Request, Any], Awaitable[Any]]
"""Does a request; its second argument sends events, as ``listening.Emitter`` does."""


async def serve_calls(space: Space, handle: Handle) -> None:
    """Do the calls that client daemons forward to this space, until cancelled.

    Args:
        space: attached, with a live lease.
        handle: does a request as one of the daemon's own socket.

    Raises:
        Unavailable: the bus did not answer; the calls that ran have ended, and their callers are
            told when they next give a sign.
    """
    served = _Served(space, handle)
    async with asyncio.TaskGroup() as group:
        while True:
            raw = await space.bus.calls.take(_BLOCK_SECONDS)
            served.end_the_silent()
            if raw is None:
                continue
            try:
                order = read_order(raw)
            except Invalid as error:
                await space.bus.log.dead_letter(
                    origin="forwarded calls",
                    reason=error.message,
                    message=raw,
                )
                continue
            match order:
                case ForwardedCall():
                    await served.begin(order, group)
                case StillThere(id):
                    await served.heard_of(id)
                case Cancel(id):
                    served.cancel(id)


@dataclass(slots=True)
class _Running:
    task: asyncio.Task[None]
    last_sign: float


class _Served:
    """The calls that are being done."""

    def __init__(self, space: Space, handle: Handle) -> None:
        self._space = space
        self._handle = handle
        self._running: dict[str, _Running] = {}

    async def begin(self, call: ForwardedCall, group: asyncio.TaskGroup) -> None:
        if call.id in self._running:
            return
        if await self._space.bus.calls.is_late(call):
            log.info("a call of %s came too late and was not begun: %s", call.caller, call.method)
            return
        if len(self._running) >= MOST_RUNNING:
            busy = Unavailable(
                f"the owner does {MOST_RUNNING:,} forwarded calls at once, and this one was not "
                "begun: repeat it a little later",
                outcome="busy",
            )
            await self._space.bus.calls.reply(call.id, Failure(to_wire(busy)))
            return
        await self._space.bus.calls.reply(call.id, Begun(self._space.bridge_id))
        task = group.create_task(self._do(call))
        self._running[call.id] = _Running(task, clock.monotonic())
        task.add_done_callback(lambda _: self._running.pop(call.id, None))

    async def heard_of(self, call_id: str) -> None:
        """A caller waits on; one whose call is not known here is told."""
        running = self._running.get(call_id)
        if running is None:
            await self._space.bus.calls.reply(call_id, Lost())
        else:
            running.last_sign = clock.monotonic()

    def cancel(self, call_id: str) -> None:
        if running := self._running.get(call_id):
            running.task.cancel()

    def end_the_silent(self) -> None:
        """End the calls whose callers have given no sign for long: they died."""
        now = clock.monotonic()
        for call_id, running in list(self._running.items()):
            if now - running.last_sign > SILENT_SECONDS:
                log.info("the caller of %s has gone", call_id)
                running.task.cancel()

    async def _do(self, call: ForwardedCall) -> None:
        outbox = Outbox()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._send(call.id, outbox))
            outbox.end(await self._end_of(call, outbox))

    async def _send(self, call_id: str, outbox: Outbox) -> None:
        while True:
            part = await outbox.next()
            await self._space.bus.calls.reply(call_id, part)
            if not isinstance(part, Event):
                return

    async def _end_of(self, call: ForwardedCall, outbox: Outbox) -> Result | Failure:
        try:
            result = await self._handle(_permitted(self._space, call), outbox)
            if call.method == "spaces":
                result = _own(result, self._space.name)
            return Result(msgspec.Raw(msgspec.json.encode(result)))
        except IfMemError as error:
            return Failure(to_wire(error))
        except Exception as error:
            log.exception("a forwarded call failed: %s", call.method)
            told = f"ifmem itself failed ({type(error).__name__}: {error}); see the owner's log"
            return Failure(to_wire(Failed(told)))


class Outbox:
    """Events on their way to a caller, as ``listening.Emitter``: bounded for whoever waits.

    Progress is replaced by newer progress; everything else is kept in order.
    """

    def __init__(self) -> None:
        self._waiting: deque[Event | Result | Failure] = deque()
        self._filled = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()

    def __call__(self, event: dict[str, Any]) -> None:
        """Send an event."""
        if self._waiting and _is_progress(event):
            newest = self._waiting[-1]
            if isinstance(newest, Event) and _is_progress(newest.event):
                self._waiting.pop()
        self._put(Event(event))

    async def drained(self) -> None:
        """Wait while too much waits to be sent."""
        await self._room.wait()

    def end(self, last: Result | Failure) -> None:
        """Put in what ends the call."""
        self._put(last)

    async def next(self) -> Event | Result | Failure:
        """The oldest part, as soon as there is one."""
        while not self._waiting:
            self._filled.clear()
            await self._filled.wait()
        part = self._waiting.popleft()
        if len(self._waiting) < MOST_UNSENT:
            self._room.set()
        return part

    def _put(self, part: Event | Result | Failure) -> None:
        self._waiting.append(part)
        self._filled.set()
        if len(self._waiting) >= MOST_UNSENT:
            self._room.clear()


def _is_progress(event: dict[str, Any]) -> bool:
    return event.keys() == {"progress"}


def _permitted(space: Space, call: ForwardedCall) -> Request:
    """The request as somebody at the other end of the bus may make it.

    A new verb that names files of this host, or reaches beyond its space, needs a rule here.

    Raises:
        NotPermitted: it names files of this host.
        Refused: it is about the owner's daemon and not about the space.
    """
    request = Request(0, call.method, space.name, call.params)
    match call.method:
        case "load" | "capture":
            raise no_files(space.worker_id)
        case "export" | "import" | "verify":
            raise at_the_owner(call.method)
        case "forget_captured":
            raise Refused("what was captured is local to the owner: run it there")
        case "audit_accept":
            raise Refused("a break of the audit is accepted by the owner: run it there")
        case "forget_matching":
            return _with(request, _not_everything(call))
        case "recall":
            return _with(request, _without_captured(call, RecallCall))
        case "ask":
            return _with(request, _without_captured(call, AskCall))
        case "hello" | "stop" | "up":
            raise Refused(f"`{call.method}` is not done for another daemon: run it at the owner")
        case method if method in GRANT_METHODS:
            raise Refused(f"`{method}` is about another home: tokens are made where they are used")
        case "load_text":
            return _with(request, _elsewhere(call, LoadTextCall))
        case "load_rows":
            return _with(request, _elsewhere(call, LoadRowsCall))
        case "status":
            return _with(request, StatusCall())
        case "remember":
            return _with(request, _claimed(call, RememberCall))
        case "task_finish":
            return _with(request, _claimed(call, TaskFinishCall))
        case _:
            return request


def _claimed(
    call: ForwardedCall, kind: type[RememberCall] | type[TaskFinishCall]
) -> RememberCall | TaskFinishCall:
    """A finding of an agent elsewhere, who can cite what is loaded."""
    try:
        given = msgspec.json.decode(call.params, type=kind)
    except msgspec.MsgspecError as error:
        raise Invalid(f"{call.method}: {error}") from error
    trust = Trust.AGENT if given.trust == Trust.USER else given.trust
    return msgspec.structs.replace(given, trust=trust, elsewhere=True)


def _elsewhere(
    call: ForwardedCall, kind: type[LoadTextCall] | type[LoadRowsCall]
) -> LoadTextCall | LoadRowsCall:
    """A text under a name of another host, where no link of this one is followed."""
    try:
        given = msgspec.json.decode(call.params, type=kind)
    except msgspec.MsgspecError as error:
        raise Invalid(f"{call.method}: {error}") from error
    return msgspec.structs.replace(given, elsewhere=True)


def _not_everything(call: ForwardedCall) -> ForgetMatchingCall:
    """What an agent elsewhere may have forgotten: all that is named, not the space."""
    try:
        given = msgspec.json.decode(call.params, type=ForgetMatchingCall)
    except msgspec.MsgspecError as error:
        raise Invalid(f"{call.method}: {error}") from error
    if given.everything:
        raise Refused("a whole space is forgotten by its owner: run it there")
    return given


def _without_captured(
    call: ForwardedCall, kind: type[RecallCall] | type[AskCall]
) -> RecallCall | AskCall:
    """A question to the space itself: its local space is local to its owner."""
    try:
        given = msgspec.json.decode(call.params, type=kind)
    except msgspec.MsgspecError as error:
        raise Invalid(f"{call.method}: {error}") from error
    return msgspec.structs.replace(given, captured=False)


def _with(request: Request, params: msgspec.Struct) -> Request:
    return msgspec.structs.replace(request, params=msgspec.Raw(msgspec.json.encode(params)))


def _own(page: Page[SpaceShape], name: str) -> Page[SpaceShape]:
    return Page([one for one in page.items if one.space == name])
