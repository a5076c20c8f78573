"""A process that serves our server object with the suite's fixtures on it, without tokens.

``python fixture_server.py HOME PORT``: the daemon of the home must be running or be startable. It
says ``ready`` once it listens, and ends with its standard input.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import uvicorn
from fixture_features import register_fixtures
from mcp.server.transport_security import TransportSecuritySettings

from ifmem.client.reconnecting import ReconnectingCalls
from ifmem.mcp_server.port import Caller, caller_of_connection
from ifmem.mcp_server.server import build_server
from ifmem.settings import Settings
from ifmem.wire.calls import StatusCall
from ifmem.wire.shapes import Status

CALLER = Caller(agent="suite", space="default", connection="suite")


async def serve(home: Path, port: int) -> None:
    """Serve until nobody holds our standard input any more."""
    async with ReconnectingCalls(Settings(home=str(home))) as calls:
        await calls.call("status", StatusCall(), returns=Status, space=CALLER.space)
        server = build_server(calls, version=metadata.version("ifmem"))
        register_fixtures(server)
        hosts = [f"127.0.0.1:{port}", f"localhost:{port}", f"[::1]:{port}"]
        app = server.streamable_http_app(
            transport_security=TransportSecuritySettings(
                allowed_hosts=hosts, allowed_origins=[f"http://{host}" for host in hosts]
            )
        )
        running = uvicorn.Server(
            uvicorn.Config(_as_caller(app), port=port, log_level="warning", lifespan="on")
        )
        async with asyncio.TaskGroup() as group:
            group.create_task(running.serve())
            while not running.started:  # noqa: ASYNC110 - uvicorn tells by a flag only
                await asyncio.sleep(0.01)
            sys.stdout.write("ready\n")
            sys.stdout.flush()
            await asyncio.to_thread(sys.stdin.read)
            running.should_exit = True


def _as_caller(app: Any) -> Callable[..., Awaitable[None]]:
    """The application for one caller who needs no token: what is tested is the protocol."""

    async def application(scope: Any, receive: Any, send: Any) -> None:
        caller_of_connection.set(CALLER)
        await app(scope, receive, send)

    return application


if __name__ == "__main__":
    asyncio.run(serve(Path(sys.argv[1]), int(sys.argv[2])))
