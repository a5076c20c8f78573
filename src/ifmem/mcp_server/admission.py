"""What is looked at before a request reaches the protocol: where it comes from, and its caller."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

from mcp.server.auth.middleware.bearer_auth import AuthenticatedUser
from mcp.server.streamable_http import MCP_SESSION_ID_HEADER
from mcp.server.transport_security import TransportSecurityMiddleware, TransportSecuritySettings
from mcp.shared.inbound import MCP_PROTOCOL_VERSION_HEADER
from mcp_types.version import HANDSHAKE_PROTOCOL_VERSIONS
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ifmem import clock
from ifmem.engine.rate_limits import MOST_STREAMS
from ifmem.errors import IfMemError, to_wire
from ifmem.mcp_server.connections import serving
from ifmem.mcp_server.sessions import MOST_SESSIONS, Sessions
from ifmem.mcp_server.verifiers import CallerToken

if TYPE_CHECKING:
    from collections.abc import Iterator

LOOK_SECONDS = 2.0
"""A request that runs on is ended at most so long after its token has."""
BODY_SECONDS = 30.0
"""A request must have come as a whole by then."""
_GRACE_SECONDS = 1.0


class Entrance:
    """The outermost part: other Hosts and Origins get no further, whatever they ask for."""

    def __init__(self, app: ASGIApp, *, security: TransportSecuritySettings) -> None:
        self._app = app
        self._security = TransportSecurityMiddleware(security)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request in."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        answer = _Answer(send)
        # A page elsewhere can make a browser send requests here; it cannot choose these headers.
        refusal = await self._security.validate_request(Request(scope))
        if refusal is not None:
            await refusal(scope, receive, send)
            return
        try:
            await self._app(scope, receive, answer.send)
        except IfMemError as error:
            # It cannot be found out who calls, since the daemon cannot be reached.
            if answer.is_started:
                raise
            await JSONResponse(to_wire(error), 503, {"Retry-After": "1"})(scope, receive, send)


class Admission:
    """The innermost part: what one caller may have open, and for how long its token lasts."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        path: str,
        most_requests: int,
        challenge: str,
        is_taken: Callable[[str], Awaitable[bool]],
        refused: Callable[[str, str], Awaitable[None]],
        ending: asyncio.Event,
    ) -> None:
        """Around ``app``.

        Args:
            path: of the protocol; nothing else needs a caller.
            most_requests: of one caller that run at once, besides its streams.
            challenge: what whoever has no scope at all is told beside 403.
            is_taken: whether a token still is.
            refused: told who was refused, and why.
            ending: when set, what runs has a second to end.
        """
        self._app = app
        self._path = path
        # A stream for each session of the handshake's era, and one for each subscription.
        self._most_requests = most_requests + 2 * MOST_STREAMS
        self._challenge = challenge
        self._is_taken = is_taken
        self._refused = refused
        self._ending = ending
        self._running: Counter[str] = Counter()
        self._sessions = Sessions()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request pass, as long as its caller may."""
        if scope["type"] != "http" or scope["path"] != self._path:
            await self._app(scope, receive, send)
            return
        token = _token(scope)
        if token is None:
            if "authorization" not in Headers(scope=scope):
                await self._refused("-", "no token")
            # Answered with 401 there, and never counted for anybody.
            await self._app(scope, receive, send)
            return
        if not token.caller.scopes:
            await self._refused(token.caller.agent, "no scope")
            told = {"error": "insufficient_scope", "error_description": "the token has no scope"}
            answer = JSONResponse(told, 403, {"WWW-Authenticate": self._challenge})
            await answer(scope, receive, send)
            return
        if refusal := self._refusal(scope, token.caller.connection):
            await JSONResponse(refusal, 429, {"Retry-After": "1"})(scope, receive, send)
            return
        with serving(scope), self._counted(token.caller.connection):
            await self._while_taken(token, scope, receive, send)

    def _refusal(self, scope: Scope, caller: str) -> dict[str, Any] | None:
        if self._running[caller] >= self._most_requests:
            return _too_much(f"{self._most_requests:,} requests of yours are open")
        if _may_open_session(scope) and not self._sessions.may_open(caller, clock.monotonic()):
            return _too_much(f"{MOST_SESSIONS:,} sessions of yours are open: end some")
        return None

    @contextmanager
    def _counted(self, caller: str) -> Iterator[None]:
        self._running[caller] += 1
        try:
            yield
        finally:
            self._running[caller] -= 1
            if not self._running[caller]:
                del self._running[caller]

    async def _while_taken(
        self, token: CallerToken, scope: Scope, receive: Receive, send: Send
    ) -> None:
        # Before the client hears of it: its next request is counted by what it knows.
        answer = _Answer(send, begun=partial(self._remember, token.caller.connection, scope))
        body = _Body(receive)
        try:
            async with asyncio.TaskGroup() as group:
                request = group.create_task(self._serve(scope, body.receive, answer.send))
                ended = group.create_task(self._ending.wait())
                while not request.done():
                    await asyncio.wait(
                        {request, ended},
                        timeout=LOOK_SECONDS,
                        return_when=asyncio.FIRST_COMPLETED,
                    )
                    if self._ending.is_set():
                        await asyncio.wait({request}, timeout=_GRACE_SECONDS)
                        request.cancel()
                    elif not request.done() and not await self._is_taken(token.token):
                        request.cancel()
                    if request.cancelling():
                        await asyncio.wait({request})
                ended.cancel()
        except* _SlowBodyError:
            await answer.end(scope, 408, "the request did not come within its time")
        await answer.end(scope, 401, "the token has ended, or the server does")

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._app(scope, receive, send)

    def _remember(self, caller: str, scope: Scope, answer: _Answer) -> None:
        given = Headers(scope=scope).get(MCP_SESSION_ID_HEADER)
        opened = answer.headers.get(MCP_SESSION_ID_HEADER)
        if given is None and opened is not None and answer.status < 400:
            self._sessions.used(caller, opened, clock.monotonic())
        elif given is not None and (scope["method"] == "DELETE" or answer.status == 404):
            self._sessions.ended(caller, given)
        elif given is not None and answer.status < 400:
            self._sessions.used(caller, given, clock.monotonic())


class _SlowBodyError(Exception):
    """The body of a request did not come in time."""


class _Body:
    """What a request brings, as long as it comes in time."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._until = clock.monotonic() + BODY_SECONDS
        self._is_whole = False

    async def receive(self) -> Message:
        if self._is_whole:
            return await self._receive()
        try:
            async with asyncio.timeout(max(0.0, self._until - clock.monotonic())):
                message = await self._receive()
        except TimeoutError as error:
            raise _SlowBodyError from error
        self._is_whole = not message.get("more_body", False)
        return message


