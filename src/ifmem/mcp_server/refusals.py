"""Errors of the memory as errors of the protocol, where a method has no result to carry them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from mcp import MCPError
from mcp_types import INTERNAL_ERROR, INVALID_PARAMS
from mcp_types.version import MODERN_PROTOCOL_VERSIONS

from ifmem.domain.grant import Scope
from ifmem.errors import IfMemError, Invalid, NotFound, NotPermitted, to_wire
from ifmem.mcp_server.port import Caller, Calls, current_caller
from ifmem.wire.agent_calls import RefusalCall

RESOURCE_NOT_FOUND = -32002
"""Until 2025-11-25; since 2026-07-28 the code for wrong parameters says it."""
NOT_PERMITTED = -32003
"""Of those that the protocol leaves to a server."""


async def reader(calls: Calls, action: str) -> Caller:
    """Who calls, when they may read; a refusal is noted in the audit.

    Args:
        action: the method, as the audit shall name it.

    Raises:
        NotPermitted: nobody was authenticated, or their token does not let them read.
    """
    caller = current_caller()
    if Scope.READ in caller.scopes:
        return caller
    refusal = RefusalCall(
        actor=caller.agent, action=action, reason=f"scope {Scope.READ} is missing"
    )
    # An audit that cannot be written must not hide the refusal that it is about.
    with contextlib.suppress(IfMemError):
        await calls.call("refusal", refusal, returns=dict[str, Any], space=caller.space)
    raise NotPermitted(
        f"`{action}` needs the scope `{Scope.READ}`, which {caller.agent} was not given: ask the "
        "user for a token with it",
        scope=str(Scope.READ),
    )


@contextlib.contextmanager
def told_by_protocol(*, missing: int = INVALID_PARAMS) -> Iterator[None]:
    """Whatever the memory raises is raised as the protocol's error.

    Args:
        missing: the code that says that nothing has the name that was given.
    """
    try:
        yield
    except IfMemError as error:
        raise MCPError(_code(error, missing), error.message, to_wire(error)) from error


def no_resource(version: str) -> int:
    """The code of a resource that is not there, by the version that the connection speaks."""
    return INVALID_PARAMS if version in MODERN_PROTOCOL_VERSIONS else RESOURCE_NOT_FOUND


def _code(error: IfMemError, missing: int) -> int:
    match error:
        case NotFound():
            return missing
        case Invalid():
            return INVALID_PARAMS
        case NotPermitted():
            return NOT_PERMITTED
        case _:
            return INTERNAL_ERROR
