"""Every module and its purpose, from the sentence that opens it."""

from __future__ import annotations

import ast
from pathlib import Path

_FOLDERS = ("src/ifmem", "tools")


def render(root: Path) -> str:
    """A table for each folder of modules."""
    lines: list[str] = []
    folder = ""
    for path in _modules(root):
        here = path.parent.relative_to(root).as_posix()
        if here != folder:
            folder = here
            lines += ["", f"**{folder}/** {_own_purpose(path.parent)}".rstrip(), ""]
            lines += ["| file | purpose |", "| --- | --- |"]
        if path.name != "__init__.py":
            lines.append(f"| `{path.name}` | {purpose(path)} |")
    return "\n".join(lines[1:]) + "\n"


def purpose(path: Path) -> str:
    """The first sentence of a module, fit for a table; a Lua file's opening comment."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".lua":
        return text.partition("\n--\n")[0].replace("-- ", "").replace("\n", " ").split(". ")[0]
    opening = ast.get_docstring(ast.parse(text)) or ""
    return " ".join(opening.split("\n\n")[0].split()).rstrip(":.").replace("|", "\\|")


def _modules(root: Path) -> list[Path]:
    found = [
        path
        for folder in _FOLDERS
        for pattern in ("*.py", "*.lua")
        for path in (root / folder).rglob(pattern)
    ]
    return sorted(found, key=lambda path: (path.parent, path.name != "__init__.py", path.name))


def _own_purpose(folder: Path) -> str:
    opening = folder / "__init__.py"
    return purpose(opening) if opening.exists() else ""
