"""The agents that can be connected: where their files lie, and what stands in them.

Read in the agents themselves on 2026-11-23: Claude Code 2.1.330, Codex 0.169.0, Gemini CLI 0.61.0;
of Cursor and VS Code, in their documentation.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any


class ScopeOfFile(StrEnum):
    """Whose file: the person's, for every project, or the project's."""

    USER = "user"
    PROJECT = "project"


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What decides where files lie."""

    home: Path
    """The person's."""
    project: Path
    environment: Mapping[str, str]
    macos: bool = False

    def named(self, variable: str) -> Path | None:
        """The absolute directory that a variable names."""
        value = Path(self.environment.get(variable, ""))
        return value if value.is_absolute() else None


@dataclass(frozen=True, slots=True)
class HookPoint:
    """An event of an agent at which it starts our hook."""

    event: str
    matcher: str | None = None
    """Tools whose use it is for; None where the event is of no tool."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Client:
    """One kind of agent."""

    name: str
    title: str
    holder: str
    """The name under which its file keeps servers."""
    first: Mapping[str, Any] = field(default_factory=dict)
    """Of a new entry, before the command."""
    last: Mapping[str, Any] = field(default_factory=dict)
    """Of a new entry, after it: what makes its tools be there on the first turn."""
    toml: bool = False
    hooks: tuple[HookPoint, ...] = ()
    """Empty: it has none that ifmem knows."""
    hook_timeout: int = 0
    """In its own unit, about five seconds."""
    notes: Mapping[str, str] = field(default_factory=dict)
    """What a person still has to do, by the scope, or ``capture``."""


_CLAUDE_TOOLS = "Read|Edit|MultiEdit|Write|NotebookEdit|Grep|Glob|Bash|ExitPlanMode|TodoWrite"
_GEMINI_TOOLS = (
    "read_file|read_many_files|write_file|replace|grep_search|search_file_content|glob"
    "|run_shell_command|write_todos"
)

CLIENTS: Mapping[str, Client] = {
    client.name: client
    for client in (
        Client(
            name="claude",
            title="Claude Code",
            holder="mcpServers",
            first={"type": "stdio"},
            # Else its tools wait behind a search for tools.
            last={"alwaysLoad": True},
            hooks=(
                HookPoint("SessionStart"),
                HookPoint("PostToolUse", _CLAUDE_TOOLS),
                # A command that exits with an error, as failed tests do, is reported here alone.
                HookPoint("PostToolUseFailure", "Bash"),
                HookPoint("Stop"),
            ),
            hook_timeout=5,
            notes={"project": "Claude Code asks once whether to use a server of the project."},
        ),
        Client(
            name="codex",
            title="Codex",
            holder="mcp_servers",
            # Else its first turn does not wait for the tools.
            last={"required": True},
            toml=True,
            hooks=(
                HookPoint("SessionStart"),
                HookPoint("PostToolUse", "Bash|apply_patch"),
                HookPoint("Stop"),
            ),
            hook_timeout=5,
            notes={
                "project": "Codex reads a project's files once you trust the project.",
                "capture": "Codex runs hooks once you trust them: start codex and enter /hooks.",
            },
        ),
        Client(
            name="gemini",
            title="Gemini CLI",
            holder="mcpServers",
            hooks=(
                HookPoint("SessionStart"),
                HookPoint("AfterTool", _GEMINI_TOOLS),
                HookPoint("AfterAgent"),
            ),
            # In milliseconds.
            hook_timeout=5_000,
            notes={"project": "Gemini CLI reads a project's files once you trust the folder."},
        ),
        Client(
            name="cursor",
            title="Cursor",
            holder="mcpServers",
            notes={"project": "Cursor may ask you to enable the server in its settings."},
        ),
        Client(
            name="vscode",
            title="VS Code",
            holder="servers",
            first={"type": "stdio"},
            notes={"user": "VS Code asks once whether to trust the server."},
        ),
    )
}


def server_file(client: Client, scope: ScopeOfFile, around: Surroundings) -> Path:
    """The file in which the agent looks for servers."""
    own, name = _user_directory(client, around), _SERVER_FILES[client.name]
    if scope is ScopeOfFile.PROJECT:
        return around.project / name
    if client.name == "claude":
        directory = around.named("CLAUDE_CONFIG_DIR") or around.home
        return directory / ".claude.json"
    return own / Path(name).name


def hooks_file(client: Client, scope: ScopeOfFile, around: Surroundings) -> Path:
    """The file in which an agent that has hooks looks for them."""
    name = "hooks.json" if client.name == "codex" else "settings.json"
    if scope is ScopeOfFile.PROJECT:
        return around.project / f".{client.name}" / name
    return _user_directory(client, around) / name


_SERVER_FILES = {
    "claude": ".mcp.json",
    "codex": ".codex/config.toml",
    "gemini": ".gemini/settings.json",
    "cursor": ".cursor/mcp.json",
    "vscode": ".vscode/mcp.json",
}


def _user_directory(client: Client, around: Surroundings) -> Path:
    match client.name:
        case "claude":
            return around.named("CLAUDE_CONFIG_DIR") or around.home / ".claude"
        case "codex":
            return around.named("CODEX_HOME") or around.home / ".codex"
        case "gemini":
            return (around.named("GEMINI_CLI_HOME") or around.home) / ".gemini"
        case "vscode" if around.macos:
            return around.home / "Library/Application Support/Code/User"
        case "vscode":
            return (around.named("XDG_CONFIG_HOME") or around.home / ".config") / "Code/User"
        case _:
            return around.home / f".{client.name}"
