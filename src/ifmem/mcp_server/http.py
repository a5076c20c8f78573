"""The server object over HTTP: who may come in, as whom, and how the process ends."""

from __future__ import annotations

import asyncio
import logging
import socket as network
from collections.abc import Awaitable, Callable
from contextlib import nullcontext
from typing import Any

import uvicorn
from mcp.server.auth.middleware.auth_context import get_access_token
from mcp.server.auth.routes import build_resource_metadata_url
from mcp.server.auth.settings import AuthSettings
from mcp.server.context import CallNext, HandlerResult, ServerMiddleware, ServerRequestContext
from mcp.server.lowlevel import Server
from mcp.server.transport_security import TransportSecuritySettings
from mcp.shared.exceptions import MCPError
from mcp_types import INVALID_REQUEST
from pydantic import ValidationError
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from ifmem.domain.grant import Scope
from ifmem.errors import ConfigError, IfMemError
from ifmem.mcp_server.admission import Admission, Entrance
from ifmem.mcp_server.connections import BoundedConnection
from ifmem.mcp_server.limits import limits
from ifmem.mcp_server.port import Caller, Calls, caller_of_connection
from ifmem.mcp_server.sessions import IDLE_SECONDS
from ifmem.mcp_server.verifiers import CallerToken, EitherVerifier, note, verifier
from ifmem.settings import Settings
from ifmem.wire.agent_calls import RefusalCall

PATH = "/mcp"
HEALTH = "/healthz"
LOOPBACK = "127.0.0.1"
_BACKLOG = 2_048
_KEEP_ALIVE_SECONDS = 15
_GRACE_SECONDS = 2
"""What still runs when the process is told to end may take so long."""
_TICK_SECONDS = 0.05


def listening(port: int) -> network.socket:
    """A socket that listens on this machine only.

    Raises:
        ConfigError: the port is taken, or not ours to take.
    """
    # Said to be TCP, so that asyncio sets TCP_NODELAY on what it accepts: without it each answer
    # waits 40 ms for the client's delayed acknowledgement.
    listener = network.socket(network.AF_INET, network.SOCK_STREAM, network.IPPROTO_TCP)
    try:
        listener.setsockopt(network.SOL_SOCKET, network.SO_REUSEADDR, 1)
        listener.bind((LOOPBACK, port))
        listener.listen(_BACKLOG)
        listener.setblocking(False)
    except OSError as error:
        listener.close()
        raise ConfigError(
            f"port {port} of {LOOPBACK} cannot be used ({error.strerror}): name another with "
            "--port, or take any free one with --port 0",
            setting="serve.port",
        ) from error
    return listener


def url_of(listener: network.socket) -> str:
    """Where clients find the server."""
    return f"http://{LOOPBACK}:{listener.getsockname()[1]}{PATH}"


async def serve(
    server: Server[Any],
    calls: Calls,
    settings: Settings,
    listener: network.socket,
    *,
    ready: Callable[[], None],
    stopping: asyncio.Event,
) -> None:
    """Answer until ``stopping`` is set; requests that still run then have two seconds.

    Args:
        server: is changed: who calls and the limits are put around its handlers.
        calls: the memory, asked who holds a token.
        ready: called once requests are answered.

    Raises:
        ConfigError: the settings of JWTs contradict themselves.
    """
    ending = asyncio.Event()
    app = build_app(server, calls, settings, url_of(listener), ending=ending)
    config = uvicorn.Config(
        app,
        http=BoundedConnection,
        ws="none",
        lifespan="on",
        loop="asyncio",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        date_header=False,
        limit_concurrency=settings.mcp.connections,
        timeout_keep_alive=_KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=_GRACE_SECONDS + 1,
    )
    # What strangers send is no news: uvicorn and the SDK would write a line for each of it.
    for name in ("uvicorn.error", "mcp.server"):
        logging.getLogger(name).setLevel(logging.ERROR)
    host = _Host(config)
    async with asyncio.TaskGroup() as group:
        serving = group.create_task(host.serve(sockets=[listener]))
        group.create_task(_announce(host, ready))
        stop = group.create_task(stopping.wait())
        await asyncio.wait({serving, stop}, return_when=asyncio.FIRST_COMPLETED)
        ending.set()
        host.should_exit = True
        stop.cancel()


def build_app(
    server: Server[Any], calls: Calls, settings: Settings, url: str, *, ending: asyncio.Event
) -> Starlette:
    """The application of one server object.

    Args:
        url: where it is reached on this machine; its port is the one that Host must name.
        ending: when set, streams end.
    """
    checker = verifier(settings.serve, calls, settings.space)
    server.middleware += [_identified, _audited(calls), limits(settings.mcp)]
    if server.get_tool_input_schema is None:
        # The SDK would list all tools before each call, and count that as a call too, to look for
        # arguments that are to be repeated in headers: no tool of ours asks for that.
        server.get_tool_input_schema = _without_headers
    security = _security(settings, url)
    app: Starlette = server.streamable_http_app(
        streamable_http_path=PATH,
        max_request_body_size=settings.mcp.max_request_bytes,
        session_idle_timeout=IDLE_SECONDS,
        transport_security=security,
        auth=_resource_server(settings, url),
        token_verifier=checker,
        custom_starlette_routes=[Route(HEALTH, _healthy, methods=["GET"])],
    )
    app.user_middleware.insert(0, Middleware(Entrance, security=security))
    # Innermost: behind those that say who calls.
    app.user_middleware.append(
        Middleware(
            Admission,
            path=PATH,
            most_requests=settings.mcp.concurrent_calls,
            challenge=_challenge(settings, url),
            is_taken=_still_taken(checker),
            refused=_noting(calls, settings.space),
            ending=ending,
        )
    )
    return app


