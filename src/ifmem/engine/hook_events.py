"""From an agent's hook event to what the agent did, in words that no agent owns.

Claude Code, Codex and Gemini CLI hand their hooks nearly the same object; where names differ, each
is tried. An event that is not understood, or lacks what is needed, is ``Nothing``: never an error.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ifmem.engine.shell_commands import Purpose, ShellCommand, understand


@dataclass(frozen=True, slots=True)
class Read:
    """It read these files."""

    paths: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Wrote:
    """It wrote, edited, moved or deleted these files."""

    paths: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Searched:
    """It searched the project."""

    query: str
    hits: str
    named: tuple[str, ...] = ()
    """Where it searched: paths, perhaps."""


@dataclass(frozen=True, slots=True)
class RanTests:
    command: str
    output: str
    named: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class AskedGit:
    command: str
    output: str
    named: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Decided:
    """It ended a turn, or made a plan; a plan replaces the session's plan before."""

    text: str
    session: str
    plan: bool = False


@dataclass(frozen=True, slots=True)
class Nothing:
    """Nothing to keep."""

    reason: str


Deed = Read | Wrote | Searched | RanTests | AskedGit | Decided | Nothing

SHORTEST_DECISION = 40
"""Characters; less (`Done.`) decides nothing that somebody would look for."""
OUR_SERVERS = ("ifmem", "memory")
"""Names under which agents have ifmem as an MCP server; with anything after a ``-`` or ``_``."""

_AFTER_TOOL = frozenset({"PostToolUse", "AfterTool", "PostToolUseFailure"})
_END_OF_TURN = frozenset({"Stop", "SubagentStop", "AfterAgent", "agent-turn-complete"})
_READS = frozenset({"read", "notebookread", "read_file", "read_many_files", "view_image"})
_WRITES = frozenset(
    {"write", "edit", "multiedit", "notebookedit", "write_file", "replace", "create_file"}
)
_SEARCHES = frozenset({"grep", "glob", "grep_search", "search_file_content", "grep_files"})
_SHELLS = frozenset(
    {"bash", "shell", "local_shell", "shell_command", "exec_command", "unified_exec"}
    | {"run_shell_command", "container.exec"}
)
_PLANS = frozenset({"exitplanmode", "exit_plan_mode", "todowrite", "write_todos", "update_plan"})
_PATHS = ("file_path", "absolute_path", "notebook_path", "path", "filePath")
_MANY_PATHS = ("paths", "include", "file_paths")
_PATCHED = re.compile(r"^\*\*\* (?:(?:Add|Update|Delete) File|Move to): (.+)$", re.MULTILINE)
_OWN_TOOL = re.compile(rf"mcp_{{1,2}}(?:{'|'.join(OUR_SERVERS)})(?:[-_].*|$)", re.IGNORECASE)


def directory_of(event: Mapping[str, Any]) -> str:
    """Where the agent stood; empty when it did not say."""
    tool_input = event.get("tool_input")
    inner = tool_input.get("workdir") if isinstance(tool_input, Mapping) else None
    return _string(inner) or _string(event.get("cwd"))


def deed_of(event: Mapping[str, Any]) -> Deed:
    """What the agent did, by its hook's event."""
    name = _string(event.get("hook_event_name")) or _string(event.get("type"))
    if name in _END_OF_TURN:
        return _turn(event)
    if name not in _AFTER_TOOL:
        return Nothing(f"nothing is kept of {name or 'an event without a name'}")
    tool = _string(event.get("tool_name"))
    if is_own_tool(tool):
        return Nothing("what comes out of ifmem is not put into it")
    given = event.get("tool_input")
    values: Mapping[str, Any] = given if isinstance(given, Mapping) else {}
    said = text_of(_response(event))
    return _of_tool(tool.lower(), values, said, given, _session(event))


def is_own_tool(tool: str) -> bool:
    """Whether a tool is one of ifmem's, as agents name the tools of their servers."""
    return _OWN_TOOL.match(tool) is not None


def text_of(response: object) -> str:
    """What a tool answered, as text, whatever shape its agent gives it."""
    match response:
        case str():
            return response
        case Mapping():
            return _text_of_fields(response)
        case Sequence():
            return "\n".join(filter(None, map(text_of, response)))
        case _:
            return ""


def _of_tool(tool: str, values: Mapping[str, Any], said: str, given: object, session: str) -> Deed:
    if tool in _READS:
        return Read(paths) if (paths := _paths(values)) else Nothing("it names no file")
    if tool in _WRITES:
        return Wrote(paths) if (paths := _paths(values)) else Nothing("it names no file")
    if tool == "apply_patch":
        return _patched(values, given)
    if tool in _SEARCHES:
        return _searched(values, said)
    if tool in _SHELLS:
        return _ran(_command(values, given), said)
    if tool in _PLANS:
        return _planned(values, session)
    return Nothing(f"the tool {tool[:60] or '-'} is not captured")


def _turn(event: Mapping[str, Any]) -> Deed:
    said = next(
        filter(None, map(_string, _values(event, _LAST_WORDS))),
        "",
    ).strip()
    if len(said) < SHORTEST_DECISION:
        return Nothing("the turn ended without words worth keeping")
    asked = _string(event.get("prompt")).strip()
    return Decided(f"Asked: {asked}\n\n{said}" if asked else said, _session(event))