class _Answer:
    """What was sent of an answer, so that one that was cut short can be ended properly."""

    def __init__(self, send: Send, *, begun: Callable[[_Answer], None] = lambda _: None) -> None:
        self._send = send
        self._begun = begun
        self.status = 0
        self.headers = Headers()
        self._is_whole = False

    @property
    def is_started(self) -> bool:
        return self.status != 0

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.headers = Headers(raw=list(message.get("headers", [])))
            self._begun(self)
        elif message["type"] == "http.response.body":
            self._is_whole = not message.get("more_body", False)
        await self._send(message)

    async def end(self, scope: Scope, status: int, reason: str) -> None:
        """Complete it when it is not: as it stands, or with this status when nothing was sent."""
        if self._is_whole:
            return
        if self.is_started:
            await self.send({"type": "http.response.body", "body": b"", "more_body": False})
        else:
            await JSONResponse({"error": reason}, status)(scope, _nothing, self.send)


async def _nothing() -> Message:
    return {"type": "http.disconnect"}


def _may_open_session(scope: Scope) -> bool:
    """Whether the SDK makes a session for it: of the handshake's era, and in none yet."""
    headers = Headers(scope=scope)
    version = headers.get(MCP_PROTOCOL_VERSION_HEADER)
    is_handshakes = version is None or version in HANDSHAKE_PROTOCOL_VERSIONS
    return is_handshakes and MCP_SESSION_ID_HEADER not in headers


def _token(scope: Scope) -> CallerToken | None:
    user = scope.get("user")
    token = user.access_token if isinstance(user, AuthenticatedUser) else None
    return token if isinstance(token, CallerToken) else None


def _too_much(reason: str) -> dict[str, Any]:
    return {"error": "too_many_requests", "error_description": reason, "retry_after_seconds": 1}
