"""The verbs for callers inside the daemon: as over its socket, without one."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import msgspec

from ifmem.errors import Failed, IfMemError, Invalid
from ifmem.runtime.listening import Emitter, Handler
from ifmem.wire.calls import Nothing, Request

log = logging.getLogger(__name__)

Result = TypeVar("Result")
OnEvent = Callable[[Mapping[str, Any]], None]


class InsideCalls:
    """The ``Calls`` of ``mcp_server.port``, answered by the daemon's own handler.

    Cancelling a call is what a caller that hangs up does to it.
    """

    def __init__(self, handle: Handler) -> None:
        self._handle = handle

    async def call(
        self,
        method: str,
        params: msgspec.Struct | None,
        *,
        returns: type[Result],
        space: str,
        on_event: OnEvent | None = None,
    ) -> Result:
        """The result of one call; errors as ``mcp_server.port.Calls`` says."""
        events = _Events(on_event)
        try:
            raw = msgspec.Raw(msgspec.json.encode(params or Nothing()))
            result = await self._handle(Request(0, method, space, raw), events)
            return _as(result, returns)
        except UnicodeEncodeError as error:
            raise Invalid("a name or text is not UTF-8: send it without such characters") from error
        except IfMemError:
            raise
        except Exception as error:
            log.exception("%s failed", method)
            told = f"ifmem itself failed ({type(error).__name__}: {error}); see its log"
            raise Failed(told) from error
        finally:
            events.end()


class _Events(Emitter):
    """Gives events to a function instead of a connection."""

    def __init__(self, on_event: OnEvent | None) -> None:
        self.call = 0
        self._on_event = on_event

    def __call__(self, event: dict[str, Any]) -> None:
        if self._on_event is not None:
            self._on_event(event)

    async def drained(self) -> None:
        # What was given has been taken; whoever took it gets a turn before more is sent.
        await asyncio.sleep(0)

    def end(self) -> None:
        """No more: progress that threads have still to tell comes after the result."""
        self._on_event = None


def _as(result: object, returns: type[Result]) -> Result:
    # A list's items, or a dictionary's values, may be of shapes that only the wire makes alike.
    whole = isinstance(returns, type) and issubclass(returns, msgspec.Struct)
    if whole and isinstance(result, returns):
        return result
    return msgspec.json.decode(msgspec.json.encode(result), type=returns)
