"""Rows of a labelled set as a document: one passage for each row, longer ones cut further."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import msgspec

from ifmem.domain.document import Draft, Kind, Span
from ifmem.engine.kinds import kind_of
from ifmem.engine.masking import mask
from ifmem.engine.passages import MAX_CHARACTERS, split
from ifmem.ingest.passages import masked_labels
from ifmem.wire.calls import Row


def read_rows(rows: Sequence[Row], *, source: str, group: str | None) -> Draft:
    """The rows in their order; the locator of each passage is its row's id."""
    path = next((row.path for row in rows if row.path), None)
    chat = any(row.speaker for row in rows)
    kind = Kind.CHAT if chat else kind_of(path) if path else Kind.PROSE
    texts: list[str] = []
    spans: list[Span] = []
    masked = 0
    start, line = 0, 1
    for row in rows:
        cleaned = mask(_written(row))
        masked += cleaned.count
        title, speaker, said_at, locator = masked_labels(
            row.title, row.speaker, row.timestamp, row.id
        )
        spans += (
            Span(
                start=start + piece.start,
                end=start + piece.end,
                first_line=line + piece.first_line - 1,
                last_line=line + piece.last_line - 1,
                header=title or piece.header,
                speaker=speaker,
                said_at=said_at,
                locator=locator,
            )
            for piece in _pieces(cleaned.text, kind, path or "")
        )
        texts.append(cleaned.text)
        start += len(cleaned.text)
        line += cleaned.text.count("\n")
    data = msgspec.json.encode(rows)
    return Draft(
        source=source,
        sha256=hashlib.sha256(data).hexdigest(),
        format="rows",
        kind=kind,
        text="".join(texts),
        spans=tuple(spans),
        size=len(data),
        masked=masked,
        group=group,
    )


def _written(row: Row) -> str:
    text = row.text if row.text.endswith("\n") else row.text + "\n"
    return f"{row.title}\n{text}" if row.title else text


def _pieces(text: str, kind: Kind, name: str) -> Sequence[Span]:
    if len(text) <= MAX_CHARACTERS:
        lines = text.count("\n") if text.endswith("\n") else text.count("\n") + 1
        return (Span(start=0, end=len(text), first_line=1, last_line=max(lines, 1)),)
    return split(text, kind, name)
