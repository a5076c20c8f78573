"""The command that agents start: what stands in their files, and how it is known again there."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Any

_PROGRAM = "ifmem"


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """How this installation is started, and for which memory."""

    program: tuple[str, ...]
    """An absolute path, and what must follow it."""
    home: str | None = None
    """None: what the settings say where the agent works."""
    space: str | None = None
    """None: the same."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """Variables that say where the settings lie; agents pass on few of their own."""

    def server(self, agent: str) -> dict[str, Any]:
        """The fields of a server's entry that every agent has."""
        words = [*self.program[1:], "mcp", "--agent", agent, *self._memory()]
        entry: dict[str, Any] = {"command": self.program[0], "args": words}
        return entry | ({"env": dict(self.environment)} if self.environment else {})

    def hook(self, agent: str, *, share: bool) -> str:
        """The command line of a hook, for a shell."""
        variables = [f"{name}={value}" for name, value in self.environment.items()]
        return shlex.join(
            [
                *(["env", *variables] if variables else []),
                *(*self.program, "hook", agent, *self._memory()),
                *(["--share"] if share else []),
            ]
        )

    def _memory(self) -> list[str]:
        return [
            *(["--home", self.home] if self.home else []),
            *(["--space", self.space] if self.space else []),
        ]


def is_our_server(entry: object) -> bool:
    """Whether a server's entry starts ifmem."""
    if not isinstance(entry, dict):
        return False
    command, words = entry.get("command"), entry.get("args")
    if not isinstance(command, str) or not isinstance(words, list):
        return False
    return _starts([command, *map(str, words)], "mcp")


def is_our_hook(command: object, agent: str) -> bool:
    """Whether a hook's command line is ours, for this agent."""
    try:
        words = shlex.split(command) if isinstance(command, str) else []
    except ValueError:
        return False
    if words[:1] == ["env"]:
        words = [word for word in words[1:] if "=" not in word or word.startswith("/")]
    return _starts(words, "hook") and agent in words


def _starts(words: Sequence[str], verb: str) -> bool:
    if not words or verb not in words[1:4]:
        return False
    return PurePath(words[0]).name == _PROGRAM or list(words[1:3]) == ["-m", _PROGRAM]
