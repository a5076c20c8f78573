"""Members and elements put into JSON text and taken out of it; all other bytes stay.

What ``put`` and ``append`` add, ``take`` and ``drop`` remove without a trace. So that this can be
told from the text alone, an object or array that was there and empty is filled on the line of its
bracket (``{ "name": …``), while one that was made for the occasion is not.
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable, Sequence
from typing import Any

from ifmem.agents.json_text import Item, Value, parse
from ifmem.agents.json_text import plain as read_plain
from ifmem.agents.unreadable import UnreadableError

_REMARK = re.compile(r"[ \t]*(?://[^\r\n]*|/\*(?:(?!\*/)[^\r\n])*\*/)")

Path = Sequence[str]
"""Names from the root down."""


def get(text: str, path: Path) -> Any:
    """The value at a path; None where there is none.

    Raises:
        UnreadableError: the text is no JSON.
    """
    found = read_plain(text)
    for name in path:
        found = found.get(name) if isinstance(found, dict) else None
    return found


def put(text: str | None, path: Path, plain: Any) -> str:
    """The text with this value at this path; objects on the way are made.

    Args:
        text: None where there is no file yet.

    Raises:
        UnreadableError: the text is no JSON, or something on the way is no object.
    """
    if text is None or not text.strip():
        # A file that was there, and empty, is told from one that was not by its first line.
        whole = _rendered(_nested(path, plain), "", "  ", "\n") + "\n"
        return whole if text is None else "\n" + whole + text
    root = parse(text)
    holder, (name, *below) = _deepest(root, path)
    value = _nested(below, plain)
    there = holder.member(name)
    if there is None:
        after = _added(text, holder, value, name)
    else:
        margin, unit = _margins(text, there)
        rendered = _rendered(value, margin, unit, _newline(text))
        after = text[: there.value.start] + rendered + text[there.value.end :]
    _require(after, _with(root.plain, path, plain))
    return after


def take(text: str, path: Path) -> str | None:
    """The text without the member at this path, and without the objects ``put`` made for it.

    None: ``put`` made the file.

    Raises:
        UnreadableError: the text is no JSON.
    """
    *above, name = path
    root = parse(text)
    holder = _find(root, above)
    item = holder.member(name) if holder is not None else None
    if holder is None or item is None:
        return text
    if _was_made(text, holder):
        return take(text, above) if above else _without_all(text, holder)
    after = _removed(text, holder, item)
    _require(after, _without(root.plain, path))
    return after


def append(text: str | None, path: Path, plain: Any) -> str:
    """The text with one more element in the array at this path; it is made where there is none.

    Args:
        text: None where there is no file yet.

    Raises:
        UnreadableError: the text is no JSON, or there is something else at the path.
    """
    if text is None or not text.strip():
        return put(text, path, [plain])
    root = parse(text)
    holder = _find(root, path)
    if holder is None:
        return put(text, path, [plain])
    if not isinstance(holder.plain, list):
        raise UnreadableError(f"its {'.'.join(path)} is no list")
    after = _added(text, holder, plain, None)
    _require(after, _with(root.plain, path, [*holder.plain, plain]))
    return after


def drop(text: str, path: Path, unwanted: Callable[[Any], bool]) -> str | None:
    """The text without those elements of an array, and without what ``append`` made for them.

    None: ``append`` made the file.

    Raises:
        UnreadableError: the text is no JSON.
    """
    while True:
        root = parse(text)
        holder = _find(root, path)
        if holder is None or not isinstance(holder.plain, list):
            return text
        item = next((one for one in reversed(holder.items) if unwanted(one.value.plain)), None)
        if item is None:
            return text
        if _was_made(text, holder):
            return take(text, path)
        left = [one.value.plain for one in holder.items if one is not item]
        after = _removed(text, holder, item)
        _require(after, _with(root.plain, path, left))
        text = after


def _find(value: Value, path: Path) -> Value | None:
    for name in path:
        item = value.member(name)
        if item is None:
            return None
        value = item.value
    return value


def _deepest(value: Value, path: Path) -> tuple[Value, Path]:
    """The last object on the way that exists, and the names from there on; at least one."""
    for depth, name in enumerate(path):
        if not isinstance(value.plain, dict):
            raise UnreadableError(f"its {'.'.join(path[:depth]) or 'whole'} is no object")
        item = value.member(name)
        if item is None or depth == len(path) - 1:
            return value, path[depth:]
        value = item.value
    raise AssertionError("unreachable")


def _with(plain: Any, path: Path, value: Any) -> Any:
    changed = copy.deepcopy(plain)
    holder = changed
    for name in path[:-1]:
        holder = holder.setdefault(name, {})
    holder[path[-1]] = value
    return changed


def _without(plain: Any, path: Path) -> Any:
    changed = copy.deepcopy(plain)
    holder = changed
    for name in path[:-1]:
        holder = holder[name]
    del holder[path[-1]]
    return changed


def _require(after: str, expected: Any) -> None:
    """An edit that would change anything else is not made."""
    if read_plain(after) != expected:
        raise UnreadableError("it is written in a way that cannot be edited safely")


def _nested(path: Path, plain: Any) -> Any:
    for name in reversed(path):
        plain = {name: plain}
    return plain


def _added(text: str, holder: Value, plain: Any, name: str | None) -> str:
    label = "" if name is None else json.dumps(name, ensure_ascii=False) + ": "
    newline = _newline(text)
    if not holder.items:
        margin = _line_margin(text, holder.start)
        addition = " " + label + _rendered(plain, margin, _unit(text), newline)
        return text[: holder.start + 1] + addition + text[holder.start + 1 :]
    last = holder.items[-1]
    margin, unit = _margins(text, last)
    comma = "," if last.comma is not None else ""
    end = last.value.end if last.comma is None else last.comma + 1
    separator = newline + margin if unit else " "
    addition = separator + label + _rendered(plain, margin, unit, newline) + comma
    # A comment on the line of what was the last one goes on belonging to it.
    behind = _end_of_remark(text, end) if unit else end
    before_comma = text[: last.value.end] + ("" if comma else ",") + text[last.value.end : behind]
    return before_comma + addition + text[behind:]


def _removed(text: str, holder: Value, item: Item) -> str:
    position = next(n for n, one in enumerate(holder.items) if one is item)
    if len(holder.items) == 1:
        start = item.start
        if text[holder.start + 1 : start] == " ":
            start = holder.start + 1
        return text[:start] + text[_end(item) :]
    if position < len(holder.items) - 1:
        # What follows moves up to where it began, with the gap before it.
        return text[: item.start] + text[holder.items[position + 1].start :]
    before = holder.items[position - 1]
    assert before.comma is not None
    start = _start_of_gap(text, before.comma + 1, item.start)
    if item.comma is not None:
        return text[:start] + text[item.comma + 1 :]
    return text[: before.comma] + text[before.comma + 1 : start] + text[item.value.end :]


def _start_of_gap(text: str, after: int, start: int) -> int:
    """Where the space before an item begins that came with it: its line, or one blank."""
    margin = len(text[after:start]) - len(text[after:start].rstrip(" \t"))
    line = start - margin
    for newline in ("\r\n", "\n"):
        if line - len(newline) >= after and text.startswith(newline, line - len(newline)):
            return line - len(newline)
    return start - min(margin, 1)


def _end(item: Item) -> int:
    return item.value.end if item.comma is None else item.comma + 1


def _end_of_remark(text: str, at: int) -> int:
    """Behind a comment that stands on the same line, else the same place."""
    found = _REMARK.match(text, at)
    return found.end() if found else at


def _was_made(text: str, holder: Value) -> bool:
    """Whether ``put`` or ``append`` made it: one item in it, which does not follow one blank."""
    if len(holder.items) != 1:
        return False
    (item,) = holder.items
    before, after = text[holder.start + 1 : item.start], text[_end(item) : holder.end - 1]
    return before != " " and not before.strip() and not after.strip()


def _without_all(text: str, root: Value) -> str | None:
    before, after = text[: root.start], text[root.end :]
    if before.strip("\ufeff \t\r\n") or after.strip():
        return before + "{}" + after
    return after[1:] if before == "\n" else None


def _margins(text: str, item: Item) -> tuple[str, str]:
    """What stands before an item on its line, and how much deeper its own content goes.

    The second is empty where the item shares its line with others: then all is written on one.
    """
    margin = _line_margin(text, item.start)
    begin = item.start - len(margin)
    if text[max(begin - 1, 0) : begin] in ("\n", "\r"):
        return margin, _unit(text)
    return "", ""


def _line_margin(text: str, at: int) -> str:
    line = text[text.rfind("\n", 0, at) + 1 : at]
    return line[: len(line) - len(line.lstrip(" \t"))]


def _unit(text: str) -> str:
    """One step of indentation, as the first indented line has it."""
    for line in text.splitlines():
        margin = line[: len(line) - len(line.lstrip(" \t"))]
        if margin and margin != line:
            return "\t" if margin[0] == "\t" else margin
    return "  "


def _newline(text: str) -> str:
    return "\r\n" if "\r\n" in text else "\n"


def _rendered(plain: Any, margin: str, unit: str, newline: str) -> str:
    """A value as text; lists of words stand on one line, and everything where no unit is given."""
    inner = newline + margin + unit
    if unit and isinstance(plain, dict) and plain:
        parts = [
            f"{inner}{json.dumps(name, ensure_ascii=False)}: "
            + _rendered(plain[name], margin + unit, unit, newline)
            for name in plain
        ]
        return "{" + ",".join(parts) + newline + margin + "}"
    if unit and isinstance(plain, list) and any(isinstance(one, dict | list) for one in plain):
        parts = [inner + _rendered(one, margin + unit, unit, newline) for one in plain]
        return "[" + ",".join(parts) + newline + margin + "]"
    return json.dumps(plain, ensure_ascii=False)
