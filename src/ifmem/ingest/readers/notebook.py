"""Jupyter notebooks: cells in order, Markdown as prose, code as code, short outputs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import PurePosixPath

from ifmem.domain.document import Kind
from ifmem.ingest.decode import clean
from ifmem.ingest.readers import plain
from ifmem.ingest.reading import Part, Reading, Unreadable

_OUTPUT_CHARACTERS = 2_000
_SUFFIXES = {"python": ".py", "r": ".r", "julia": ".jl", "javascript": ".js", "rust": ".rs"}


def read(data: bytes, name: str) -> Reading:
    """One part per cell, ``cell N`` counted from 1; an output follows its cell.

    Raises:
        Unreadable: not a notebook of format 3 or 4.
    """
    try:
        notebook = json.loads(plain.text_of(data))
    except (ValueError, RecursionError) as error:
        raise Unreadable("is no valid notebook: its JSON is damaged") from error
    cells = _cells(notebook)
    suffix = _SUFFIXES.get(_language(notebook), ".py")
    stem = PurePosixPath(name).stem
    parts = [
        part
        for number, cell in enumerate(cells, start=1)
        for part in _parts(cell, f"cell {number}", stem, suffix)
    ]
    return Reading(parts=tuple(parts), kind=Kind.CODE, format="notebook")


def _cells(notebook: object) -> list[dict[str, object]]:
    if isinstance(notebook, dict):
        cells = notebook.get("cells")
        sheets = notebook.get("worksheets")
        if cells is None and isinstance(sheets, list):
            cells = [c for s in sheets if isinstance(s, dict) for c in s.get("cells", ())]
        if isinstance(cells, list):
            return [cell for cell in cells if isinstance(cell, dict)]
    raise Unreadable("is no valid notebook: it has no cells")


def _language(notebook: object) -> str:
    at = notebook
    for key in ("metadata", "kernelspec", "language"):
        at = at.get(key) if isinstance(at, dict) else None
    return at.lower() if isinstance(at, str) else "python"


def _parts(cell: dict[str, object], locator: str, stem: str, suffix: str) -> Iterator[Part]:
    source = joined(cell.get("source", cell.get("input")))
    if cell.get("cell_type") == "code":
        if source.strip():
            yield Part(text=source, kind=Kind.CODE, name=stem + suffix, locator=locator)
        output = "\n".join(_outputs(cell.get("outputs")))
        if output.strip():
            text = f"{output[:_OUTPUT_CHARACTERS].rstrip()}{_cut(output)}"
            yield Part(
                text=text, kind=Kind.DATA, name=stem + ".txt", header="output", locator=locator
            )
    elif source.strip():
        yield Part(text=source, kind=Kind.PROSE, name=stem + ".md", locator=locator)


def _cut(output: str) -> str:
    left_out = len(output.rstrip()) - _OUTPUT_CHARACTERS
    return f"\n… {left_out} further characters of output" if left_out > 0 else ""


def _outputs(outputs: object) -> Iterator[str]:
    for output in outputs if isinstance(outputs, list) else ():
        if not isinstance(output, dict):
            continue
        bundle = output.get("data")
        shown = bundle.get("text/plain") if isinstance(bundle, dict) else None
        failure = ": ".join(str(output[key]) for key in ("ename", "evalue") if key in output)
        text = joined(output.get("text", shown)) or failure
        if text:
            yield text


def joined(lines: object) -> str:
    """The text of a notebook field, which holds a string or a list of lines."""
    if isinstance(lines, list):
        lines = "".join(line for line in lines if isinstance(line, str))
    return clean(lines) if isinstance(lines, str) else ""
