"""Documents in the store: what is known of a path, saving a text, removing it."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from ifmem.domain.document import Draft, Kind, Span
from ifmem.domain.passage import Passage
from ifmem.domain.task import NO_RUN
from ifmem.store.chunks import in_chunks


@dataclass(frozen=True, slots=True)
class Known:
    """What the store knows of a file: enough to tell that it did not change."""

    content_id: int
    size: int
    mtime_ns: int
    inode: int


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a content was read: one row of ``document``."""

    source: str
    root: str
    size: int
    mtime_ns: int
    inode: int
    loaded_at: str
    trust: str = "user"
    """``captured`` for what an agent's hook brought."""
    run: str = NO_RUN
    """The session that loads it."""
    agent: str = "user"
    """Who does."""


class Head(NamedTuple):
    """A passage without its text: by what the context that holds it names it."""

    sha256: str
    ordinal: int
    title: str
    header: str


_PASSAGES = """
    SELECT p.passage_id, p.content_id, p.ordinal, c.sha256, part.shard,
           (SELECT substr(min((d.trust = 'captured') || d.source), 2)
            FROM document d WHERE d.content_id = c.content_id),
           c.title, c.kind, c.conversation, p.first_line, p.last_line, p.tokens, p.header,
           p.speaker, p.said_at, p.locator, p.text,
           (SELECT max(d.trust) FROM document d WHERE d.content_id = c.content_id),
           (SELECT max(d.loaded_at) FROM document d WHERE d.content_id = c.content_id)
    FROM passage p JOIN content c USING (content_id) JOIN part USING (part_id)
"""


def known_below(connection: sqlite3.Connection, root: str) -> dict[str, Known]:
    """Every stored file whose path is ``root`` or lies below it."""
    rows = connection.execute(
        "SELECT source, content_id, size, mtime_ns, inode FROM document "
        "WHERE source = ? OR (source > ? AND source < ?)",
        (root, root.rstrip("/") + "/", root.rstrip("/") + "0"),  # '0' follows '/'
    )
    return {row[0]: Known(*row[1:]) for row in rows}


def content_of(connection: sqlite3.Connection, sha256: str, format: str) -> int | None:
    """The id of a stored text with this digest, or None."""
    row = connection.execute(
        "SELECT content_id FROM content WHERE sha256 = ? AND format = ?", (sha256, format)
    ).fetchone()
    return None if row is None else int(row[0])


def link(connection: sqlite3.Connection, origin: Origin, content_id: int) -> int | None:
    """Let a source lead to a content; the content it led to before, when that changed.

    Who has loaded the source is kept, and who loads it now is added.
    """
    before = connection.execute(
        "SELECT content_id FROM document WHERE source = ?", (origin.source,)
    ).fetchone()
    connection.execute(
        "INSERT INTO document (source, content_id, root, size, mtime_ns, inode, loaded_at, trust) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET content_id = "
        "excluded.content_id, root = excluded.root, size = excluded.size, mtime_ns = "
        "excluded.mtime_ns, inode = excluded.inode, loaded_at = excluded.loaded_at, trust = "
        "excluded.trust",
        (
            origin.source,
            content_id,
            origin.root,
            origin.size,
            origin.mtime_ns,
            origin.inode,
            origin.loaded_at,
            origin.trust,
        ),
    )
    connection.execute(
        "INSERT OR IGNORE INTO document_session VALUES (?, ?)", (origin.source, origin.run)
    )
    return int(before[0]) if before is not None and before[0] != content_id else None


def is_users(connection: sqlite3.Connection, source: str) -> bool:
    """True for a document that its user has loaded himself."""
    row = connection.execute("SELECT trust FROM document WHERE source = ?", (source,)).fetchone()
    return row is not None and row[0] == "user"


def unlink(connection: sqlite3.Connection, source: str) -> int | None:
    """Remove a source; the content it led to, or None when it was not there."""
    row = connection.execute(
        "DELETE FROM document WHERE source = ? RETURNING content_id", (source,)
    ).fetchone()
    return None if row is None else int(row[0])


def insert_content(connection: sqlite3.Connection, draft: Draft, *, title: str, tokens: int) -> int:
    """Store the text's head; its parts and passages follow."""
    cursor = connection.execute(
        "INSERT INTO content (sha256, format, kind, conversation, title, size, tokens, masked) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (
            draft.sha256,
            draft.format,
            draft.kind,
            draft.group,
            title,
            draft.size,
            tokens,
            draft.masked,
        ),
    )
    assert cursor.lastrowid is not None
    return cursor.lastrowid


def insert_passages(
    connection: sqlite3.Connection,
    *,
    content_id: int,
    part_id: int,
    ordinals: range,
    spans: Sequence[Span],
    tokens: Sequence[int],
    text: str,
) -> None:
    """Store the passages ``ordinals`` of a text, all in one part."""
    connection.executemany(
        "INSERT INTO passage (content_id, part_id, ordinal, first_line, last_line, tokens, "
        "header, speaker, said_at, locator, text) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            (
                content_id,
                part_id,
                ordinal,
                (span := spans[ordinal]).first_line,
                span.last_line,
                tokens[ordinal],
                span.header,
                span.speaker,
                span.said_at,
                span.locator,
                text[span.start : span.end],
            )
            for ordinal in ordinals
        ),
    )


def is_linked(connection: sqlite3.Connection, content_id: int) -> bool:
    """True while a source leads to the content."""
    return (
        connection.execute(
            "SELECT 1 FROM document WHERE content_id = ? LIMIT 1", (content_id,)
        ).fetchone()
        is not None
    )


