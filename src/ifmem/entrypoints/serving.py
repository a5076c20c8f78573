"""The process of ``ifmem serve``: the server object over HTTP, and the daemon behind it."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from importlib import metadata

from ifmem.client.reconnecting import ReconnectingCalls
from ifmem.errors import ConfigError
from ifmem.settings import Settings
from ifmem.wire.shapes import Hello

INTERRUPTED = 130


async def serve(settings: Settings, *, port: int | None, ready: Callable[[str], None]) -> int:
    """Serve until SIGINT or SIGTERM; the exit code: 130 and 0.

    Args:
        port: instead of the one in the settings; 0 takes a free one.
        ready: called with the URL once requests are answered.

    Raises:
        ConfigError: the extra is not installed, or the port or a setting of JWTs cannot be used.
        Unavailable: the daemon cannot be reached or started.
    """
    try:
        from ifmem.mcp_server import http
        from ifmem.mcp_server.server import build_server
    except ImportError as error:
        raise ConfigError(
            "`ifmem serve` needs what the extra `mcp` brings: pip install 'ifmem[mcp]'"
        ) from error
    stopping, got = _signals()
    listener = http.listening(settings.serve.port if port is None else port)
    async with ReconnectingCalls(settings) as calls:
        with listener:
            await calls.call("hello", None, returns=Hello, space=settings.space)
            await http.serve(
                build_server(calls, version=metadata.version("ifmem")),
                calls,
                settings,
                listener,
                ready=lambda: ready(http.url_of(listener)),
                stopping=stopping,
            )
    return INTERRUPTED if signal.SIGINT in got else 0


def _signals() -> tuple[asyncio.Event, list[signal.Signals]]:
    """An event that a signal to end sets, and the signals that came."""
    stopping, got = asyncio.Event(), list[signal.Signals]()
    loop = asyncio.get_running_loop()

    def stop(which: signal.Signals) -> None:
        got.append(which)
        stopping.set()

    for which in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(which, stop, which)
    return stopping, got
