"""What becomes of a request whose daemon ended before it answered."""

from __future__ import annotations

from typing import Any, NamedTuple

from ifmem.errors import IfMemError, OutcomeUnknown, Unavailable

_REPEAT = {
    "remember": "`recall` shows whether it is there; repeating it with the same id is always safe",
    "task_post": "posting it again with the same idempotency_key is always safe",
    "task_claim": "claim again; what was claimed is free again when its lease ends",
    "task_finish": "finish it again with the same fence",
    "load": "load it again, what was stored is not read twice",
}
_NAMED = ("id", "idempotency_key", "task_id", "fence")
_MOST_CHARACTERS = 100
LISTEN = "subscriptions/listen"
"""A request that is answered when its caller, or the daemon, ends it."""


class Open(NamedTuple):
    """A request that waits for its answer."""

    method: str
    tool: str | None
    """Which is called, when one is."""
    facts: dict[str, object]
    """What its caller needs to repeat it."""

    @property
    def never_ends(self) -> bool:
        """Nobody waits for its answer."""
        return self.method == LISTEN


def opened(method: str, params: object) -> Open:
    """What is kept of a request."""
    given: dict[str, Any] = params if isinstance(params, dict) else {}
    tool, arguments = given.get("name"), given.get("arguments")
    if method != "tools/call" or not isinstance(tool, str):
        return Open(method, None, {})
    values = arguments if isinstance(arguments, dict) else {}
    named = {name: values[name] for name in _NAMED if isinstance(values.get(name), str)}
    return Open(method, tool, {name: value[:_MOST_CHARACTERS] for name, value in named.items()})


def loss(request: Open, reading: frozenset[str]) -> IfMemError:
    """The error that says whether to repeat it.

    Args:
        reading: the tools that write nothing.
    """
    what = request.method if request.tool is None else request.tool
    if request.never_ends:
        return Unavailable(
            "the daemon ended: listen again, and read again what you listen for", method=what
        )
    if request.tool is None or request.tool in reading:
        told = f"the daemon ended before it answered `{what}`: ask again"
        return Unavailable(told, method=what)
    repeat = _REPEAT.get(what, "repeat it")
    return OutcomeUnknown(
        f"the daemon ended before it answered `{what}`, so it may or may not have happened: "
        f"{repeat}",
        method=what,
        **request.facts,
    )
