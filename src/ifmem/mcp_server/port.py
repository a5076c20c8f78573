"""What the MCP server needs of a memory, and who calls it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import msgspec

from ifmem.domain.finding import Trust
from ifmem.domain.grant import EVERY_SCOPE, Scope
from ifmem.errors import NotPermitted

Result = TypeVar("Result")
OnEvent = Callable[[Mapping[str, Any]], None]


class Calls(Protocol):
    """The daemon's verbs: called in the daemon itself, or over its socket.

    Guarantees:
        cancelling a call ends what is done for it, as far as it is not committed;
        a call whose answer was lost raises ``OutcomeUnknown`` when it writes.
    """

    async def call(
        self,
        method: str,
        params: msgspec.Struct | None,
        *,
        returns: type[Result],
        space: str,
        on_event: OnEvent | None = None,
    ) -> Result:
        """The result of one call of ``wire/calls.py``.

        Args:
            on_event: is given each event before the result, on the loop; it must not block.

        Raises:
            IfMemError: the one the verb ended with.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Who calls over MCP, and what they are bound to."""

    agent: str
    """The author of its findings and the holder of its tasks."""
    space: str
    root: str | None = None
    """The project that searches are restricted to unless told otherwise; None: the whole space."""
    directory: str | None = None
    """What relative paths are relative to; None: relative paths are not permitted."""
    roots: tuple[str, ...] = ()
    """Directories whose files it may load and cite."""
    scopes: frozenset[Scope] = EVERY_SCOPE
    trust: Trust = Trust.AGENT
    sees_captured: bool = False
    """Searches look into the space's local space too."""
    connection: str = ""
    """What its limits are counted by: the token's name, or the shim's connection."""


caller_of_connection: ContextVar[Caller] = ContextVar("caller_of_connection")
"""Set for all that one connection does, or one HTTP request."""


def current_caller() -> Caller:
    """Who made the request that is being served.

    Raises:
        NotPermitted: nobody was authenticated.
    """
    caller = caller_of_connection.get(None)
    if caller is None:
        raise NotPermitted("nobody is authenticated here: send a bearer token")
    return caller
