"""The server object: every handler of the protocol, over a memory's verbs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mcp.server.caching import CacheHint
from mcp.server.context import ServerMiddleware
from mcp.server.lowlevel import Server

from ifmem.mcp_server import completions, prompts, resources, subscriptions, tools
from ifmem.mcp_server.instructions import INSTRUCTIONS
from ifmem.mcp_server.port import Calls

NAME = "ifmem"
TITLE = "ifmem memory"
DESCRIPTION = "A shared memory for agents: recall, ask, remember, and share tasks."
_FIXED = CacheHint(ttl_ms=3_600_000, scope="public")
"""The same for every caller until another version runs."""
_OF_A_SPACE = CacheHint(ttl_ms=0, scope="private")
"""May change with every call, and is for this caller alone."""


def build_server(
    calls: Calls, *, version: str, middleware: Sequence[ServerMiddleware[Any]] = ()
) -> Server[Any]:
    """A server that answers every connection of both eras; who calls is ``current_caller()``.

    Args:
        calls: the memory.
        version: of ifmem, as told to clients.
        middleware: around every request, the outermost first.
    """
    server: Server[Any] = Server(
        NAME,
        version=version,
        title=TITLE,
        description=DESCRIPTION,
        instructions=INSTRUCTIONS,
        cache_hints={
            "server/discover": _FIXED,
            "tools/list": _FIXED,
            "prompts/list": _FIXED,
            "resources/templates/list": _FIXED,
            "resources/list": _OF_A_SPACE,
            "resources/read": _OF_A_SPACE,
        },
    )
    for part in (tools, resources, prompts, completions, subscriptions):
        part.register(server, calls)
    server.middleware.extend(middleware)
    return server
