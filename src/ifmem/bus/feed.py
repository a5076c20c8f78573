"""One subscription for each process and space, fanned out to all who follow or listen in it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from redis.asyncio import Redis

from ifmem import clock
from ifmem.bus.findings import Findings
from ifmem.bus.follower import PAGE, Follower
from ifmem.bus.replies import integer, text, translated
from ifmem.engine.following import Filter, Live, PageRead, Row, Stirred, Ticked
from ifmem.errors import Invalid, NotPermitted, Unavailable
from ifmem.wire import keys
from ifmem.wire.envelopes import Announced, Forgot, Hint, read_announcement
from ifmem.wire.keys import KeyKind

log = logging.getLogger(__name__)

ReadOlder = Callable[[int, int], Awaitable[Sequence[Row]]]
"""At most so many findings after a sequence, in order, from where all of them are kept."""
Listener = Callable[[bytes], None]
ForeignListener = Callable[[bytes, Hint | Invalid], None]
ForgottenListener = Callable[[Forgot], None]

CHANNELS = (
    keys.CHANNEL_FINDINGS,
    keys.CHANNEL_DURABLE,
    keys.CHANNEL_MESSAGES,
    keys.CHANNEL_QUERIES,
    keys.CHANNEL_RESPONSES,
)
_SHORTEST_WAIT, _LONGEST_WAIT = 0.02, 2.0
_SILENT_TICKS = 3
"""A connection that does not answer for so many ticks is taken for dead."""


class Feed:
    """What happens on the bus, for any number of followers and listeners of this process.

    Guarantees:
        followers: every finding after their cursor, in order, each once; across lost messages,
            lost connections, restarts of the server and a trimmed window.
        listeners: nothing of what was sent while the connection was away; ``on_connected`` tells
            when it is back, so that they can look for themselves.
        memory: bounded, however slow a follower is.
    """

    def __init__(
        self,
        client: Redis,
        findings: Findings,
        subscriber: Redis,
        *,
        read_older: ReadOlder | None = None,
        channels: Sequence[KeyKind] = CHANNELS,
        tick_seconds: float = 5.0,
    ) -> None:
        """A feed that works once ``run`` does.

        Args:
            client: for commands.
            findings: the space's.
            subscriber: a client whose one connection is used for the subscription.
            read_older: findings that are no longer on the bus.
            channels: what is subscribed to.
            tick_seconds: how often the newest sequence is looked up, as a backstop.
        """
        self.keys = findings.keys
        self._client = client
        self._findings = findings
        self._subscriber = subscriber
        self._read_older = read_older
        self._kinds = {self.keys.of(kind): kind for kind in channels}
        self._tick_seconds = tick_seconds
        self._followers: set[Follower] = set()
        self._listeners: dict[KeyKind, list[Listener]] = {kind: [] for kind in channels}
        self._foreign: list[ForeignListener] = []
        self._forgotten: list[ForgottenListener] = []
        self._hooks: list[Callable[[], None]] = []
        self._connected = asyncio.Event()
        self.closed = False

    async def run(self) -> None:
        """Carry messages until cancelled, reconnecting for ever; then every follower ends."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._subscribe_for_ever())
                group.create_task(self._tick_for_ever())
        finally:
            self.closed = True
            self._connected.clear()
            for follower in self._followers:
                follower.wake()

    async def connected(self) -> None:
        """Wait until the subscription stands."""
        await self._connected.wait()

    def follow(self, cursor: int, wanted: Filter | None = None) -> Follower:
        """The findings after a sequence, for ever; ``close`` it when done."""
        follower = Follower(cursor, wanted or Filter(), read=self._page, feed=self)
        self._followers.add(follower)
        return follower

    def leave(self, follower: Follower) -> None:
        """Forget a follower."""
        self._followers.discard(follower)

    def listen(self, kind: KeyKind, listener: Listener) -> Callable[[], None]:
        """Have a function called with each message on a channel; what is returned ends that."""
        self._listeners[kind].append(listener)
        return lambda: self._listeners[kind].remove(listener)

    def on_connected(self, hook: Callable[[], None]) -> Callable[[], None]:
        """Have a function called each time the subscription stands; what is returned ends that."""
        self._hooks.append(hook)
        return lambda: self._hooks.remove(hook)

    def on_foreign(self, listener: ForeignListener) -> Callable[[], None]:
        """Have a function called with what others than our functions say of findings.

        It is given the message, and what it hints at or why it cannot be read.
        """
        self._foreign.append(listener)
        return lambda: self._foreign.remove(listener)

    def on_forgotten(self, listener: ForgottenListener) -> Callable[[], None]:
        """Have a function called with what was forgotten; what is returned ends that."""
        self._forgotten.append(listener)
        return lambda: self._forgotten.remove(listener)

    async def newest(self) -> int:
        """The sequence of the newest finding on the bus; 0 when there is none."""
        async with translated():
            rows: Any = await self._client.zrange(
                self.keys.of(keys.FINDINGS), 0, 0, desc=True, withscores=True
            )
        return int(rows[0][1]) if rows else 0

    async def now(self) -> int:
        """A cursor that everything published from now on lies behind."""
        async with translated():
            last = await self._client.hget(self.keys.of(keys.COUNTERS), "sequence")
        return max(integer(text(last)), await self.newest())

    async def _page(self, after: int) -> PageRead:
        """The findings after a sequence, from the bus or, what it has no more, from the store.

        ``since`` says in the same step what the oldest finding on the bus is, so what was trimmed
        between two pages shows as a hole before it.

        Raises:
            NotPermitted: the server refuses the user.
            Unavailable: the feed is closed.
        """
        wait = _SHORTEST_WAIT
        while not self.closed:
            try:
                return await self._page_once(after)
            except NotPermitted:
                raise
            except Unavailable as error:
                log.info("findings after %d cannot be read yet: %s", after, error.message)
            await asyncio.sleep(wait * (0.5 + clock.chance()))
            wait = min(2 * wait, _LONGEST_WAIT)
        raise Unavailable("the connection to the bus is closed")

    async def _page_once(self, after: int) -> PageRead:
        oldest, found = await self._findings.since(after, PAGE)
        rows = tuple(Row(row.sequence, row.body) for row in found if row.body)
        if self._read_older is not None and (
            len(rows) < len(found) or await self._has_hole(after, oldest, rows)
        ):
            older = await self._read_older(after, PAGE)
            if older:
                return PageRead(tuple(older), more=True)
        return PageRead(rows, more=bool(rows) and len(found) >= PAGE)

    async def _has_hole(self, after: int, oldest: int, rows: Sequence[Row]) -> bool:
        """True when the bus may lack findings that the store has."""
        if rows:
            return after + 1 < oldest
        # An empty bus, or an index that names values that are gone.
        return not oldest or await self.newest() > after

    async def _subscribe_for_ever(self) -> None:
        wait = _SHORTEST_WAIT
        while True:
            try:
                await self._subscribe()
            except (Unavailable, NotPermitted) as error:
                if self._connected.is_set():
                    wait = _SHORTEST_WAIT
                log.warning("the subscription was lost: %s", error.message)
            except Exception:
                # Whatever it was, a new connection is the best answer to it.
                log.exception("the subscription failed")
            self._connected.clear()
            await asyncio.sleep(wait * (0.5 + clock.chance()))
            wait = min(2 * wait, _LONGEST_WAIT)

    async def _subscribe(self) -> None:
        """Subscribe and carry messages until the connection breaks.

        Raises:
            Unavailable: it broke.
            NotPermitted: the server refuses the user.
        """
        async with self._subscriber.pubsub() as pubsub:
            async with translated():
                await pubsub.subscribe(*self._kinds)
            heard = clock.monotonic()
            while True:
                async with translated():
                    message = await pubsub.get_message(timeout=self._tick_seconds)
                    if message is None:
                        await pubsub.ping()
                if message is not None:
                    heard = clock.monotonic()
                    self._take(message)
                elif clock.monotonic() - heard > _SILENT_TICKS * self._tick_seconds:
                    raise Unavailable("the server does not answer on the subscription")

    def _take(self, message: dict[str, Any]) -> None:
        if message["type"] == "subscribe" and message["data"] == len(self._kinds):
            # Also when the client has subscribed again by itself.
            self._connected.set()
            self._tell_followers(Stirred())
            for hook in list(self._hooks):
                _called(hook)
        elif message["type"] == "message":
            kind, payload = self._kinds[text(message["channel"]) or ""], message["data"]
            if kind is keys.CHANNEL_FINDINGS:
                self._announce(payload)
            for listener in list(self._listeners[kind]):
                _called(listener, payload)

    def _announce(self, payload: bytes) -> None:
        said: Announced | Hint | Forgot | Invalid
        try:
            said = read_announcement(payload)
        except Invalid as error:
            said = error
        if isinstance(said, Announced):
            self._tell_followers(Live(said.sequence, said.previous, said.body))
            return
        if isinstance(said, Forgot):
            for hears in list(self._forgotten):
                _called(hears, said)
            return
        if isinstance(said, Hint):
            self._tell_followers(Stirred())
        for listener in list(self._foreign):
            _called(listener, payload, said)

    async def _tick_for_ever(self) -> None:
        while True:
            await asyncio.sleep(self._tick_seconds)
            if not self._followers:
                continue
            try:
                self._tell_followers(Ticked(await self.newest()))
            except (Unavailable, NotPermitted) as error:
                log.debug("no tick: %s", error.message)

    def _tell_followers(self, event: Live | Stirred | Ticked) -> None:
        for follower in self._followers:
            follower.tell(event)


def _called(listener: Callable[..., None], *args: object) -> None:
    """Call a listener; its failure is its own, and the feed goes on."""
    try:
        listener(*args)
    except Exception:
        log.exception("a listener of the feed failed")
