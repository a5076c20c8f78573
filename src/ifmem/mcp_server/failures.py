"""Errors as results of a tool, so that the model reads what to do next."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from mcp_types import CallToolResult, TextContent

from ifmem.errors import IfMemError
from ifmem.prompts.fencing import quoted

_MESSAGE_CHARACTERS = 2_000
_FACTS_CHARACTERS = 4_000


def failed(error: IfMemError) -> CallToolResult:
    """The error's name, message and facts, in both forms."""
    name, message = type(error).__name__, error.message[:_MESSAGE_CHARACTERS]
    facts, shown = _facts(error.facts)
    return CallToolResult(
        content=[TextContent(text=f"{name}: {message}\nfacts={shown}")],
        structured_content={"error": name, "message": message, "facts": facts},
        is_error=True,
    )


def _facts(facts: Mapping[str, object]) -> tuple[dict[str, Any], str]:
    """The facts as JSON-compatible data and as one line; the longest are left out."""
    kept: dict[str, Any] = {}
    line = "{}"
    for name, value in sorted(facts.items(), key=lambda fact: len(str(fact[1]))):
        try:
            further = {**kept, name: msgspec.to_builtins(value, str_keys=True)}
            text = msgspec.json.encode(further).decode()
        except (TypeError, UnicodeEncodeError, msgspec.MsgspecError):
            continue
        if len(text) > _FACTS_CHARACTERS:
            break
        kept, line = further, text
    # On one line, and no end of a turn in it for an engine that reads it raw.
    return kept, line if line.isascii() else quoted(line)
