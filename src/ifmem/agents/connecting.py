"""Connects an agent to the memory, or takes the connection out: what changes in which file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from ifmem.agents import editing, files
from ifmem.agents.clients import (
    Client,
    ScopeOfFile,
    Surroundings,
    hooks_file,
    server_file,
)
from ifmem.agents.files import Change
from ifmem.agents.launch import Launch
from ifmem.agents.unreadable import UnreadableError
from ifmem.errors import Refused

Edit = Callable[[str | None], str | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What a person wants of one agent's files."""

    client: Client
    scope: ScopeOfFile
    name: str = "ifmem"
    """Of the server among the agent's servers."""
    capture: bool = False
    share: bool = False
    uninstall: bool = False
    """With ``capture``: only the hooks."""


def plan(wish: Wish, launch: Launch, around: Surroundings) -> list[Change]:
    """What becomes of each file; those that stay as they are have no place in it.

    Raises:
        Refused: a file cannot be edited, with what to add by hand; or the agent has no hooks.
    """
    if wish.capture and not wish.client.hooks:
        raise Refused(
            f"{wish.client.title} has no hooks that ifmem knows: leave --capture out",
            agent=wish.client.name,
        )
    changes: dict[Path, Change] = {}
    for path, edit, remedy in _edits(wish, launch, around):
        try:
            before = changes[path].before if path in changes else files.read(path)
            after = edit(changes[path].after if path in changes else before)
        except UnreadableError as error:
            raise Refused(
                f"{path} is left as it is, because {error}; {remedy}", path=str(path)
            ) from error
        changes[path] = Change(path, before, after)
    return [change for change in changes.values() if change.before != change.after]


def carry_out(changes: Sequence[Change], now: datetime) -> list[Path | None]:
    """Write the files; the path of each copy of what was there before.

    Raises:
        Failed: one could not be written; those before it are.
    """
    return [files.write(change, now) for change in changes]


def _edits(wish: Wish, launch: Launch, around: Surroundings) -> list[tuple[Path, Edit, str]]:
    """The edits in order, with what a person can do where one is impossible."""
    client = wish.client
    server = server_file(client, wish.scope, around)
    hooks = hooks_file(client, wish.scope, around)
    if wish.uninstall:
        take_hooks: tuple[Path, Edit, str] = (
            hooks,
            lambda text: editing.not_capturing(client, text),
            f"take the hooks that run `ifmem hook {client.name}` out by hand",
        )
        take_server: tuple[Path, Edit, str] = (
            server,
            lambda text: editing.disconnected(client, text, wish.name),
            f"take {wish.name} out of its {client.holder} by hand",
        )
        return [
            *([take_hooks] if client.hooks else []),
            *([] if wish.capture else [take_server]),
        ]
    put_server: tuple[Path, Edit, str] = (
        server,
        lambda text: editing.connected(client, text, wish.name, launch),
        f"to add it by hand: {editing.by_hand(client, wish.name, launch)}",
    )
    if not wish.capture:
        return [put_server]
    by_hand = editing.hooks_by_hand(client, launch, share=wish.share)
    return [
        put_server,
        (
            hooks,
            lambda text: editing.capturing(client, text, launch, share=wish.share),
            f"to add them by hand: {by_hand}",
        ),
    ]
