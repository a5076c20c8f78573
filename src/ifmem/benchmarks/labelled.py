"""Labelled sets: directories in BEIR's format, and how their rows become documents of a memory."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import msgspec

from ifmem.benchmarks.ranked_lists import Query
from ifmem.client.memory import Memory
from ifmem.errors import Invalid, NotFound
from ifmem.wire.calls import Row

ROWS_A_DOCUMENT = 500
"""Rows that belong to no group are loaded in documents of so many."""


class CorpusRow(msgspec.Struct, frozen=True):
    """A line of ``corpus.jsonl``."""

    id: str = msgspec.field(name="_id")
    text: str
    title: str = ""
    group: str | None = None
    order: float = 0
    speaker: str | None = None
    timestamp: str | None = None
    path: str | None = None


class _QueryLine(msgspec.Struct, frozen=True):
    id: str = msgspec.field(name="_id")
    text: str
    group: str | None = None
    category: str | None = None


@dataclass(frozen=True, slots=True)
class LabelledSet:
    """Rows, and queries that have a relevant row."""

    name: str
    rows: tuple[CorpusRow, ...]
    queries: tuple[Query, ...]


def read_labelled_set(directory: Path) -> LabelledSet:
    """The set that lies in a directory: ``corpus.jsonl``, ``queries.jsonl`` and ``qrels.tsv``.

    Raises:
        NotFound: one of the files is missing.
        Invalid: a line cannot be read, or no query has a relevant row.
    """
    rows = _lines(directory / "corpus.jsonl", CorpusRow)
    judged = _judgements(directory / "qrels.tsv")
    queries = tuple(
        Query(line.id, line.text, line.group, line.category, judged[line.id])
        for line in _lines(directory / "queries.jsonl", _QueryLine)
        if line.id in judged
    )
    if not queries:
        raise Invalid(f"{directory} judges nothing: qrels.tsv names none of queries.jsonl")
    return LabelledSet(directory.resolve().name, tuple(rows), queries)


async def load_into(memory: Memory, rows: Sequence[CorpusRow]) -> None:
    """Load rows: a document for each group, in order, and batches of the rows without one.

    A document is named by its rows' path. Any other name would add words of its own to what is
    searched, so the rest are named by marks, which are no words.
    """
    for number, (group, held) in enumerate(_documents(rows)):
        path = held[0].path
        await memory.load_rows(
            [_as_row(row) for row in held],
            source=f"/{path}" if path else _wordless_name(number),
            group=group,
        )


def _documents(rows: Sequence[CorpusRow]) -> Iterator[tuple[str | None, list[CorpusRow]]]:
    groups: dict[str, list[CorpusRow]] = defaultdict(list)
    alone = []
    for row in rows:
        if row.group is None:
            alone.append(row)
        else:
            groups[row.group].append(row)
    for group, held in groups.items():
        yield group, sorted(held, key=lambda row: row.order)
    for start in range(0, len(alone), ROWS_A_DOCUMENT):
        yield None, alone[start : start + ROWS_A_DOCUMENT]


def _wordless_name(number: int) -> str:
    return "%:" + "".join("-=+"[int(digit)] for digit in _ternary(number))


def _ternary(number: int) -> str:
    return (_ternary(number // 3) if number >= 3 else "") + str(number % 3)


def _as_row(row: CorpusRow) -> Row:
    return Row(
        id=row.id,
        text=row.text,
        title=row.title,
        speaker=row.speaker,
        timestamp=row.timestamp,
        path=row.path,
    )


Line = TypeVar("Line")


def _lines(path: Path, kind: type[Line]) -> list[Line]:
    decoder = msgspec.json.Decoder(kind)
    read = []
    for number, line in enumerate(_text(path).splitlines(), 1):
        try:
            read.append(decoder.decode(line))
        except msgspec.MsgspecError as error:
            raise Invalid(f"{path}:{number} is not a line of BEIR's format: {error}") from error
    return read


def _judgements(path: Path) -> dict[str, dict[str, int]]:
    judged: dict[str, dict[str, int]] = defaultdict(dict)
    for number, line in enumerate(_text(path).splitlines()[1:], 2):
        try:
            query, document, grade = line.split("\t")
            if int(grade) > 0:
                judged[query][document] = int(grade)
        except ValueError as error:
            raise Invalid(
                f"{path}:{number} is no judgement: a query, a document and a whole number, "
                "with tabs between them"
            ) from error
    return judged


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").replace("\u2028", " ").replace("\x85", " ")
    except FileNotFoundError as error:
        raise NotFound(
            f"{path} does not exist: a set has corpus.jsonl, queries.jsonl and qrels.tsv"
        ) from error
