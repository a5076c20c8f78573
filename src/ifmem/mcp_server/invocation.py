"""One call of a tool: who makes it, and the memory it is made of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import msgspec

from ifmem.mcp_server.port import Caller, Calls, OnEvent, Result

Report = Callable[[float, float, str], None]
"""Told how far it has come: done, in all, and what was done last."""


@dataclass(frozen=True, slots=True)
class Invocation:
    """What a tool has of the world."""

    calls: Calls
    caller: Caller
    report: Report

    async def call(
        self,
        method: str,
        params: msgspec.Struct | None,
        returns: type[Result],
        *,
        on_event: OnEvent | None = None,
    ) -> Result:
        """One call of the daemon in the caller's space; errors as ``Calls.call``."""
        return await self.calls.call(
            method, params, returns=returns, space=self.caller.space, on_event=on_event
        )
