"""A table put into TOML text and taken out of it; all other bytes stay.

The table is added at the end, after an empty line, which is valid wherever the file ends. A file
that did not end with a new line does not afterwards either.
"""

from __future__ import annotations

import copy
import json
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ifmem.agents.unreadable import UnreadableError

Path = tuple[str, ...]

_TOKEN = re.compile(
    r'"""(?:\\.|[^\\])*?"{3,5}' r"|'''.*?'{3,5}" r'|"(?:\\.|[^"\\\n])*"' r"|'[^'\n]*'|#[^\n]*|.",
    re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class _Statement:
    """A header, or a key with its value: ``text[start:end]``, its line's end included."""

    start: int
    end: int
    table: Path
    """The table it opens, or lies in."""
    opens: bool
    key: Path = ()
    value_end: int = 0
    """Where the value, which may be followed by a comment, ends."""


def get(text: str, path: Path) -> Any:
    """The value at a path; None where there is none.

    Raises:
        UnreadableError: the text is no TOML.
    """
    value: Any = _loaded(text)
    for name in path:
        value = value.get(name) if isinstance(value, dict) else None
    return value


def put(text: str | None, path: Path, values: Mapping[str, Any]) -> str:
    """The text with these values in the table at this path; those it has besides stay.

    Args:
        text: None where there is no file yet.

    Raises:
        UnreadableError: the text is no TOML, or has the table in a form that cannot be added to.
    """
    there = None if text is None else get(text, path)
    if text is not None and there is not None:
        return _changed(text, path, {k: v for k, v in values.items() if there.get(k) != v})
    block = [f"[{'.'.join(path)}]", *(f"{name} = {_literal(values[name])}" for name in values)]
    if text is None:
        return "\n".join(block) + "\n"
    newline = _newline(text)
    added = newline.join(block)
    if text and not text.endswith("\n"):
        after = text + newline * 2 + added
    else:
        after = text + newline + added + newline
    _require_added(text, after, path, values)
    return after


def take(text: str, path: Path) -> str | None:
    """The text without the table at this path and those within it; None: ``put`` made the file.

    Raises:
        UnreadableError: the text is no TOML, or has the table in another form.
    """
    if get(text, path) is None:
        return text
    newline = _newline(text)
    blocks = list(_blocks(text, path))
    if not blocks:
        raise UnreadableError(f"it has {'.'.join(path)} in a form that cannot be taken out")
    if blocks == [(0, len(text))]:
        return None
    for start, end in reversed(blocks):
        before, after = text[:start], text[end:]
        if before.endswith(newline) and before[: -len(newline)][-1:] in ("", "\n"):
            before = before[: -len(newline)]
        if not text.endswith("\n") and not after:
            before = before.removesuffix(newline)
        text = before + after
    if get(text, path) is not None:
        raise UnreadableError(f"it has {'.'.join(path)} in a form that cannot be taken out")
    return text


def _changed(text: str, path: Path, values: Mapping[str, Any]) -> str:
    for name, value in values.items():
        inside = [one for one in _statements(text) if one.table == path]
        line = f"{name} = {_literal(value)}"
        old = next((one for one in inside if one.key == (name,)), None)
        if old is not None:
            text = text[: old.start] + line + text[old.value_end :]
        elif inside and inside[0].opens and text[: inside[0].end].endswith("\n"):
            text = text[: inside[0].end] + line + _newline(text) + text[inside[0].end :]
        else:
            raise UnreadableError(f"it has {'.'.join(path)} in a form that cannot be changed")
        if get(text, (*path, name)) != value:
            raise UnreadableError(f"its {'.'.join(path)} cannot be changed")
    return text


def _require_added(text: str, after: str, path: Path, values: Mapping[str, Any]) -> None:
    try:
        tree = tomllib.loads(after)
    except tomllib.TOMLDecodeError as error:
        raise UnreadableError(f"[{'.'.join(path)}] cannot stand at its end: {error}") from error
    expected: dict[str, Any] = copy.deepcopy(_loaded(text))
    holder = expected
    for name in path[:-1]:
        holder = holder.setdefault(name, {})
    holder[path[-1]] = dict(values)
    # By their text: of the values that TOML has, `nan` is no equal of itself.
    if repr(tree) != repr(expected):
        raise UnreadableError(f"[{'.'.join(path)}] cannot stand at its end")


def _blocks(text: str, path: Path) -> Iterator[tuple[int, int]]:
    """Each table at or below a path, from its header to the end of its last value."""
    start = end = None
    for one in _statements(text):
        if one.opens and start is not None and end is not None:
            yield start, end
            start = end = None
        if one.table[: len(path)] == path:
            start, end = one.start if start is None else start, one.end
    if start is not None and end is not None:
        yield start, end


def _statements(text: str) -> Iterator[_Statement]:
    """Every header and value of a text that is known to be TOML."""
    table: Path = ()
    start: int | None = None
    depth, content, equals, sign = 0, 0, 0, ""
    for token in _TOKEN.finditer(text):
        sign = token[0]
        if start is None:
            if sign.isspace() or sign.startswith("#"):
                continue
            start, depth, equals = token.start(), 0, 0
        if sign == "\n" and depth == 0:
            table, statement = _read(text, start, content, token.end(), equals, table)
            yield statement
            start = None
            continue
        if sign == "=" and depth == 0 and not equals:
            equals = token.start()
        depth += (sign in ("[", "{")) - (sign in ("]", "}"))
        if not sign.isspace() and not sign.startswith("#"):
            content = token.end()
    if start is not None:
        yield _read(text, start, content, len(text), equals, table)[1]


def _read(
    text: str, start: int, content: int, end: int, equals: int, table: Path
) -> tuple[Path, _Statement]:
    if not equals:
        table = _keys(text[start:content])
        return table, _Statement(start, end, table, True)
    key = _keys(text[start:equals] + "= 0")
    return table, _Statement(start, end, table, False, key, content)


def _keys(text: str) -> Path:
    """The names that a header, or a key, is made of."""
    names = []
    value: Any = tomllib.loads(text)
    while value and isinstance(value, dict | list):
        if isinstance(value, list):
            value = value[0]
            continue
        ((name, value),) = value.items()
        names.append(name)
    return tuple(names)


def _loaded(text: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise UnreadableError(f"it is no TOML: {error}") from error


def _literal(value: Any) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{name} = {_literal(value[name])}" for name in value) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(map(_literal, value)) + "]"
    # A string as JSON writes it is a basic string of TOML, and so are its truth values.
    return json.dumps(value, ensure_ascii=False)


def _newline(text: str) -> str:
    return "\r\n" if "\r\n" in text else "\n"
