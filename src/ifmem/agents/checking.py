"""Looks at every agent that is connected, and tries what its files say."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ifmem.agents import editing, files, json_edit, toml_edit
from ifmem.agents.clients import (
    CLIENTS,
    Client,
    ScopeOfFile,
    Surroundings,
    hooks_file,
    server_file,
)
from ifmem.agents.conversation import SilentServerError, round_trip
from ifmem.agents.launch import is_our_server
from ifmem.agents.unreadable import UnreadableError

PATIENCE_S = 60.0
"""For one round trip; a daemon may have to start for it."""


@dataclass(frozen=True, slots=True)
class Seen:
    """One thing that was looked at."""

    name: str
    ok: bool
    message: str
    """What was found and, where it is not well, what to do."""


def check_agents(around: Surroundings, *, patience_s: float = PATIENCE_S) -> Iterator[Seen]:
    """Each connection and each set of hooks, for the person and for the project.

    Agents that are not connected are passed over.
    """
    for client in CLIENTS.values():
        for scope in ScopeOfFile:
            yield from _servers(client, scope, around, patience_s)
            if client.hooks:
                yield from _hooks(client, scope, around)


def _servers(
    client: Client, scope: ScopeOfFile, around: Surroundings, patience_s: float
) -> Iterator[Seen]:
    path, label = server_file(client, scope, around), f"agent {client.name} ({scope})"
    text, trouble = _read(path)
    try:
        read = toml_edit.get if client.toml else json_edit.get
        servers = read(text, (client.holder,)) if text is not None and text.strip() else None
    except UnreadableError as error:
        trouble = str(error)
        servers = None
    if trouble and (text is None or "ifmem" in text):
        yield Seen(label, False, f"{path} cannot be used, because {trouble}: correct it")
    for name, entry in servers.items() if isinstance(servers, dict) else ():
        if is_our_server(entry):
            full = label if name == "ifmem" else f"{label} {name}"
            yield _tried(client, scope, full, entry, around, patience_s)


def _tried(
    client: Client,
    scope: ScopeOfFile,
    label: str,
    entry: dict[str, Any],
    around: Surroundings,
    patience_s: float,
) -> Seen:
    if entry.get("enabled") is False or entry.get("disabled") is True:
        return Seen(label, True, f"is turned off in {server_file(client, scope, around)}")
    again = f"`ifmem install {client.name} --scope {scope}` writes it anew"
    command = entry["command"]
    if not _can_run(command):
        return Seen(label, False, f"its command {command} cannot be run: {again}")
    env = entry.get("env")
    variables = {name: str(env[name]) for name in env} if isinstance(env, dict) else {}
    try:
        heard = round_trip(
            [command, *map(str, entry["args"])],
            environment={**around.environment, **variables},
            directory=around.project,
            patience_s=patience_s,
        )
    except SilentServerError as error:
        return Seen(label, False, f"{shlex.join([command, *map(str, entry['args'])])}: {error}")
    return Seen(label, True, f"{heard.tools} tools, status and recall in {heard.ms:.0f} ms")


def _hooks(client: Client, scope: ScopeOfFile, around: Surroundings) -> Iterator[Seen]:
    path, label = hooks_file(client, scope, around), f"capture {client.name} ({scope})"
    text, _ = _read(path)
    try:
        commands = editing.hook_commands(client, text)
    except UnreadableError as error:
        if text is not None and "ifmem" in text:
            yield Seen(label, False, f"{path} cannot be used, because {error}: correct it")
        return
    again = f"`ifmem install {client.name} --scope {scope} --capture` writes it anew"
    for line in commands:
        command = next(word for word in shlex.split(line) if word.startswith("/"))
        if not _can_run(command):
            yield Seen(label, False, f"its command {command} cannot be run: {again}")
        elif client.name == "codex" and not _is_trusted(path, around):
            yield Seen(label, False, "Codex does not run it yet: start codex and enter /hooks")
        else:
            yield Seen(label, True, line)


def _is_trusted(hooks: Path, around: Surroundings) -> bool:
    """Whether Codex was told to run hooks of this file; it notes that in its own settings."""
    text, _ = _read(server_file(CLIENTS["codex"], ScopeOfFile.USER, around))
    try:
        state = None if text is None else toml_edit.get(text, ("hooks", "state"))
    except UnreadableError:
        return False
    names = (str(hooks), os.path.realpath(hooks))
    return isinstance(state, dict) and any(
        key.startswith(tuple(f"{name}:" for name in names)) and "trusted_hash" in noted
        for key, noted in state.items()
        if isinstance(noted, dict)
    )


def _read(path: Path) -> tuple[str | None, str]:
    try:
        return files.read(path), ""
    except UnreadableError as error:
        return None, str(error)


def _can_run(command: str) -> bool:
    return Path(command).is_absolute() and Path(command).is_file() and os.access(command, os.X_OK)
