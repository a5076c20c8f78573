"""What changes in one space, for all who listen to it in this process: fed by one ``watch`` call.

The call lives only while somebody listens. When it is lost it is made again, and then every
resource that is listened to is said to be updated once: what happened meanwhile is not known.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import logging
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from functools import partial
from typing import Any

from mcp.server.subscriptions import ResourcesListChanged, ResourceUpdated, ServerEvent

from ifmem import clock
from ifmem.errors import IfMemError, Unavailable
from ifmem.mcp_server import uris
from ifmem.mcp_server.port import Calls, OnEvent
from ifmem.wire.agent_calls import WatchCall
from ifmem.wire.shapes import Page, ShardShape

log = logging.getLogger(__name__)

Listener = Callable[[ServerEvent], None]

_SHORTEST_PAUSE, _LONGEST_PAUSE = 0.05, 2.0
PATIENCE_SECONDS = 15.0
"""How long somebody who begins to listen waits for the daemon."""


class SpaceEvents:
    """The SDK's ``SubscriptionBus`` of one space.

    Guarantees:
        begun: what happens after ``stands`` has returned is told, for as long as it is wanted.
        memory: bounded by what is wanted; what happens to one resource before it is told is told
            once.
    """

    def __init__(self, calls: Calls, space: str) -> None:
        self._calls = calls
        self._space = space
        self._listeners: dict[object, Listener] = {}
        self._wanted: Counter[str] = Counter()
        self._users = 0
        self._task: asyncio.Task[None] | None = None
        self._run_of: object = None
        """Told apart, so that nothing of a run that has ended is taken for the next one's."""
        self._standing = asyncio.Event()
        self._pending: dict[ServerEvent, None] = {}
        self._stirred = asyncio.Event()
        self._shards: set[int] | None = None
        self._began = False
        self._told = "it has not answered yet"

    def join(self, wanted: Iterable[str]) -> None:
        """One more listens, to these resources."""
        self._wanted.update(wanted)
        self._users += 1
        if self._task is None:
            # It outlives the request that begins it, so it takes nothing of its context along.
            loop = asyncio.get_running_loop()
            self._run_of = object()
            running = self._run(self._run_of)
            self._task = loop.create_task(running, context=contextvars.Context())

    def leave(self, wanted: Iterable[str]) -> None:
        """Undo a ``join``; with the last, the watching ends."""
        self._wanted.subtract(wanted)
        self._wanted += Counter()
        self._users -= 1
        if not self._users and self._task is not None:
            self._task.cancel()
            self._task = self._run_of = self._shards = None
            self._standing.clear()
            self._pending.clear()
            self._began = False

    async def stands(self) -> None:
        """Wait until the space is watched.

        Raises:
            Unavailable: the daemon does not answer.
        """
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                await self._standing.wait()
        except TimeoutError as error:
            raise Unavailable(
                f"the memory cannot be watched now ({self._told}): subscribe again later"
            ) from error

    def subscribe(self, listener: Listener) -> Callable[[], None]:
        """Have a function called with each event; what is returned ends that."""
        token = object()
        self._listeners[token] = listener
        return lambda: self._listeners.pop(token, None) and None

    async def publish(self, event: ServerEvent) -> None:
        """Tell every listener; the failure of one is its own."""
        for listener in list(self._listeners.values()):
            try:
                listener(event)
            except Exception:
                log.exception("a listener to space %s failed", self._space)
        # A burst is read while it is told, instead of filling what waits for each listener.
        await asyncio.sleep(0)

    async def _run(self, run: object) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self._tell())
            group.create_task(self._watch_for_ever(partial(self._take, run)))

    async def _tell(self) -> None:
        while True:
            while self._pending:
                event = next(iter(self._pending))
                del self._pending[event]
                await self.publish(event)
            self._stirred.clear()
            await self._stirred.wait()

    async def _watch_for_ever(self, take: OnEvent) -> None:
        pause = _SHORTEST_PAUSE
        while True:
            try:
                await self._watch(take)
                self._told = "the daemon ended"
            except IfMemError as error:
                log.info("space %s is not watched: %s", self._space, error.message)
                self._told = error.message
            except Exception as error:
                log.exception("watching space %s", self._space)
                self._told = f"ifmem itself failed: {type(error).__name__}"
            if self._standing.is_set():
                pause = _SHORTEST_PAUSE
            self._standing.clear()
            await asyncio.sleep(pause * (0.5 + clock.chance()))
            pause = min(2 * pause, _LONGEST_PAUSE)

    async def _watch(self, take: OnEvent) -> None:
        if self._shards is None:
            shards = await self._calls.call(
                "shards", None, returns=Page[ShardShape], space=self._space
            )
            self._shards = {one.shard for one in shards}
        await self._calls.call(
            "watch", WatchCall(), returns=dict[str, Any], space=self._space, on_event=take
        )

    def _take(self, run: object, event: Mapping[str, Any]) -> None:
        if run is not self._run_of:
            return
        if "watching" in event:
            self._stand()
            return
        match event.get("changed"):
            case {"finding": str(finding_id)}:
                self._note(uris.FINDINGS)
                self._note(uris.finding_uri(finding_id))
            case {"shard": int(number)}:
                self._note(uris.shard_uri(number))
                self._note_new(number)
            case {"context": _}:
                self._note(uris.CONTEXT)

    def _stand(self) -> None:
        if self._began:
            for uri in self._wanted:
                self._note(uri)
        self._began = True
        self._standing.set()

    def _note(self, uri: str) -> None:
        if uri in self._wanted:
            self._pending[ResourceUpdated(uri=uri)] = None
            self._stirred.set()

    def _note_new(self, shard: int) -> None:
        if self._shards is not None and shard not in self._shards:
            self._shards.add(shard)
            self._pending[ResourcesListChanged()] = None
            self._stirred.set()


@contextlib.asynccontextmanager
async def joined(events: SpaceEvents, wanted: Iterable[str]) -> AsyncIterator[None]:
    """Listen for as long as the context lasts; entered once the space is watched."""
    wanted = list(wanted)
    events.join(wanted)
    try:
        await events.stands()
        yield
    finally:
        events.leave(wanted)
