"""The table of settings, from the fields of ``settings.py`` and what is written below each."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import msgspec

from ifmem.settings import PlacementEntry, Settings

_UNEXPLAINED = {
    "space": "The isolated memory that is used when a command names none.",
}
"""Fields whose name says it all in the code, and does not on a page."""


def render(root: Path) -> str:
    """Every setting with its default and its meaning, then the default placement table."""
    meant = _meanings(root / "src/ifmem/settings.py")
    meant |= _meanings(root / "src/ifmem/model_settings.py")
    meant |= _meanings(root / "src/ifmem/archive_settings.py")
    lines = ["| setting | default | meaning |", "| --- | --- | --- |"]
    for name, default, owner in _leaves(Settings()):
        shown = "see below" if name == "placement" else f"`{msgspec.json.encode(default).decode()}`"
        said = meant.get((owner, name.rpartition(".")[2])) or _UNEXPLAINED[name]
        lines.append(f"| `{name}` | {shown} | {said} |")
    lines += ["", "The default placement, as TOML:", "", "```toml"]
    for entry in Settings().placement:
        lines += _entry(entry)
    return "\n".join([*lines, "```"]) + "\n"


def _leaves(value: msgspec.Struct, prefix: str = "") -> Iterator[tuple[str, object, str]]:
    """Dotted name, default and class of every setting."""
    for name in value.__struct_fields__:
        held = getattr(value, name)
        if isinstance(held, msgspec.Struct):
            yield from _leaves(held, f"{name}.")
        else:
            yield prefix + name, held, type(value).__name__


def _meanings(path: Path) -> dict[tuple[str, str], str]:
    """What stands below each field, by class and field."""
    found: dict[tuple[str, str], str] = {}
    for owner in ast.parse(path.read_text(encoding="utf-8")).body:
        if not isinstance(owner, ast.ClassDef):
            continue
        for field, below in zip(owner.body, owner.body[1:], strict=False):
            if not isinstance(field, ast.AnnAssign) or not isinstance(field.target, ast.Name):
                continue
            if isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant):
                text = " ".join(str(below.value.value).split())
                found[owner.name, field.target.id] = text.replace("``", "`").replace("|", "\\|")
    return found


def _entry(entry: PlacementEntry) -> list[str]:
    lines = ["[[placement]]", f'speciality = "{entry.speciality}"']
    for name, values in (("kinds", entry.kinds), ("paths", entry.paths)):
        if values:
            lines.append(f"{name} = {msgspec.json.encode(values).decode().replace(',', ', ')}")
    return [*lines, ""]