_LAST_WORDS = ("last_assistant_message", "last-assistant-message", "prompt_response")


def _planned(values: Mapping[str, Any], session: str) -> Deed:
    plan = values.get("plan") or values.get("todos") or values.get("steps")
    text = plan if isinstance(plan, str) else "\n".join(_steps(plan))
    if len(text.strip()) < SHORTEST_DECISION:
        return Nothing("the plan is too short to keep")
    return Decided(text.strip(), session, plan=True)


def _steps(plan: object) -> Iterable[str]:
    for step in plan if isinstance(plan, Sequence) else ():
        if isinstance(step, Mapping):
            said = next(filter(None, map(_string, _values(step, _STEP))), "")
            state = _string(step.get("status"))
            if said:
                yield f"- [{state or 'pending'}] {said}"
        elif isinstance(step, str):
            yield f"- {step}"


_STEP = ("content", "step", "description", "title", "text")


def _patched(values: Mapping[str, Any], given: object) -> Deed:
    patch = next(filter(None, map(_string, _values(values, ("command", "input", "patch")))), "")
    if isinstance(given, str):
        patch = given
    elif not patch:
        patch = _command(values, given)
    paths = tuple(dict.fromkeys(path.strip() for path in _PATCHED.findall(patch)))
    return Wrote(paths) if paths else Nothing("it names no file")


def _searched(values: Mapping[str, Any], hits: str) -> Deed:
    query = _string(values.get("pattern")) or _string(values.get("query"))
    if not query:
        return Nothing("it names no query")
    where = [_string(values.get(name)) for name in ("path", "dir_path", "directory")]
    only = [_string(values.get(name)) for name in ("glob", "include", "type", "include_pattern")]
    words = " ".join(filter(None, (query, *where, *only)))
    return Searched(words, hits, tuple(filter(None, where)))


def _ran(command: str, output: str) -> Deed:
    if not command:
        return Nothing("it names no command")
    output = _plain(output)
    if "*** Begin Patch" in command:
        return _patched({"command": command}, None)
    line = understand(command)
    match line.purpose:
        case Purpose.OWN:
            return Nothing("what comes out of ifmem is not put into it")
        case Purpose.TESTS:
            return RanTests(command, output, _named(line))
        case Purpose.GIT:
            return AskedGit(command, output, _named(line))
        case Purpose.SEARCH:
            return Searched(command, output, _named(line))
        case Purpose.READ if line.reads:
            return Read(tuple(_below(line.directory, path) for path in line.reads))
        case _:
            return Nothing("the command is none that is captured")


def _plain(output: str) -> str:
    """What a command printed, without the words that Gemini CLI puts around it."""
    if "Output: " not in output:
        return output
    unwrapped = _WRAPPING.sub("", output)
    return _OUTPUT.sub("", unwrapped, count=1).strip("\n")


_WRAPPING = re.compile(
    r"^(?:</?untrusted_context>|Process Group PGID: \d+|Error: \(none\)|Signal: \(none\)"
    r"|Command: .*|Directory: .*|(?:Background PIDs|Exit Code): (?:\(none\)|0))$\n?",
    re.MULTILINE,
)
_OUTPUT = re.compile(r"^Output: ", re.MULTILINE)


def _named(line: ShellCommand) -> tuple[str, ...]:
    return tuple(_below(line.directory, name) for name in line.operands)


def _below(directory: str | None, path: str) -> str:
    """A path as it reads after a ``cd``; the ``cd``'s own word stays as it is."""
    if directory is None or path == directory or path.startswith(("/", "~")):
        return path
    return f"{directory.rstrip('/') or '/'}/{path}"


def _command(values: Mapping[str, Any], given: object) -> str:
    command = values.get("command") or values.get("cmd") or values.get("script") or given
    if isinstance(command, str):
        return command
    if not isinstance(command, Sequence) or not command:
        return ""
    words = [str(word) for word in command]
    if len(words) > 2 and words[1].startswith("-") and "c" in words[1]:
        return words[2]
    return " ".join(words)


def _paths(values: Mapping[str, Any]) -> tuple[str, ...]:
    found = [_string(values.get(name)) for name in _PATHS]
    for name in _MANY_PATHS:
        many = values.get(name)
        found += map(_string, many) if isinstance(many, (list, tuple)) else []
    # A pattern names no file: what it led to is not told.
    return tuple(dict.fromkeys(one for one in found if one and not set("*?[") & set(one)))


def _response(event: Mapping[str, Any]) -> object:
    names = ("tool_response", "tool_output", "tool_result", "error")
    return next((event[name] for name in names if event.get(name) is not None), None)


def _text_of_fields(response: Mapping[str, Any]) -> str:
    streams = [text_of(response.get(name)) for name in ("stdout", "stderr")]
    if any(streams):
        return "\n".join(filter(None, streams))
    for name in ("output", "aggregated_output", "llmContent", "content", "text", "filenames"):
        if said := text_of(response.get(name)):
            return said
    for name in ("result", "returnDisplay", "error", "message"):
        if said := text_of(response.get(name)):
            return said
    return ""


def _session(event: Mapping[str, Any]) -> str:
    return next(filter(None, map(_string, _values(event, ("session_id", "thread-id")))), "-")


def _values(given: Mapping[str, Any], names: Sequence[str]) -> list[object]:
    return [given.get(name) for name in names]


def _string(value: object) -> str:
    return value if isinstance(value, str) else ""
