"""The page of all commands, from the command line itself."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import typer

from ifmem.entrypoints.cli.main import _app
from ifmem.entrypoints.cli.session import Options

_GLOBAL = frozenset(Options.__dataclass_fields__)


def render(_: Path) -> str:
    """Every command with its arguments and options, then those that all of them take."""
    top = typer.main.get_command(_app())
    lines: list[str] = []
    for path, command in commands(top, ("ifmem",)):
        lines += [f"## `{' '.join(path)}`", "", command.help or "", "", "```text"]
        lines += [_usage(path, command), "```", ""]
        lines += _table([one for one in command.params if one.name not in _GLOBAL])
    lines += ["## Options of every command", ""]
    lines.append("They stand before or after the command's name.")
    lines.append("")
    lines += _table([one for one in top.params if one.name in _GLOBAL | {"version"}])
    return "\n".join(lines)


def commands(group: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every command below a group, with the words that name it."""
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, (*path, name))
        else:
            yield (*path, name), command


def _usage(path: Sequence[str], command: Any) -> str:
    words = list(path)
    for one in command.params:
        if one.param_type_name == "argument":
            name = (one.metavar or one.name.upper()).strip("[]")
            words.append(name if one.required else f"[{name}]")
    return " ".join((*words, "[OPTIONS]"))


def _table(parameters: Sequence[Any]) -> list[str]:
    rows = []
    for one in parameters:
        if one.name == "help":
            continue
        named = ", ".join(f"`{word}`" for word in (*one.opts, *one.secondary_opts))
        if one.param_type_name == "argument":
            named = f"`{(one.metavar or one.name.upper()).strip('[]')}`"
        rows.append(f"| {named} | {one.help or ''} |")
    if not rows:
        return []
    return ["| argument or option | meaning |", "| --- | --- |", *rows, ""]
