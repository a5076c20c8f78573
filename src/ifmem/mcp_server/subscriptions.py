"""Subscriptions to resources, in both eras of the protocol."""

from __future__ import annotations

import asyncio
import contextvars
from typing import Any

import mcp_types as types
from mcp.server.connection import Connection
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel import Server
from mcp.server.session import ServerSession
from mcp.server.subscriptions import ListenHandler, ResourceUpdated, ServerEvent

from ifmem.errors import Invalid, NotFound
from ifmem.mcp_server.port import Calls
from ifmem.mcp_server.refusals import no_resource, reader, told_by_protocol
from ifmem.mcp_server.space_events import SpaceEvents, joined
from ifmem.mcp_server.uris import read_uri

Context = ServerRequestContext[Any, Any]

MOST_RESOURCES = 1_000
"""That one stream or session may subscribe to."""
_STATE = "ifmem.subscriptions."
"""And the space: whoever calls by a session, nobody hears of another's."""
_UNBOUNDED = 10**9


def register(server: Server[Any], calls: Calls) -> None:
    """Let clients subscribe to resources."""
    ours = Subscriptions(calls)
    server.add_request_handler(
        "subscriptions/listen", types.SubscriptionsListenRequestParams, ours.listen
    )
    server.add_request_handler("resources/subscribe", types.SubscribeRequestParams, ours.subscribe)
    server.add_request_handler(
        "resources/unsubscribe", types.UnsubscribeRequestParams, ours.unsubscribe
    )


class Subscriptions:
    """Everybody who listens by one server object."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls
        self._spaces: dict[str, SpaceEvents] = {}
        self._streams: dict[str, ListenHandler] = {}

    async def listen(
        self, context: Context, params: types.SubscriptionsListenRequestParams
    ) -> types.SubscriptionsListenResult:
        """One stream of the era since 2026-07-28; it lasts until its client goes away.

        It is acknowledged once the space is watched: what happens after that is told.
        """
        with told_by_protocol(missing=no_resource(context.protocol_version)):
            caller = await reader(self._calls, "subscriptions/listen")
            wanted = params.notifications.resource_subscriptions or []
            if len(wanted) > MOST_RESOURCES:
                raise _too_many()
            events = self._events(caller.space)
            async with joined(events, wanted):
                return await self._streams[caller.space](context, params)

    async def subscribe(
        self, context: Context, params: types.SubscribeRequestParams
    ) -> types.EmptyResult:
        """One resource of a session of the eras before; it lasts as long as the session."""
        with told_by_protocol(missing=no_resource(context.protocol_version)):
            caller = await reader(self._calls, "resources/subscribe")
            if read_uri(params.uri) is None:
                uri = params.uri[:200]
                raise NotFound(f"there is no resource {uri!r}: list them", uri=uri)
            begun = _begun(context.session, caller.space)
            session = begun or self._begin(context.session, caller.space)
            await session.add(params.uri)
        return types.EmptyResult()

    async def unsubscribe(
        self, context: Context, params: types.UnsubscribeRequestParams
    ) -> types.EmptyResult:
        """The end of a ``subscribe``; of none, nothing."""
        with told_by_protocol(missing=no_resource(context.protocol_version)):
            caller = await reader(self._calls, "resources/unsubscribe")
            if session := _begun(context.session, caller.space):
                session.drop(params.uri)
        return types.EmptyResult()

    def _events(self, space: str) -> SpaceEvents:
        if space not in self._spaces:
            events = SpaceEvents(self._calls, space)
            self._spaces[space] = events
            # How many each caller may have open is bounded where all its calls are.
            self._streams[space] = ListenHandler(events, max_subscriptions=_UNBOUNDED)
        return self._spaces[space]

    def _begin(self, session: ServerSession, space: str) -> _SubscribedSession:
        begun = _SubscribedSession(session, self._events(space))
        connection = _connection_of(session)
        connection.state[_STATE + space] = begun
        connection.exit_stack.callback(begun.close)
        return begun


class _SubscribedSession:
    """What one session of the handshake era is subscribed to.

    Notifications go out one by one from a task of its own: a client that does not read is waited
    for, and is then told once of each resource.
    """

    def __init__(self, session: ServerSession, events: SpaceEvents) -> None:
        self._session = session
        self._events = events
        self._wanted: set[str] = set()
        self._pending: dict[str, None] = {}
        self._stirred = asyncio.Event()
        self._closed = False
        self._end = events.subscribe(self._take)
        # It outlives the request that begins it, so it takes nothing of its context along.
        loop = asyncio.get_running_loop()
        self._sending = loop.create_task(self._send(), context=contextvars.Context())

    async def add(self, uri: str) -> None:
        """Subscribe to a resource; returns once the space is watched."""
        if uri in self._wanted or self._closed:
            return
        if len(self._wanted) >= MOST_RESOURCES:
            raise _too_many()
        self._wanted.add(uri)
        self._events.join([uri])
        try:
            await self._events.stands()
        except BaseException:
            self.drop(uri)
            raise

    def drop(self, uri: str) -> None:
        """Subscribe to it no longer."""
        if uri in self._wanted:
            self._wanted.discard(uri)
            self._pending.pop(uri, None)
            self._events.leave([uri])

    def close(self) -> None:
        """The session has ended."""
        self._closed = True
        self._end()
        self._sending.cancel()
        for uri in list(self._wanted):
            self.drop(uri)

    def _take(self, event: ServerEvent) -> None:
        if isinstance(event, ResourceUpdated) and event.uri in self._wanted:
            self._pending[event.uri] = None
            self._stirred.set()

    async def _send(self) -> None:
        while True:
            while self._pending:
                uri = next(iter(self._pending))
                del self._pending[uri]
                await self._session.send_resource_updated(uri)
            self._stirred.clear()
            await self._stirred.wait()


def _begun(session: ServerSession, space: str) -> _SubscribedSession | None:
    found = _connection_of(session).state.get(_STATE + space)
    return found if isinstance(found, _SubscribedSession) else None


def _connection_of(session: ServerSession) -> Connection:
    # The SDK has no public way from a request to its connection, whose state and end are meant
    # for handlers (mcp 2.3, read 2026-11-23).
    return session._connection


def _too_many() -> Invalid:
    return Invalid(
        f"at most {MOST_RESOURCES:,} resources can be subscribed to: unsubscribe from some, or "
        "subscribe to `memory://findings`, which tells of each finding",
        limit=MOST_RESOURCES,
    )
