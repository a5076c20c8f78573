"""Joining a space by the bus's URL alone: a name, heartbeats, and steps that insist and last."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import re
import socket as network
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from typing import Any, TypeVar

import msgspec

from ifmem import clock
from ifmem.bus.bus import Bus
from ifmem.bus.calls import Asked
from ifmem.bus.connection import Server, blocking, connect, subscriber
from ifmem.bus.feed import Feed, ReadOlder
from ifmem.bus.tasks import LONGEST_WAIT
from ifmem.domain.task import require_worker
from ifmem.engine.following import Row
from ifmem.engine.harmless import require_harmless
from ifmem.errors import ConfigError, NotPermitted, OutcomeUnknown, Unavailable
from ifmem.runtime.commitments import Commitments
from ifmem.runtime.insisting import insist
from ifmem.runtime.space import Logged, LogStep
from ifmem.settings import Settings
from ifmem.wire.calls import FindingsCall
from ifmem.wire.shapes import FindingLine, Page

T = TypeVar("T")
OnEvent = Callable[[Mapping[str, Any]], None]

log = logging.getLogger(__name__)

_SHORTEST_PAUSE, _LONGEST_PAUSE = 0.05, 1.0
_NO_LETTERS = re.compile(r"[^A-Za-z0-9._@-]+")


def new_name() -> str:
    """A worker's name that no other process has: host, process and a few digits."""
    host = _NO_LETTERS.sub("-", network.gethostname()).strip("-.")[:80] or "worker"
    return f"{host}-{os.getpid()}-{clock.new_id()[:4]}"


class Membership:
    """A process's place in a space.

    Its parts do the same as those of the bridge's ``Space``, with the same errors, but know the
    store only through the bus.
    """

    def __init__(self, bus: Bus, feed: Feed, *, name: str, settings: Settings) -> None:
        self.name = require_harmless(require_worker(name), "worker")
        self.bus = bus
        self.feed = feed
        self.settings = settings
        self.commitments = Commitments(bus, feed, commit_seconds=settings.bus.commit_seconds)
        self._beat_now = asyncio.Event()
        self._hooks: list[Callable[[], None]] = []
        self._ends = [feed.on_connected(self._beat_now.set)]

    async def insist(self, step: Callable[[], Awaitable[T]]) -> T:
        """Do a step that may be repeated; when the bus is away, again once it is back.

        Raises:
            Unavailable: it was away for longer than ``bus.outage_seconds``, or takes nothing new.
        """
        pauses = Pauses()
        return await insist(
            step, within=self.settings.bus.outage_seconds, recovered=lambda _: pauses.pause()
        )

    async def commit(
        self, step: Callable[[], Awaitable[Logged]], *, durable: bool, **facts: object
    ) -> Logged:
        """Do a step that may be repeated, and wait until the store has committed it.

        What a server had accepted when it was lost is done again on the one in its place.

        Args:
            step: its result names the log entry to wait for.
            durable: False returns as soon as the bus has accepted it.

        Raises:
            Refused: the store would not have it.
            OutcomeUnknown: it was not committed in time; ``facts`` say what to repeat.
        """
        while True:
            losses = self.commitments.losses
            taken = await self.insist(step)
            if not durable:
                return taken
            try:
                if losses == self.commitments.losses:
                    await self.committed(taken, **facts)
                    return taken
            except OutcomeUnknown:
                if losses == self.commitments.losses:
                    raise

    async def committed(self, taken: LogStep, **facts: object) -> None:
        """Wait for the commit of a step that was taken; errors as ``commit``."""
        # What had been done before is followed by entries of others: their verdicts are not ours.
        wait = self.commitments.durable if taken.is_new else self.commitments.caught_up
        await wait(taken.entry, **facts)

    def on_beat(self, hook: Callable[[], None]) -> None:
        """Have a function called after each heartbeat."""
        self._hooks.append(hook)

    def background(self) -> list[Coroutine[Any, Any, None]]:
        """What must run for as long as the process is a member."""
        return [self.feed.run(), self.commitments.watch(), self._beat_for_ever()]

    async def connected(self) -> None:
        """Wait until messages are heard.

        Raises:
            Unavailable: the subscription does not come about.
        """
        try:
            async with asyncio.timeout(self.settings.bus.outage_seconds):
                await self.feed.connected()
                await self.commitments.sure()
        except TimeoutError as error:
            raise Unavailable(
                "the bus takes no subscription: see `ifmem doctor` for the rights a user needs"
            ) from error

    async def beat(self) -> None:
        """Say that this process lives."""
        await self.bus.beat(self.name, expiry_seconds=self.settings.worker.expiry_seconds)

    async def leave(self) -> None:
        """Take the process off the bus; when that cannot be said, its heartbeat expires."""
        self.commitments.close()
        while self._ends:
            self._ends.pop()()
        try:
            await self.bus.leave(self.name)
        except (Unavailable, NotPermitted) as error:
            log.warning("%s leaves unsaid: %s", self.name, error.message)

    async def _beat_for_ever(self) -> None:
        pauses = Pauses()
        while True:
            self._beat_now.clear()
            try:
                await self.beat()
            except (Unavailable, NotPermitted) as error:
                log.warning("no heartbeat: %s", error.message)
                await pauses.pause()
                continue
            pauses = Pauses()
            for hook in self._hooks:
                hook()
            # Not all at once when a thousand workers were started together.
            seconds = self.settings.worker.heartbeat_seconds * (0.9 + 0.1 * clock.chance())
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._beat_now.wait()


