"""The server object: every handler of the protocol, over a memory's verbs."""

from __future__ import annotations

from typing import Any

from mcp.server.lowlevel import Server

from ifmem.mcp_server.port import Calls

NAME = "ifmem"


def build_server(calls: Calls, *, version: str) -> Server[Any]:
    """A server that answers every connection of both eras; who calls is ``current_caller()``.

    Args:
        calls: the memory.
        version: of ifmem, as told to clients.
    """
    return Server(NAME, version=version)