class _Host(uvicorn.Server):
    """Uvicorn without its own handlers of signals: the command's are there already."""

    def capture_signals(self) -> Any:
        """Capture none."""
        return nullcontext()


async def _announce(host: uvicorn.Server, ready: Callable[[], None]) -> None:
    while not host.started:
        if host.should_exit:
            return
        await asyncio.sleep(_TICK_SECONDS)
    ready()


def _resource_server(settings: Settings, url: str) -> AuthSettings:
    """This server as OAuth knows it: something that takes tokens and gives out none.

    Behind a proxy the audience of its tokens is also its own name.
    """
    named = settings.serve.audience.startswith(("http://", "https://"))
    # The SDK wants an issuer. Without one, a client that asks there for a token is told that there
    # is none, as a client is that finds no issuer named.
    values = {
        "issuer_url": settings.serve.issuer or url.removesuffix(PATH),
        "resource_server_url": settings.serve.audience if named else url,
        # A token needs no certain scope to come in: each tool asks for its own.
        "required_scopes": None,
        # Our verifiers look at the audience themselves.
        "validate_token_resource": False,
    }
    try:
        return AuthSettings.model_validate(values)
    except ValidationError as error:
        raise ConfigError(
            f"serve.issuer = {settings.serve.issuer[:100]!r} and serve.audience = "
            f"{settings.serve.audience[:100]!r} must be URLs: write them as the issuer does",
            setting="serve.issuer",
        ) from error


def _challenge(settings: Settings, url: str) -> str:
    """What a token without any scope is answered with: which ones there are, and where to ask."""
    resource = _resource_server(settings, url).resource_server_url
    assert resource is not None
    scopes = " ".join(Scope)
    return (
        f'Bearer error="insufficient_scope", scope="{scopes}", '
        f'resource_metadata="{build_resource_metadata_url(resource)}"'
    )


def _security(settings: Settings, url: str) -> TransportSecuritySettings:
    port = url.removesuffix(PATH).rpartition(":")[2]
    here = [f"{name}:{port}" for name in (LOOPBACK, "localhost", "[::1]")]
    allowed = list(settings.serve.allow_hosts)
    return TransportSecuritySettings(
        enable_dns_rebinding_protection=True,
        allowed_hosts=[*here, *allowed],
        allowed_origins=[
            *(f"http://{name}" for name in here),
            *(f"{scheme}://{name}" for name in allowed for scheme in ("https", "http")),
        ],
    )


async def _identified(ctx: ServerRequestContext[Any, Any], call_next: CallNext) -> HandlerResult:
    """Every message is its token's holder's: also the later ones of a session."""
    mark = caller_of_connection.set(_caller())
    try:
        return await call_next(ctx)
    finally:
        caller_of_connection.reset(mark)


def _caller() -> Caller:
    token = get_access_token()
    if not isinstance(token, CallerToken):
        raise MCPError(INVALID_REQUEST, "nobody is authenticated here: send a bearer token")
    return token.caller


def _audited(calls: Calls) -> ServerMiddleware[Any]:
    """Has each call of a tool audited that its caller was not permitted to make."""

    async def audited(ctx: ServerRequestContext[Any, Any], call_next: CallNext) -> HandlerResult:
        result = await call_next(ctx)
        said = result.get("structuredContent") if isinstance(result, dict) else None
        if isinstance(said, dict) and said.get("error") == "NotPermitted":
            caller = _caller()
            tool = str((ctx.params or {}).get("name"))[:100]
            reason = str(said.get("message"))
            refusal = RefusalCall(actor=caller.agent, action=f"mcp {tool}", reason=reason)
            await note(calls, refusal, caller.space)
        return result

    return audited


def _still_taken(checker: EitherVerifier) -> Callable[[str], Awaitable[bool]]:
    async def is_taken(token: str) -> bool:
        try:
            return await checker.verify_token(token) is not None
        except IfMemError:
            # The daemon is away for the moment: nobody has said that the token ended.
            return True

    return is_taken


def _noting(calls: Calls, space: str) -> Callable[[str, str], Awaitable[None]]:
    async def refused(actor: str, reason: str) -> None:
        await note(calls, RefusalCall(actor=actor, action="http", reason=reason), space)

    return refused


def _without_headers(tool: str) -> None:
    return None


async def _healthy(request: Request) -> JSONResponse:
    return JSONResponse({"status": "ok"})