class Pauses:
    """Growing pauses between attempts."""

    def __init__(self) -> None:
        self._next = _SHORTEST_PAUSE

    async def pause(self) -> None:
        """Wait; the next time twice as long."""
        await asyncio.sleep(self._next * (0.5 + clock.chance()))
        self._next = min(2 * self._next, _LONGEST_PAUSE)


@contextlib.asynccontextmanager
async def reach(
    settings: Settings,
    *,
    name: str | None,
    wait: bool,
    on_event: OnEvent,
) -> AsyncIterator[Membership]:
    """A member of the space that the settings name; its ``background`` is the caller's to run.

    Args:
        wait: for the bus and for a bridge that opens the space; otherwise both must be there.

    Raises:
        ConfigError: the settings name no Redis.
        NotPermitted: the server refuses the user.
        Unavailable: there is no server, or no bridge has opened the space.
    """
    waiting_for = _Waiting(on_event) if wait else None
    server = await _server(settings, waiting_for)
    try:
        keys = server.keys(settings.space)
        reached = server.for_space(keys)
        waiting = blocking(reached, longest=LONGEST_WAIT)
        bus = Bus(reached.client, keys, blocking=waiting)
        await _opened(bus, server, waiting_for)
        name = name or new_name()
        feed = Feed(
            reached.client,
            bus.findings,
            subscriber(reached),
            read_older=_read_older(bus, name, settings),
        )
        yield Membership(bus, feed, name=name, settings=settings)
    finally:
        await server.aclose()


async def _server(settings: Settings, waiting: _Waiting | None) -> Server:
    if not settings.redis.url:
        raise ConfigError(
            "a worker joins a bus by its URL: give --redis URL, the same that the space's daemon "
            "was started with (`ifmem status --show-secrets` prints it)"
        )
    while True:
        try:
            return await connect(settings.redis, settings.home_path)
        except Unavailable as error:
            if waiting is None:
                raise
            await waiting.pause(error)


async def _opened(bus: Bus, server: Server, waiting: _Waiting | None) -> None:
    """Return once a bridge has opened the space."""
    while True:
        try:
            if await bus.log.state() is not None:
                return
            space, url = bus.keys.space, server.shown_url(show_secrets=False)
            raise Unavailable(
                f"no bridge has opened space {space!r} on {url}: start one with `ifmem up --redis "
                "URL --space NAME`, or tell the worker to wait for it (--wait)",
                space=space,
            )
        except Unavailable as error:
            if waiting is None:
                raise
            await waiting.pause(error)


class _Waiting:
    """Waits for what is not there yet, and says so once."""

    def __init__(self, say: OnEvent) -> None:
        self._say: OnEvent | None = say
        self._pauses = Pauses()

    async def pause(self, error: Unavailable) -> None:
        """Until it is worth looking again."""
        if self._say is not None:
            self._say({"event": "waiting", "reason": error.message})
            self._say = None
        await self._pauses.pause()


def _read_older(bus: Bus, caller: str, settings: Settings) -> ReadOlder:
    """Reads from the bridge, which has them all, what is no longer on the bus."""

    async def nothing(_: dict[str, Any]) -> None:
        pass

    async def read(after: int, limit: int) -> list[Row]:
        params = msgspec.json.encode(FindingsCall(since=str(after), limit=limit))
        asked = Asked(method="findings", params=msgspec.Raw(params), caller=caller)
        raw = await bus.calls.call(asked, nothing, patience=settings.bus.outage_seconds)
        page = msgspec.json.decode(raw, type=Page[FindingLine])
        return [Row(int(one.cursor), msgspec.json.encode(one.finding)) for one in page]

    return read