def delete_content(connection: sqlite3.Connection, content_id: int) -> list[int]:
    """Remove a text with its parts and passages; the ids of the passages that went."""
    gone = [
        int(row[0])
        for row in connection.execute(
            "SELECT passage_id FROM passage WHERE content_id = ?", (content_id,)
        )
    ]
    connection.execute("DELETE FROM content WHERE content_id = ?", (content_id,))
    return gone


def passages_of(connection: sqlite3.Connection, content_id: int) -> list[Passage]:
    """The passages of a text, in order."""
    rows = connection.execute(
        f"{_PASSAGES} WHERE p.content_id = ? ORDER BY p.ordinal", (content_id,)
    )
    return [Passage(*row) for row in rows]


def passages_by_id(connection: sqlite3.Connection, ids: Iterable[int]) -> dict[int, Passage]:
    """The passages with these ids; one that is gone is missing from the answer."""
    wanted = list(ids)
    found: dict[int, Passage] = {}
    for some, marks in in_chunks(wanted):
        rows = connection.execute(f"{_PASSAGES} WHERE p.passage_id IN ({marks})", some)
        found.update((row[0], Passage(*row)) for row in rows)
    return {one: found[one] for one in wanted if one in found}


def heads_by_id(connection: sqlite3.Connection, ids: Iterable[int]) -> dict[int, Head]:
    """What names the passages with these ids; one that is gone is missing from the answer."""
    found: dict[int, Head] = {}
    for some, marks in in_chunks(list(ids)):
        rows = connection.execute(
            "SELECT p.passage_id, c.sha256, p.ordinal, c.title, p.header "
            f"FROM passage p JOIN content c USING (content_id) WHERE p.passage_id IN ({marks})",
            some,
        )
        found.update((row[0], Head(*row[1:])) for row in rows)
    return found


def tokens_by_id(connection: sqlite3.Connection, ids: Iterable[int]) -> dict[int, int]:
    """The tokens of the passages with these ids; one that is gone is missing from the answer."""
    found: dict[int, int] = {}
    for some, marks in in_chunks(list(ids)):
        found.update(
            connection.execute(
                f"SELECT passage_id, tokens FROM passage WHERE passage_id IN ({marks})", some
            )
        )
    return found


def passages_at(
    connection: sqlite3.Connection, sha256: str, ordinals: Sequence[int]
) -> list[Passage]:
    """The passages at these places of the texts with a digest, each text's in order."""
    marks = ", ".join("?" * len(ordinals))
    rows = connection.execute(
        f"{_PASSAGES} WHERE c.sha256 = ? AND p.ordinal IN ({marks}) "
        "ORDER BY p.content_id, p.ordinal",
        (sha256, *ordinals),
    )
    return [Passage(*row) for row in rows]


def passages_after(connection: sqlite3.Connection, passage_id: int) -> Iterable[Passage]:
    """Every passage stored after one, in the order stored."""
    for row in connection.execute(
        f"{_PASSAGES} WHERE p.passage_id > ? ORDER BY p.passage_id", (passage_id,)
    ):
        yield Passage(*row)


def passage_ids(connection: sqlite3.Connection) -> set[int]:
    """The id of every passage."""
    return {row[0] for row in connection.execute("SELECT passage_id FROM passage")}


def text_of(connection: sqlite3.Connection, content_id: int) -> str:
    """The masked text of a content, as its passages give it back."""
    rows = connection.execute(
        "SELECT text FROM passage WHERE content_id = ? ORDER BY ordinal", (content_id,)
    )
    return "".join(row[0] for row in rows)


def kind_and_title(connection: sqlite3.Connection, content_id: int) -> tuple[Kind, str]:
    """What a stored text is, and its path below its root."""
    kind, title = connection.execute(
        "SELECT kind, title FROM content WHERE content_id = ?", (content_id,)
    ).fetchone()
    return Kind(kind), str(title)


def content_at(connection: sqlite3.Connection, source: str) -> tuple[int, str] | None:
    """The content that a source leads to, with the digest of its bytes."""
    row: tuple[int, str] | None = connection.execute(
        "SELECT content_id, sha256 FROM document JOIN content USING (content_id) WHERE source = ?",
        (source,),
    ).fetchone()
    return row


def find_passage(
    connection: sqlite3.Connection, sha256_start: str, ordinal: int
) -> tuple[int, int] | None:
    """Content and ordinal of the passage that a public id names."""
    row: tuple[int, int] | None = connection.execute(
        "SELECT content_id, ordinal FROM passage JOIN content USING (content_id) "
        "WHERE sha256 >= ? AND sha256 < ? || 'g' AND ordinal = ?",
        (sha256_start, sha256_start, ordinal),
    ).fetchone()
    return row


def blank_passage(
    connection: sqlite3.Connection, content_id: int, ordinal: int
) -> tuple[int, int] | None:
    """Replace a passage by one of its line ends alone: the old id and the new one.

    None when it was blank already.
    """
    row = connection.execute(
        "SELECT passage_id, part_id, first_line, last_line, locator, text FROM passage "
        "WHERE content_id = ? AND ordinal = ?",
        (content_id, ordinal),
    ).fetchone()
    passage_id, part_id, first_line, last_line, locator, text = row
    blanked = "\n" * text.count("\n")
    if text == blanked:
        return None
    connection.execute("DELETE FROM passage WHERE passage_id = ?", (passage_id,))
    cursor = connection.execute(
        "INSERT INTO passage (content_id, part_id, ordinal, first_line, last_line, tokens, "
        "header, locator, text) VALUES (?, ?, ?, ?, ?, ?, '', ?, ?)",
        (
            content_id,
            part_id,
            ordinal,
            first_line,
            last_line,
            1 if blanked else 0,
            locator,
            blanked,
        ),
    )
    assert cursor.lastrowid is not None
    return int(passage_id), cursor.lastrowid
