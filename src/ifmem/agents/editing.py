"""From the text of an agent's file to its text with our entries, or without them.

Nothing here touches a file. What is put in is found again by what it starts, so that a second run
changes nothing and the entries of others are never ours.
"""

from __future__ import annotations

import json
from typing import Any

from ifmem.agents import json_edit, toml_edit
from ifmem.agents.clients import Client, HookPoint
from ifmem.agents.launch import Launch, is_our_hook, is_our_server
from ifmem.agents.unreadable import UnreadableError


def entry(client: Client, text: str | None, name: str) -> dict[str, Any] | None:
    """The server's entry of that name; None where there is none.

    Raises:
        UnreadableError: the text is not what the file should hold.
    """
    if text is None or not text.strip():
        return None
    read = toml_edit.get if client.toml else json_edit.get
    found = read(text, (client.holder, name))
    return found if found is None or isinstance(found, dict) else {"": found}


def connected(client: Client, text: str | None, name: str, launch: Launch) -> str:
    """The text with the server's entry; one that is there is brought up to date.

    Of an entry that is there, only the command is ours: what a person added to it stays.

    Raises:
        UnreadableError: the text cannot be edited, or the entry of that name is somebody else's.
    """
    there, wanted = entry(client, text, name), launch.server(client.name)
    if there is not None and not is_our_server(there):
        raise UnreadableError(f"its server {name} is not started by ifmem (name ours by --name)")
    if there is None:
        wanted = {**client.first, **wanted, **client.last}
    elif there == (wanted := {**there, **wanted, **_variables(there, wanted)}):
        assert text is not None
        return text
    if client.toml:
        return toml_edit.put(text, (client.holder, name), wanted)
    return json_edit.put(text, (client.holder, name), wanted)


def disconnected(client: Client, text: str | None, name: str) -> str | None:
    """The text without the server's entry, when it is ours; None: without it there is no file.

    Raises:
        UnreadableError: the text cannot be edited.
    """
    if text is None or not is_our_server(entry(client, text, name)):
        return text
    take = toml_edit.take if client.toml else json_edit.take
    return take(text, (client.holder, name))


def capturing(client: Client, text: str | None, launch: Launch, *, share: bool) -> str | None:
    """The text with our hooks, each event's once.

    Raises:
        UnreadableError: the text cannot be edited.
    """
    command = launch.hook(client.name, share=share)
    wanted = {point.event: _group(client, point, command) for point in client.hooks}
    if {event: [group] for event, group in wanted.items()} == _our_groups(client, text):
        return text
    text = not_capturing(client, text)
    for event, group in wanted.items():
        text = json_edit.append(text, ("hooks", event), group)
    return text


def not_capturing(client: Client, text: str | None) -> str | None:
    """The text without our hooks; None: without them there is no file.

    Raises:
        UnreadableError: the text cannot be edited.
    """
    for event in _our_groups(client, text):
        if text is not None:
            text = json_edit.drop(text, ("hooks", event), lambda group: _is_ours(client, group))
    return text


def by_hand(client: Client, name: str, launch: Launch) -> str:
    """What a person adds to the server's file themselves."""
    wanted = {**client.first, **launch.server(client.name), **client.last}
    if client.toml:
        return toml_edit.put(None, (client.holder, name), wanted)
    return json.dumps({client.holder: {name: wanted}}, ensure_ascii=False)


def hooks_by_hand(client: Client, launch: Launch, *, share: bool) -> str:
    """What a person adds to the hooks' file themselves."""
    command = launch.hook(client.name, share=share)
    hooks = {point.event: [_group(client, point, command)] for point in client.hooks}
    return json.dumps({"hooks": hooks}, ensure_ascii=False)


def hook_commands(client: Client, text: str | None) -> list[str]:
    """The command lines of our hooks, each once."""
    groups = [group for found in _our_groups(client, text).values() for group in found]
    return list(dict.fromkeys(hook["command"] for group in groups for hook in group["hooks"]))


def _variables(there: dict[str, Any], wanted: dict[str, Any]) -> dict[str, Any]:
    if not isinstance(there.get("env"), dict):
        return {}
    return {"env": {**there["env"], **wanted.get("env", {})}}


def _group(client: Client, point: HookPoint, command: str) -> dict[str, Any]:
    hook = {"type": "command", "command": command, "timeout": client.hook_timeout}
    return {**({"matcher": point.matcher} if point.matcher else {}), "hooks": [hook]}


def _our_groups(client: Client, text: str | None) -> dict[str, list[Any]]:
    """Our groups of hooks by their event, as the text has them."""
    hooks = json_edit.get(text, ("hooks",)) if text is not None and text.strip() else None
    if not isinstance(hooks, dict):
        return {}
    ours = {
        event: [group for group in groups if _is_ours(client, group)]
        for event, groups in hooks.items()
        if isinstance(groups, list)
    }
    return {event: groups for event, groups in ours.items() if groups}


def _is_ours(client: Client, group: object) -> bool:
    hooks = group.get("hooks") if isinstance(group, dict) else None
    if not isinstance(hooks, list) or not hooks:
        return False
    return all(
        isinstance(hook, dict) and is_our_hook(hook.get("command"), client.name) for hook in hooks
    )
