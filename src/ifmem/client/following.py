"""Following the findings: one after the other as they come, over as many daemons as it takes."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Callable,
    Generator,
    Mapping,
    Sequence,
)
from pathlib import Path
from typing import Any

import msgspec

from ifmem.client import launch, naming
from ifmem.client.connection import Connection
from ifmem.client.loop import Loop
from ifmem.clock import chance, monotonic
from ifmem.domain.task import NO_RUN
from ifmem.errors import IfMemError, Unavailable
from ifmem.settings import Settings
from ifmem.wire.calls import AcknowledgeCall, FollowCall
from ifmem.wire.forget_calls import ForgottenNotice
from ifmem.wire.shapes import FindingLine

_FULL, _LOW = 256, 64
"""Findings that wait for a busy consumer until the daemon is stopped, and until it goes on."""
_SHORTEST_WAIT_S, _LONGEST_WAIT_S = 0.05, 1.0
_REJOIN_S = 60.0
_FLUSH_S = 2.0


OnForgotten = Callable[[ForgottenNotice], None]


class FollowVerbs:
    """The verb ``follow`` of a memory."""

    settings: Settings
    _directory: Path

    async def follow(
        self,
        since: str | None = None,
        *,
        consumer: str | None = None,
        topic: str | None = None,
        task: str | None = None,
        worker: str | None = None,
        tag: str | None = None,
        run: str | None = None,
        source: str | Sequence[str] = (),
        on_forgotten: OnForgotten | None = None,
    ) -> AsyncGenerator[FindingLine, None]:
        """Findings in order as they come, without end; a daemon that ends is waited for.

        A finding that the store does not have yet says ``durable: false``.

        Args:
            since: a cursor, or a date or time; ``"0"`` is the beginning. By default only what
                comes after the first step is told, or what a known consumer has not had.
            consumer: a name whose cursor the store keeps. Taking the next finding acknowledges
                the one before, so after a crash it goes on with the one it was at.
            topic: only findings of this topic.
            task: only those of this task.
            worker: only those of this author.
            tag: only those with this tag.
            run: only those of this session.
            source: only those that cite one of these paths, URLs, or patterns with ``*``.
            on_forgotten: called with what is forgotten while it follows, whatever was told of
                it; ``forgotten`` lists the findings that were meanwhile.

        Example:
            async for line in memory.follow(since=cursor, topic="retries"):
                print(line.finding["claim"])
                cursor = line.cursor

        Raises:
            Invalid: the cursor or the consumer's name breaks its rule.
            Unavailable: no daemon could be started for a minute.
        """
        day = naming.moment(since) if since and naming.is_moment(since) else None
        sources = (source,) if isinstance(source, str) else tuple(source)
        call = FollowCall(
            since="0" if day else since,
            consumer=consumer,
            topic=topic,
            task=task,
            worker=worker,
            tag=tag,
            run=run or (None if self.settings.run == NO_RUN else self.settings.run),
            said_since=day,
            source=tuple(naming.source_name(one, self._directory) for one in sources),
        )
        async with contextlib.aclosing(_lines(self.settings, call, on_forgotten)) as lines:
            async for line in lines:
                yield line


async def _lines(
    settings: Settings, call: FollowCall, on_forgotten: OnForgotten | None
) -> AsyncGenerator[FindingLine, None]:
    acknowledged = _Acknowledged(settings.space, call.consumer)
    connection = await launch.connect(settings)
    while True:
        stream = _Stream(connection, settings.space, call, on_forgotten)
        acknowledged.by(connection)
        try:
            async for line in stream:
                call = msgspec.structs.replace(call, resume=line.cursor)
                yield line
                acknowledged.note(line.cursor)
            # What was just now comes after this, also for a daemon that starts later.
            call = msgspec.structs.replace(call, resume=call.resume or stream.began_at)
        finally:
            await acknowledged.flush(stream)
            await stream.close()
        connection = await _rejoin(settings, was_told_to_end=stream.was_told_to_end)


async def _rejoin(settings: Settings, *, was_told_to_end: bool) -> Connection:
    """A connection to the next daemon.

    One that died is started again. One that was told to end is not: somebody wanted it so, and
    will start the next.
    """
    deadline = monotonic() + _REJOIN_S
    wait = _SHORTEST_WAIT_S
    while True:
        try:
            if not was_told_to_end:
                return await launch.connect(settings)
            if connection := await launch.join(settings):
                return connection
        except Unavailable as error:
            # Another version will not go away by waiting.
            if "daemon" in error.facts or (not was_told_to_end and monotonic() > deadline):
                raise
        await asyncio.sleep(wait * (0.5 + chance()))
        wait = min(2 * wait, _LONGEST_WAIT_S)


class _Stream:
    """What one daemon tells; ends when the daemon does.

    Its connection is its own: a consumer that is busy makes the daemon wait, and no other call.
    """

    def __init__(
        self,
        connection: Connection,
        space: str,
        call: FollowCall,
        on_forgotten: OnForgotten | None,
    ) -> None:
        self.began_at: str | None = None
        """The cursor from which the daemon tells; None when it never said."""
        self.was_told_to_end = False
        self._connection = connection
        self._on_forgotten = on_forgotten
        self._lines: deque[FindingLine] = deque()
        self._woken = asyncio.Event()
        self._paused = False
        self._is_left = False
        told = connection.call(
            "follow", call, returns=dict[str, Any], space=space, on_event=self._take
        )
        self._call = asyncio.ensure_future(told)
        self._call.add_done_callback(lambda _: self._woken.set())

    async def __aiter__(self) -> AsyncIterator[FindingLine]:
        while True:
            while self._lines:
                line = self._lines.popleft()
                if self._paused and len(self._lines) < _LOW:
                    self._paused = False
                    self._connection.resume()
                yield line
            if self._call.done():
                self._raise_refusal()
                return
            self._woken.clear()
            await self._woken.wait()

    def leave(self) -> None:
        """Take nothing more, so that what else is on the connection comes through."""
        self._is_left = True
        self._lines.clear()
        self._connection.resume()

    async def close(self) -> None:
        """End the call and its connection."""
        self._call.cancel()
        with contextlib.suppress(asyncio.CancelledError, IfMemError):
            await self._call
        await self._connection.close()

    def _take(self, event: Mapping[str, Any]) -> None:
        if self._is_left:
            return
        if "finding" in event:
            self._lines.append(msgspec.convert(event["finding"], FindingLine))
            if len(self._lines) >= _FULL and not self._paused:
                self._paused = True
                self._connection.pause()
        elif "forgotten" in event:
            if self._on_forgotten is not None:
                self._on_forgotten(msgspec.convert(event["forgotten"], ForgottenNotice))
        elif "following" in event:
            self.began_at = event["following"]["cursor"]
        elif "ending" in event:
            self.was_told_to_end = True
        self._woken.set()

    def _raise_refusal(self) -> None:
        error = self._call.exception()
        if error is not None and (self.began_at is None or not isinstance(error, Unavailable)):
            raise error


class _Acknowledged:
    """Tells the daemon how far a consumer is, without making the consumer wait.

    At most one call is under way; the newest cursor goes next, and stands for all before it.
    """

    def __init__(self, space: str, consumer: str | None) -> None:
        self._space = space
        self._consumer = consumer
        self._connection: Connection | None = None
        self._due: str | None = None
        self._sending: asyncio.Future[None] | None = None

    def by(self, connection: Connection) -> None:
        """Use this connection from now on."""
        self._connection = connection
        self._send()

    def note(self, cursor: str) -> None:
        """The consumer is done with everything up to a cursor."""
        if self._consumer is not None:
            self._due = cursor
            self._send()

    async def flush(self, stream: _Stream) -> None:
        """Give what is still to be told a moment to arrive."""
        if self._sending is None:
            return
        stream.leave()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_FLUSH_S):
                await asyncio.shield(self._sending)

    def _send(self) -> None:
        if self._due is not None and self._sending is None:
            self._sending = asyncio.ensure_future(self._tell())

    async def _tell(self) -> None:
        assert self._consumer is not None
        try:
            while self._due is not None and (connection := self._connection) is not None:
                cursor = self._due
                call = AcknowledgeCall(self._consumer, cursor)
                try:
                    await connection.call(
                        "acknowledge", call, returns=dict[str, Any], space=self._space
                    )
                except IfMemError:
                    # Until the next daemon is told, the consumer may be given something twice.
                    if connection is self._connection:
                        return
                    continue
                if self._due == cursor:
                    self._due = None
        finally:
            self._sending = None


class BlockingFollow:
    """The same verb for code that is not async."""

    _memory: FollowVerbs
    _loop: Loop

    def follow(
        self,
        since: str | None = None,
        *,
        consumer: str | None = None,
        topic: str | None = None,
        task: str | None = None,
        worker: str | None = None,
        tag: str | None = None,
        run: str | None = None,
        source: str | Sequence[str] = (),
        on_forgotten: OnForgotten | None = None,
    ) -> Generator[FindingLine, None, None]:
        """Findings in order as they come, without end; a daemon that ends is waited for.

        ``on_forgotten`` is called on a thread of its own.
        """
        lines = self._memory.follow(
            since,
            consumer=consumer,
            topic=topic,
            task=task,
            worker=worker,
            tag=tag,
            run=run,
            source=source,
            on_forgotten=on_forgotten,
        )

        async def following() -> FindingLine | None:
            return await anext(lines, None)

        try:
            while (line := self._loop.run(following())) is not None:
                yield line
        finally:
            self._loop.run(lines.aclose())
