"""Which part plays which role in a running daemon: the only place that puts them together."""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
import socket as network
from collections.abc import AsyncIterator, Awaitable, Callable
from importlib import metadata
from pathlib import Path
from typing import Any

from ifmem.bus.connection import connect
from ifmem.errors import ConfigError, IfMemError, Refused
from ifmem.index.sentence_encoder import SentenceEncoder, is_installed
from ifmem.llm.registry import Models
from ifmem.mcp_server.listening import AgentListener, Speak
from ifmem.runtime.allowances import allowances_of
from ifmem.runtime.calling import InsideCalls
from ifmem.runtime.captured_spool import take_in_now_and_then
from ifmem.runtime.embedding import embed_all
from ifmem.runtime.forwarding import Forwarder
from ifmem.runtime.granting import PARAMS as GRANT_METHODS
from ifmem.runtime.granting import Granting
from ifmem.runtime.judging import require_judge
from ifmem.runtime.listening import Emitter, Handler, Listener
from ifmem.runtime.noting_grants import NoteGrant, grants_into_log, grants_into_store
from ifmem.runtime.refusing import Note, into_log, into_store
from ifmem.runtime.service import Service, bus_directory
from ifmem.settings import Settings, without_password
from ifmem.sockets import DAEMON_SOCKET, MCP_SOCKET, socket_path
from ifmem.wire.agent_calls import CaptureCall, Captured
from ifmem.wire.calls import PROTOCOL, Request
from ifmem.wire.shapes import Hello

_IDLE_LOOK_SECONDS = 1.0

IdleSeconds = Callable[[], Awaitable[float]]
"""For how long nobody outside this host has needed the daemon."""


async def serve(
    settings: Settings,
    stopping: asyncio.Event,
    ready: Callable[[Path], None],
    *,
    adopt: bool = False,
) -> None:
    """Run the daemon of a home until ``stopping`` is set, a caller says so, or nobody comes.

    Args:
        ready: called with the socket once calls are answered.
        adopt: take over keys of the first space that another store has written.
    """
    try:
        await _serve(settings, stopping, ready, adopt=adopt)
    except BaseExceptionGroup as failures:
        told = failures.subgroup(IfMemError)
        if told is None:
            raise
        raise _first(told) from failures


async def _serve(
    settings: Settings,
    stopping: asyncio.Event,
    ready: Callable[[Path], None],
    *,
    adopt: bool,
) -> None:
    if settings.role == "client":
        async with (
            _forwarder(settings, adopt=adopt) as forwarder,
            _spooled(settings, forwarder.call),
        ):
            await _answer(settings, forwarder.call, stopping, ready, _for_ever, into_log)
        return
    sentences = _sentence_encoder(settings)
    async with asyncio.TaskGroup() as group, _service(settings, sentences, group) as service:
        # The default space is opened first: its keys are there from the start.
        first = await service.space(settings.space, adopt=adopt)
        note = into_store(first.database)
        embedding = None
        if sentences is not None:
            embedding = group.create_task(embed_all(service.open_spaces, sentences))
        try:
            async with _spooled(settings, service.call):
                await _answer(
                    settings,
                    service.call,
                    stopping,
                    ready,
                    service.idle_seconds,
                    note,
                    grants_into_store(first.database),
                )
        finally:
            if embedding is not None:
                embedding.cancel()


async def _answer(
    settings: Settings,
    call: Handler,
    stopping: asyncio.Event,
    ready: Callable[[Path], None],
    idle_elsewhere: IdleSeconds,
    note: Note,
    note_grant: NoteGrant = grants_into_log,
) -> None:
    """Take calls on the home's socket until nobody needs them any more, here or elsewhere."""
    granting = Granting(settings.home_path, note, note_grant)
    handle = _handler(settings, call, stopping, granting)
    listener, agents = Listener(handle), _agents(settings, handle)
    path = socket_path(settings.home_path, DAEMON_SOCKET)
    server = await listener.listen(path)
    try:
        async with server, agents.listening(socket_path(settings.home_path, MCP_SOCKET)):
            ready(path)
            idle = settings.daemon.idle_seconds
            await _stopped_or_idle(stopping, (listener, agents), idle_elsewhere, idle)
    finally:
        path.unlink(missing_ok=True)
        await listener.close()
        await granting.close()


