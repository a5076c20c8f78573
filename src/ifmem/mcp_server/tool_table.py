"""The tools of the contract: names, words, scopes and hints, in the order clients list them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ifmem.domain.grant import Scope
from ifmem.mcp_server import arguments, memory_tools, replies, task_tools
from ifmem.mcp_server.fitting import Fitting
from ifmem.mcp_server.invocation import Invocation

Run = Callable[[Invocation, Any], Awaitable[Fitting]]


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryTool:
    """One tool, as clients see it and as it is run."""

    name: str
    title: str
    description: str
    scope: Scope
    """What its caller must have been given."""
    arguments: type[arguments.Arguments]
    replies: tuple[type[replies.Reply], ...]
    """What it returns; the fullest first."""
    run: Run
    reads_only: bool = False
    destroys: bool = False
    repeatable: bool = False
    """The same call again changes nothing more."""
    reaches_out: bool = False
    """It may call others outside: providers of models."""
    always_loaded: bool = False
    """In the first turn's context, where a client would otherwise have it searched for."""


_TOOLS = (
    MemoryTool(
        name="recall",
        title="Recall",
        description="The best passages of loaded files and the best findings for a query, packed "
        "under a token budget. Fast, no model is called. Use it before searching or reading files.",
        scope=Scope.READ,
        arguments=arguments.RecallArguments,
        replies=(replies.RecallReply,),
        run=memory_tools.recall,
        reads_only=True,
        repeatable=True,
        always_loaded=True,
    ),
    MemoryTool(
        name="ask",
        title="Ask",
        description="An answer from the whole memory with quotes that code found in their "
        "sources, or `found: false`. May call language models within the user's spending limit.",
        scope=Scope.READ,
        arguments=arguments.AskArguments,
        replies=(replies.AskReply,),
        run=memory_tools.ask,
        reads_only=True,
        repeatable=True,
        reaches_out=True,
        always_loaded=True,
    ),
    MemoryTool(
        name="remember",
        title="Remember",
        description="Store a finding for every agent, with what supports it. It is durable, and "
        "found by the next `recall`, when this returns.",
        scope=Scope.WRITE,
        arguments=arguments.RememberArguments,
        replies=(replies.RememberReply,),
        run=memory_tools.remember,
        always_loaded=True,
    ),
    MemoryTool(
        name="load",
        title="Load",
        description="Read files and folders into the memory, or store a text under a source. "
        "Unchanged files are not read again; documents whose file is gone are removed.",
        scope=Scope.WRITE,
        arguments=arguments.LoadArguments,
        replies=(replies.LoadReply,),
        run=memory_tools.load,
        repeatable=True,
    ),
    MemoryTool(
        name="changes",
        title="Changes",
        description="Findings since a cursor, oldest first, each exactly in its order. Give the "
        "`cursor` of the reply to the next call, and none is missed; `0` is the beginning.",
        scope=Scope.READ,
        arguments=arguments.ChangesArguments,
        replies=(replies.ChangesReply,),
        run=memory_tools.changes,
        reads_only=True,
        repeatable=True,
    ),
    MemoryTool(
        name="task_post",
        title="Post a task",
        description="Post work for any agent. With an `idempotency_key` it is posted once.",
        scope=Scope.WRITE,
        arguments=arguments.TaskPostArguments,
        replies=(replies.TaskReply,),
        run=task_tools.post,
    ),
    MemoryTool(
        name="task_claim",
        title="Claim a task",
        description="Take the first task that is ready, under a lease; `claimed: false` when "
        "there is none. Its `fence` is needed to renew, release or finish it.",
        scope=Scope.WRITE,
        arguments=arguments.TaskClaimArguments,
        replies=(replies.ClaimedReply, replies.NoTaskReply),
        run=task_tools.claim,
    ),
    MemoryTool(
        name="task_renew",
        title="Renew a lease",
        description="Keep a task that you hold: its lease then ends so many seconds from now.",
        scope=Scope.WRITE,
        arguments=arguments.TaskRenewArguments,
        replies=(replies.TaskReply,),
        run=task_tools.renew,
        repeatable=True,
    ),
    MemoryTool(
        name="task_release",
        title="Release a task",
        description="Give a task that you hold back unchanged, or with `assist` ask for help.",
        scope=Scope.WRITE,
        arguments=arguments.TaskReleaseArguments,
        replies=(replies.TaskReply,),
        run=task_tools.release,
        repeatable=True,
    ),
    MemoryTool(
        name="task_cancel",
        title="Cancel a task",
        description="End an open task without a result, whoever holds it.",
        scope=Scope.WRITE,
        arguments=arguments.TaskCancelArguments,
        replies=(replies.TaskReply,),
        run=task_tools.cancel,
        destroys=True,
        repeatable=True,
    ),
    MemoryTool(
        name="task_finish",
        title="Finish a task",
        description="Finish a task that you hold. A `claim` says what was found and becomes a "
        "finding in the same step; `failed` gives it to the next until its attempts are used up.",
        scope=Scope.WRITE,
        arguments=arguments.TaskFinishArguments,
        replies=(replies.TaskReply,),
        run=task_tools.finish,
        repeatable=True,
    ),
    MemoryTool(
        name="forget",
        title="Forget",
        description="Remove a finding, a passage or a document, so that nothing returns it.",
        scope=Scope.ADMIN,
        arguments=arguments.ForgetArguments,
        replies=(replies.ForgetReply,),
        run=memory_tools.forget,
        destroys=True,
        repeatable=True,
    ),
    MemoryTool(
        name="status",
        title="Status",
        description="The memory at a glance: shards, workers, tasks, findings, health.",
        scope=Scope.READ,
        arguments=arguments.StatusArguments,
        replies=(replies.StatusReply,),
        run=memory_tools.status,
        reads_only=True,
        repeatable=True,
    ),
)
TOOLS: Mapping[str, MemoryTool] = {tool.name: tool for tool in _TOOLS}
