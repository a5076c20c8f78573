"""The tools: what clients are shown of each, and how a call of one is answered."""

from __future__ import annotations

from typing import Any

import msgspec
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel import Server
from mcp.shared.exceptions import MCPError
from mcp_types import (
    INVALID_PARAMS,
    CallToolRequestParams,
    CallToolResult,
    ListToolsResult,
    PaginatedRequestParams,
    TextContent,
    Tool,
    ToolAnnotations,
)

from ifmem.errors import IfMemError, NotPermitted
from ifmem.mcp_server.arguments import decoded
from ifmem.mcp_server.failures import failed
from ifmem.mcp_server.fitting import fit
from ifmem.mcp_server.invocation import Invocation
from ifmem.mcp_server.port import Caller, Calls, current_caller
from ifmem.mcp_server.progress import reporting
from ifmem.mcp_server.schemas import schema_of_arguments, schema_of_results
from ifmem.mcp_server.tool_table import TOOLS, MemoryTool

Context = ServerRequestContext[Any, Any]


def register(server: Server[Any], calls: Calls) -> None:
    """Have a server list the tools and answer their calls."""
    listed = ListToolsResult(tools=[_shown(tool) for tool in TOOLS.values()])

    async def list_tools(_: Context, __: PaginatedRequestParams) -> ListToolsResult:
        return listed

    async def call_tool(context: Context, params: CallToolRequestParams) -> CallToolResult:
        tool = TOOLS.get(params.name)
        if tool is None:
            raise MCPError(INVALID_PARAMS, f"Unknown tool: {params.name[:100]!r}")
        try:
            return await _answered(tool, calls, context, params.arguments or {})
        except IfMemError as error:
            return failed(error)

    server.add_request_handler("tools/list", PaginatedRequestParams, list_tools)
    server.add_request_handler("tools/call", CallToolRequestParams, call_tool)


async def _answered(
    tool: MemoryTool, calls: Calls, context: Context, arguments: dict[str, Any]
) -> CallToolResult:
    caller = current_caller()
    if tool.scope not in caller.scopes:
        raise _refused(tool, caller)
    given = decoded(tool.arguments, arguments)
    async with reporting(context.session.report_progress) as report:
        fitting = await tool.run(Invocation(calls, caller, report), given)
    fitted = await fit(fitting)
    return CallToolResult(
        content=[TextContent(text=fitted.text)],
        structured_content=msgspec.to_builtins(fitted.reply),
    )


def _refused(tool: MemoryTool, caller: Caller) -> NotPermitted:
    return NotPermitted(
        f"`{tool.name}` needs the scope `{tool.scope}`, which {caller.agent} was not given: ask "
        "the user for a token with it",
        scope=str(tool.scope),
        tool=tool.name,
    )


def _shown(tool: MemoryTool) -> Tool:
    return Tool(
        name=tool.name,
        title=tool.title,
        description=tool.description,
        input_schema=schema_of_arguments(tool.arguments),
        output_schema=schema_of_results(*tool.replies),
        annotations=ToolAnnotations(
            title=tool.title,
            read_only_hint=tool.reads_only,
            destructive_hint=tool.destroys,
            idempotent_hint=tool.repeatable,
            open_world_hint=tool.reaches_out,
        ),
        # Claude Code shows only these at once, and finds the others by a search.
        _meta={"anthropic/alwaysLoad": True} if tool.always_loaded else None,
    )
