"""Which part plays which role in a running daemon: the only place that puts them together."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket as network
from collections.abc import AsyncIterator, Callable
from importlib import metadata
from pathlib import Path
from typing import Any

from ifmem.bus.connection import connect
from ifmem.index.sentence_encoder import SentenceEncoder, is_installed
from ifmem.runtime.embedding import embed_all
from ifmem.runtime.keeping import keep
from ifmem.runtime.listening import Listener
from ifmem.runtime.service import Service, bus_directory
from ifmem.settings import Settings, without_password
from ifmem.sockets import DAEMON_SOCKET, socket_path
from ifmem.wire.calls import PROTOCOL, Request
from ifmem.wire.shapes import Hello

_IDLE_LOOK_SECONDS = 1.0


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
    sentences = _sentence_encoder(settings)
    async with _service(settings, sentences) as service:
        listener = Listener(_handler(service, stopping))
        path = socket_path(settings.home_path, DAEMON_SOCKET)
        # The default space is opened first: its keys are there from the start.
        await service.space(settings.space, adopt=adopt)
        server = await listener.listen(path)
        try:
            async with server, asyncio.TaskGroup() as group:
                background = [
                    group.create_task(
                        keep(
                            service.open_spaces,
                            service.reconnect,
                            interval=settings.worker.heartbeat_seconds,
                            woken=service.woken,
                        )
                    )
                ]
                if sentences is not None:
                    background.append(group.create_task(embed_all(service.open_spaces, sentences)))
                ready(path)
                await _stopped_or_idle(stopping, listener, settings.daemon.idle_seconds)
                for task in background:
                    task.cancel()
        finally:
            path.unlink(missing_ok=True)
            await listener.close()


@contextlib.asynccontextmanager
async def _service(settings: Settings, sentences: SentenceEncoder | None) -> AsyncIterator[Service]:
    server = await connect(settings.redis, bus_directory(settings))
    service = Service(
        settings,
        server,
        worker_id=f"{network.gethostname()}-{os.getpid()}",
        version=metadata.version("ifmem"),
        sentences=sentences,
    )
    try:
        yield service
    finally:
        await service.close()


def _sentence_encoder(settings: Settings) -> SentenceEncoder | None:
    wanted = settings.retrieval.semantic == "auto" and is_installed()
    return SentenceEncoder() if wanted else None


def _handler(service: Service, stopping: asyncio.Event) -> Callable[..., Any]:
    async def handle(request: Request, emit: Callable[[dict[str, Any]], None]) -> Any:
        if request.method == "hello":
            return Hello(
                metadata.version("ifmem"),
                PROTOCOL,
                os.getpid(),
                without_password(service.settings.redis.url),
            )
        if request.method == "stop":
            stopping.set()
            return {}
        return await service.call(request, emit)

    return handle


async def _stopped_or_idle(stopping: asyncio.Event, listener: Listener, idle: float) -> None:
    while not stopping.is_set() and listener.idle_seconds < idle:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(min(idle, _IDLE_LOOK_SECONDS)):
                await stopping.wait()
