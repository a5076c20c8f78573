"""The limits of each caller, around every message of the protocol, after it is known who calls."""

from __future__ import annotations

import math
from typing import Any

from mcp.server.context import CallNext, HandlerResult, ServerMiddleware, ServerRequestContext
from mcp.shared.exceptions import MCPError

from ifmem import clock
from ifmem.engine.rate_limits import Callers, Denied, Limit
from ifmem.mcp_server.port import current_caller
from ifmem.settings import McpSettings

TOO_MUCH = -32_009
"""The JSON-RPC code of a refused call; implementations may use -32000 to -32019 as they like."""
_LISTEN = "subscriptions/listen"


def limits(settings: McpSettings) -> ServerMiddleware[Any]:
    """Refuses what a caller asks beyond its limits; put it after what says who calls.

    A refused call is a JSON-RPC error whose data is ``{"retry_after_seconds"}``. Nothing of one
    caller's use counts for another. Notifications are not calls; a stream that is listened to is
    counted apart from the calls, since it has no end.
    """
    callers = Callers(
        Limit(calls_per_minute=settings.calls_per_minute, at_once=settings.concurrent_calls)
    )

    async def limited(ctx: ServerRequestContext[Any, Any], call_next: CallNext) -> HandlerResult:
        if ctx.request_id is None:
            return await call_next(ctx)
        caller = current_caller().connection
        listens = ctx.method == _LISTEN
        begin, end = (
            (callers.begin_stream, callers.end_stream)
            if listens
            else (callers.begin_call, callers.end_call)
        )
        denied = begin(caller, clock.monotonic())
        if denied is not None:
            raise _refused(denied)
        try:
            return await call_next(ctx)
        finally:
            end(caller)

    return limited


def _refused(denied: Denied) -> MCPError:
    seconds = math.ceil(denied.retry_after_seconds * 1000) / 1000
    return MCPError(
        TOO_MUCH,
        f"too much at once: {denied.reason}; try again in {seconds:g} s",
        {"retry_after_seconds": seconds},
    )
