"""Completions for whoever types an argument of a prompt or a part of a resource's name."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Any

import mcp_types as types
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel import Server

from ifmem.errors import Invalid
from ifmem.mcp_server import uris
from ifmem.mcp_server.port import Caller, Calls
from ifmem.mcp_server.prompts import BRIEF, HANDOFF, PROMPTS, open_tasks
from ifmem.mcp_server.refusals import reader, told_by_protocol
from ifmem.wire.agent_calls import FindingNames, FindingNamesCall
from ifmem.wire.shapes import Page, ShardShape

Context = ServerRequestContext[Any, Any]

MOST_VALUES = 100
"""As the protocol has it."""
_TOKENS = ("500", "1000", "2000", "5000", "10000")


def register(server: Server[Any], calls: Calls) -> None:
    """Let the server complete arguments."""
    server.add_request_handler(
        "completion/complete", types.CompleteRequestParams, partial(_complete, calls)
    )


async def _complete(
    calls: Calls, context: Context, params: types.CompleteRequestParams
) -> types.CompleteResult:
    with told_by_protocol():
        caller = await reader(calls, "completion/complete")
        completing = _known(params.ref), params.argument.name
        found = await _completion(calls, caller, completing, params.argument.value[:200])
    return types.CompleteResult(completion=found)


async def _completion(
    calls: Calls, caller: Caller, completing: tuple[str, str], begun: str
) -> types.Completion:
    match completing:
        case (uris.FINDING_TEMPLATE, "id"):
            return await _names(calls, caller, "id", begun)
        case (_, "topic") if completing[0] == BRIEF:
            return await _names(calls, caller, "topic", begun)
        case (_, "max_tokens") if completing[0] == BRIEF:
            return _beginning(_TOKENS, begun)
        case (_, "task") if completing[0] == HANDOFF:
            tasks = await open_tasks(calls, caller)
            return _beginning((one.task_id for one in tasks), begun)
        case (uris.SHARD_TEMPLATE, "n"):
            page = await calls.call("shards", None, returns=Page[ShardShape], space=caller.space)
            return _beginning((str(n) for n in sorted(one.shard for one in page)), begun)
        case _:
            return types.Completion(values=[], total=0, has_more=False)


async def _names(calls: Calls, caller: Caller, kind: str, begun: str) -> types.Completion:
    call = FindingNamesCall(kind=kind, prefix=begun, limit=MOST_VALUES)
    found = await calls.call("finding_names", call, returns=FindingNames, space=caller.space)
    return types.Completion(values=found.names, has_more=found.more)


def _beginning(values: Iterable[str], begun: str) -> types.Completion:
    found = [one for one in values if one.startswith(begun)]
    return types.Completion(
        values=found[:MOST_VALUES], total=len(found), has_more=len(found) > MOST_VALUES
    )


def _known(reference: types.ResourceTemplateReference | types.PromptReference) -> str:
    """What is completed: a prompt's name, or a template of resources.

    Raises:
        Invalid: there is no such prompt or template.
    """
    match reference:
        case types.PromptReference(name=name) if name in PROMPTS:
            return name
        case types.ResourceTemplateReference(uri=uri) if uri in _TEMPLATES:
            return uri
        case types.PromptReference(name=name):
            raise Invalid(f"there is no prompt {name[:60]!r}: it is {' or '.join(PROMPTS)}")
        case _:
            raise Invalid(f"there is no template {reference.uri[:100]!r}: list the templates")


_TEMPLATES = (uris.FINDINGS_PAGE_TEMPLATE, uris.FINDING_TEMPLATE, uris.SHARD_TEMPLATE)
