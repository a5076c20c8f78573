"""Write the parts of the documents that are made from the code and from measurements.

    python tools/documents.py            write them
    python tools/documents.py --check    exit 1 and name those that are out of date

A part stands between ``<!-- name -->`` and ``<!-- /name -->``; what is around it is written by
hand and left alone.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import command_page
import file_table
import measured
import settings_table

import claims

ROOT = Path(__file__).resolve().parent.parent

PARTS: Mapping[str, Mapping[str, Callable[[Path], str]]] = {
    "AGENTS.md": {"files": file_table.render},
    "README.md": {"claims": claims.render_short},
    "docs/claims.md": {"claims": claims.render},
    "docs/cli.md": {"commands": command_page.render},
    "docs/retrieval.md": {"measured": measured.render_retrieval},
    "docs/settings.md": {"settings": settings_table.render},
    "docs/deployment.md": {"measured": measured.render_sizing},
}
"""Document, name of the part, and what writes it from the project's root."""


def rendered(root: Path, document: str) -> str:
    """The document as it should be.

    Raises:
        ValueError: it lacks the marks of a part.
    """
    text = (root / document).read_text(encoding="utf-8")
    for name, render in PARTS[document].items():
        marks = re.compile(rf"(<!-- {name} -->\n)(.*?)(<!-- /{name} -->)", re.DOTALL)
        if marks.search(text) is None:
            raise ValueError(f"{document} has no <!-- {name} --> … <!-- /{name} -->")
        before, opening, _, closing, after = marks.split(text, maxsplit=1)
        text = f"{before}{opening}{render(root).rstrip()}\n{closing}{after}"
    return text


def out_of_date(root: Path) -> list[str]:
    """The documents whose parts no longer say what they are made from."""
    return [
        document
        for document in PARTS
        if rendered(root, document) != (root / document).read_text(encoding="utf-8")
    ]


def main() -> int:
    """Write the parts, or with ``--check`` only name the documents that differ."""
    stale = out_of_date(ROOT)
    if "--check" not in sys.argv[1:]:
        for document in stale:
            (ROOT / document).write_text(rendered(ROOT, document), encoding="utf-8")
    for document in stale:
        sys.stdout.write(document + "\n")
    return int(bool(stale) and "--check" in sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
