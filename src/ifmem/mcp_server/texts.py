"""Replies as compact text: the facts of the structured form, recalled text fenced as data.

A field that holds recalled text stands between two lines that it cannot contain; everything else
is ``name=value`` on one line, where a text that is not a plain word is a JSON string.
"""

from __future__ import annotations

import json
import re
from functools import cache
from typing import Any

import msgspec

from ifmem.mcp_server.replies import Reply
from ifmem.prompts.fencing import fenced, quoted

_PLAIN = re.compile(r"[A-Za-z0-9_./:@+-]{1,200}")
_WORDS = frozenset({"null", "true", "false"})
_LINES = "lines"


def text_of(reply: Reply, number: int | None = None) -> str:
    """A reply, or one item of its lists, as text; the last line is ended.

    Args:
        number: of an item in its list, from 1.
    """
    attributes: list[str] = []
    items: list[Reply] = []
    recalled = ""
    for name, default in _fields(type(reply)):
        value = getattr(reply, name)
        if value == default:
            continue
        if name == reply.FENCED and value:
            recalled = value if isinstance(value, str) else _json(value)
        elif isinstance(value, list) and value and isinstance(value[0], Reply):
            items += value
        else:
            attributes.append(f"{name}={_shown(name, value)}")
    label = " ".join(filter(None, (reply.KIND, "" if number is None else str(number))))
    line = " ".join(attributes)
    if recalled:
        head = fenced(label, recalled, line)
    else:
        head = " ".join(filter(None, (label, line))) + "\n"
    return head + "".join(_of_items(items))


def _of_items(items: list[Reply]) -> list[str]:
    counts: dict[str, int] = {}
    texts = []
    for item in items:
        counts[item.KIND] = counts.get(item.KIND, 0) + 1
        texts.append(text_of(item, counts[item.KIND]))
    return texts


@cache
def _fields(kind: type[Reply]) -> tuple[tuple[str, object], ...]:
    """Each field with its default, which stands in neither form."""
    return tuple(
        (
            field.name,
            field.default_factory()
            if callable(field.default_factory) and field.default_factory is not msgspec.NODEFAULT
            else field.default,
        )
        for field in msgspec.structs.fields(kind)
    )


def _shown(name: str, value: Any) -> str:
    if isinstance(value, Reply):
        parts = (f"{key}={_shown(key, getattr(value, key))}" for key, _ in _fields(type(value)))
        return f"({' '.join(parts)})"
    if name == _LINES and value:
        return f"{value[0]}-{value[1]}"
    if isinstance(value, str):
        return value if _PLAIN.fullmatch(value) and value not in _WORDS else quoted(value)
    return _json(value)


def _json(value: Any) -> str:
    """Compact JSON on one line, texts in it as in ``quoted``."""
    if isinstance(value, dict):
        return "{" + ",".join(f"{quoted(str(k))}:{_json(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ",".join(map(_json, value)) + "]"
    return quoted(value) if isinstance(value, str) else json.dumps(value)
