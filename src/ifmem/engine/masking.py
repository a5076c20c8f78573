"""Credentials never enter: their known shapes are replaced before anything is written.

The law: masking is idempotent, keeps every line where it was, and never makes JSON invalid,
because it works on values before they are serialised.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from ifmem.engine.assignments import find_assignments, kind_of_name
from ifmem.engine.credentials import Found, find_credentials

_MASK = re.compile(r"\[masked:[a-z0-9-]{1,40}\]")
_MASK_BYTES = re.compile(_MASK.pattern.encode())
_REST_OF_RUN = re.compile(r"[A-Za-z0-9_\-]*+")


@dataclass(frozen=True, slots=True)
class Masked:
    """A text without its credentials, and how many there were."""

    text: str
    count: int


def mask(text: str) -> Masked:
    """The text with each known credential shape replaced by ``[masked:<kind>]``.

    The number of lines stays the same: a key of many lines leaves its line breaks behind.
    """
    # One byte per character keeps positions equal; lower-casing the text itself would not,
    # since some letters grow when lowered, and is slow outside ASCII.
    raw = text.encode("ascii" if text.isascii() else "latin-1", "replace")
    if b"[masked:" in raw:
        # A mask's own words (`access-key]:`) must not name what follows it.
        raw = _MASK_BYTES.sub(lambda match: b"\0" * len(match[0]), raw)
    found = [*find_credentials(text, raw), *find_assignments(text, raw.lower())]
    spans = _resolve(text, found) if found else []
    if not spans:
        return Masked(text, 0)
    parts: list[str] = []
    at = 0
    for start, end, kind in spans:
        parts += (text[at:start], f"[masked:{kind}]", "\n" * text.count("\n", start, end))
        at = end
    parts.append(text[at:])
    return Masked("".join(parts), len(spans))


def mask_values(value: object) -> tuple[object, int]:
    """A JSON-like structure with its strings masked, and the number of credentials masked.

    The whole value of a key that names a credential (``password``, ``authorization`` …) is
    masked, whatever it looks like; ``None``, booleans and empty strings have nothing to hide.
    """
    match value:
        case str():
            masked = mask(value)
            return masked.text, masked.count
        case dict():
            return _mask_mapping(value)
        case list() | tuple():
            items = [mask_values(item) for item in value]
            bare = [item for item, _ in items]
            return (
                bare if isinstance(value, list) else tuple(bare),
                sum(count for _, count in items),
            )
        case _:
            return value, 0


def holds_mask(text: str) -> bool:
    """Whether a credential was masked in the text, so that it cannot be evidence."""
    return "[masked:" in text and _MASK.search(text) is not None


def _mask_mapping(mapping: dict[object, object]) -> tuple[dict[object, object], int]:
    result: dict[object, object] = {}
    total = 0
    for key, value in mapping.items():
        kind = kind_of_name(key) if isinstance(key, str) else None
        if kind is not None and _is_hidden(value):
            masked, count = _mask_whole(value, kind)
        else:
            masked, count = mask_values(value)
        name, in_name = mask_values(key) if isinstance(key, str) else (key, 0)
        result[_unused(name, result) if in_name else name] = masked
        total += count + in_name
    return result, total


def _is_hidden(value: object) -> bool:
    if value is None or isinstance(value, bool) or value in ("", [], {}, ()):
        return False
    # `pwd` is the working directory as often as a password.
    return not (isinstance(value, str) and value.startswith("/"))


def _mask_whole(value: object, kind: str) -> tuple[object, int]:
    if isinstance(value, str) and _MASK.fullmatch(value):
        return value, 0
    return f"[masked:{kind}]", 1


def _unused(name: object, taken: dict[object, object]) -> object:
    """Two keys may mask to the same name; neither value may be lost for it."""
    candidate, number = name, 2
    while candidate in taken:
        candidate, number = f"{name}~{number}", number + 1
    return candidate


def _resolve(text: str, found: Iterable[Found]) -> list[Found]:
    """The spans to mask: in order, apart from each other, and free of earlier masks."""
    masks = [match.span() for match in _MASK.finditer(text)] if "[masked:" in text else []
    resolved: list[Found] = []
    at_mask = 0
    for start, end, kind in sorted(found, key=lambda span: (span[0], -span[1])):
        if resolved and start < resolved[-1][1]:
            first = resolved[-1]
            resolved[-1] = (first[0], max(first[1], end), first[2])
            continue
        while at_mask < len(masks) and masks[at_mask][1] <= start:
            at_mask += 1
        crosses = at_mask < len(masks) and masks[at_mask][0] < end
        if crosses and kind != "private-key":
            continue
        # Letters left hanging after a mask could be read as the beginning of the next shape.
        rest = _REST_OF_RUN.match(text, end)
        resolved.append((start, rest.end() if rest else end, kind))
    return resolved