def _agents(settings: Settings, handle: Handler) -> AgentListener:
    version = metadata.version("ifmem")

    def prepare() -> Speak:
        # The SDK takes half a second to import: only where agents connect, and beside the calls.
        from ifmem.mcp_server import streams
        from ifmem.mcp_server.limits import limits
        from ifmem.mcp_server.server import build_server

        around = (limits(settings.mcp),)
        server = build_server(InsideCalls(handle), version=version, middleware=around)
        return streams.speaker(server, limit=settings.mcp.max_request_bytes)

    return AgentListener(prepare, settings, version=version)


def _first(failures: BaseExceptionGroup[BaseException]) -> BaseException:
    first = failures.exceptions[0]
    return _first(first) if isinstance(first, BaseExceptionGroup) else first


@contextlib.asynccontextmanager
async def _spooled(settings: Settings, call: Handler) -> AsyncIterator[None]:
    """Take in what hooks wrote down while no daemon ran, now and then."""

    calls = InsideCalls(call)

    async def do(space: str, event: CaptureCall) -> None:
        await calls.call("capture", event, returns=Captured, space=space)

    async with asyncio.TaskGroup() as group:
        taking = group.create_task(take_in_now_and_then(settings.home_path, do))
        try:
            yield
        finally:
            taking.cancel()


@contextlib.asynccontextmanager
async def _service(
    settings: Settings, sentences: SentenceEncoder | None, tasks: asyncio.TaskGroup
) -> AsyncIterator[Service]:
    # Before anything is started: settings that contradict themselves start nothing.
    models = Models(settings, os.environ, directory=settings.home_path / "models")
    allowances_of(settings, settings.space)
    require_judge(settings)
    server = await connect(settings.redis, bus_directory(settings))
    service = Service(
        settings,
        server,
        worker_id=f"{network.gethostname()}-{os.getpid()}",
        version=metadata.version("ifmem"),
        tasks=tasks,
        models=models,
        sentences=sentences,
    )
    try:
        yield service
    finally:
        await service.close()


@contextlib.asynccontextmanager
async def _forwarder(settings: Settings, *, adopt: bool) -> AsyncIterator[Forwarder]:
    if not settings.redis.url:
        raise ConfigError(
            "a client needs the Redis of the space's owner: name it with --redis URL",
            setting="redis.url",
        )
    if adopt:
        raise Refused("a client has no store to adopt keys with: leave out --role or --adopt")
    server = await connect(settings.redis, bus_directory(settings))
    forwarder = Forwarder(settings, server, worker_id=f"{network.gethostname()}-{os.getpid()}")
    try:
        yield forwarder
    finally:
        await forwarder.close()


def _sentence_encoder(settings: Settings) -> SentenceEncoder | None:
    wanted = settings.retrieval.semantic == "auto" and is_installed()
    return SentenceEncoder() if wanted else None


def _handler(
    settings: Settings, call: Handler, stopping: asyncio.Event, granting: Granting
) -> Handler:
    async def handle(request: Request, emit: Emitter) -> Any:
        if request.method == "hello":
            return Hello(
                metadata.version("ifmem"),
                PROTOCOL,
                os.getpid(),
                without_password(settings.redis.url),
                settings.role,
            )
        if request.method == "stop":
            stopping.set()
            return {}
        if request.method in GRANT_METHODS:
            # Here and not among the verbs: those are done for callers on the bus as well.
            return await granting.call(request)
        return await call(request, emit)

    return handle


async def _stopped_or_idle(
    stopping: asyncio.Event,
    listeners: tuple[Listener, AgentListener],
    idle_elsewhere: IdleSeconds,
    idle: float,
) -> None:
    while not stopping.is_set():
        here = min(one.idle_seconds for one in listeners)
        if here >= idle and await idle_elsewhere() >= idle:
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(min(idle, _IDLE_LOOK_SECONDS)):
                await stopping.wait()


async def _for_ever() -> float:
    return math.inf
