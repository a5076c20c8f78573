"""Shards in the store: their parts, kept within capacity by the transaction that adds one."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass

from ifmem.domain.shard import Shard, Speciality
from ifmem.wire.blob import BlobPart, BlobPassage


@dataclass(frozen=True, slots=True)
class Part:
    """A part as it lies in its shard."""

    part_id: int
    content_id: int
    tokens: int
    bytes: int


def open_default_shards(connection: sqlite3.Connection, capacity: int) -> None:
    """Shards 1 to 4, one for each speciality, unless they are there."""
    connection.executemany(
        "INSERT OR IGNORE INTO shard (number, speciality, capacity) VALUES (?, ?, ?)",
        [(number, speciality, capacity) for number, speciality in enumerate(Speciality, 1)],
    )


def open_sibling(
    connection: sqlite3.Connection, number: int, speciality: Speciality, capacity: int
) -> None:
    """A further shard of a speciality."""
    connection.execute(
        "INSERT INTO shard (number, speciality, capacity) VALUES (?, ?, ?)",
        (number, speciality, capacity),
    )


ARCHIVE = 0
"""The shard that archived documents lie on: it has no bound, and is never on the bus."""


def all_shards(connection: sqlite3.Connection) -> list[Shard]:
    """Every live shard, by number."""
    rows = connection.execute(
        "SELECT number, speciality, capacity, tokens, generation, parts FROM shard "
        "WHERE number > 0 ORDER BY number"
    )
    return [
        Shard(
            number=number,
            speciality=Speciality(speciality),
            capacity=capacity,
            tokens=tokens,
            generation=generation,
            documents=parts,
        )
        for number, speciality, capacity, tokens, generation, parts in rows
    ]


def append_part(
    connection: sqlite3.Connection,
    *,
    content_id: int,
    ordinal: int,
    shard: int,
    tokens: int,
    bytes: int,
) -> int:
    """Put a part at the end of a shard; its id.

    Raises:
        sqlite3.IntegrityError: the shard would exceed its capacity.
    """
    (position,) = connection.execute(
        "UPDATE shard SET tokens = tokens + ?, parts = parts + 1, "
        "next_position = next_position + 1 "
        "WHERE number = ? RETURNING next_position - 1",
        (tokens, shard),
    ).fetchone()
    cursor = connection.execute(
        "INSERT INTO part (content_id, ordinal, shard, position, tokens, bytes) "
        "VALUES (?, ?, ?, ?, ?, ?)",
        (content_id, ordinal, shard, position, tokens, bytes),
    )
    assert cursor.lastrowid is not None
    return cursor.lastrowid


def release_parts(connection: sqlite3.Connection, content_id: int) -> list[int]:
    """Give the tokens of a content's parts back; the shards, each in a new generation."""
    rows = connection.execute(
        "SELECT shard, sum(tokens), count(*) FROM part WHERE content_id = ? GROUP BY shard",
        (content_id,),
    ).fetchall()
    connection.executemany(
        "UPDATE shard SET tokens = tokens - ?, parts = parts - ?, generation = generation + 1 "
        "WHERE number = ?",
        [(tokens, parts, shard) for shard, tokens, parts in rows],
    )
    return [shard for shard, _, _ in rows]


def recount_part_of(connection: sqlite3.Connection, passage_id: int) -> int:
    """Count a part anew after one of its passages became smaller; its shard, in a new generation.

    The sum over passages bounds the part's tokens from above and never exceeds what they were.
    """
    part_id, shard, before, size, after = connection.execute(
        "SELECT part.part_id, shard, part.tokens, sum(length(CAST(p.text AS BLOB))), "
        "min(part.tokens, sum(p.tokens)) FROM part JOIN passage p USING (part_id) "
        "WHERE part_id = (SELECT part_id FROM passage WHERE passage_id = ?)",
        (passage_id,),
    ).fetchone()
    connection.execute(
        "UPDATE part SET tokens = ?, bytes = ? WHERE part_id = ?", (after, size, part_id)
    )
    connection.execute(
        "UPDATE content SET tokens = tokens - ? WHERE content_id = "
        "(SELECT content_id FROM part WHERE part_id = ?)",
        (before - after, part_id),
    )
    connection.execute(
        "UPDATE shard SET tokens = tokens - ?, generation = generation + 1 WHERE number = ?",
        (before - after, shard),
    )
    return int(shard)


def set_capacity(connection: sqlite3.Connection, number: int, capacity: int) -> None:
    """Change what a shard may hold, o200k.

    Raises:
        sqlite3.IntegrityError: it holds more.
    """
    connection.execute("UPDATE shard SET capacity = ? WHERE number = ?", (capacity, number))


def move_part(
    connection: sqlite3.Connection, part_id: int, taker: int
) -> tuple[list[int], list[int]]:
    """Put a part at the end of another shard; its passages' ids as they were, and as they are.

    They get new ones, since an index knows a passage and its shard by id; what an encoder made of
    them goes with them. Giver and taker are in a new generation: the text of both has changed by
    more than what a load appends.

    Raises:
        sqlite3.IntegrityError: the taker would exceed its capacity.
    """
    giver, tokens = connection.execute(
        "SELECT shard, tokens FROM part WHERE part_id = ?", (part_id,)
    ).fetchone()
    connection.execute(
        "UPDATE shard SET tokens = tokens - ?, parts = parts - 1, generation = generation + 1 "
        "WHERE number = ?",
        (tokens, giver),
    )
    (position,) = connection.execute(
        "UPDATE shard SET tokens = tokens + ?, parts = parts + 1, generation = generation + 1, "
        "next_position = next_position + 1 WHERE number = ? RETURNING next_position - 1",
        (tokens, taker),
    ).fetchone()
    connection.execute(
        "UPDATE part SET shard = ?, position = ? WHERE part_id = ?", (taker, position, part_id)
    )
    return _renew_passages(connection, part_id)


def _renew_passages(connection: sqlite3.Connection, part_id: int) -> tuple[list[int], list[int]]:
    columns = (
        "content_id, part_id, ordinal, first_line, last_line, tokens, header, speaker, said_at, "
        "locator, text"
    )
    rows = connection.execute(
        f"SELECT passage_id, {columns} FROM passage WHERE part_id = ? ORDER BY ordinal", (part_id,)
    ).fetchall()
    made = {
        passage_id: (encoder, vectors)
        for passage_id, encoder, vectors in connection.execute(
            "SELECT passage_id, encoder, rows FROM passage_embedding JOIN passage "
            "USING (passage_id) WHERE part_id = ?",
            (part_id,),
        )
    }
    connection.execute("DELETE FROM passage WHERE part_id = ?", (part_id,))
    marks = ", ".join("?" * len(columns.split(", ")))
    renewed = []
    for before, *row in rows:
        after = connection.execute(
            f"INSERT INTO passage ({columns}) VALUES ({marks})", row
        ).lastrowid
        assert after is not None
        renewed.append(after)
        if before in made:
            connection.execute(
                "INSERT INTO passage_embedding VALUES (?, ?, ?)", (after, *made[before])
            )
    return [before for before, *_ in rows], renewed


def shard_near(
    connection: sqlite3.Connection, directory: str, speciality: Speciality
) -> int | None:
    """The shard that the last document of a directory went to."""
    row = connection.execute(
        "SELECT shard FROM neighbourhood WHERE directory = ? AND speciality = ?",
        (directory, speciality),
    ).fetchone()
    return None if row is None else int(row[0])


def remember_neighbour(
    connection: sqlite3.Connection, directory: str, speciality: Speciality, shard: int
) -> None:
    """The next document of this directory is placed beside this one."""
    connection.execute(
        "INSERT OR REPLACE INTO neighbourhood VALUES (?, ?, ?)", (directory, speciality, shard)
    )


def parts_of(connection: sqlite3.Connection, shard: int) -> list[Part]:
    """The parts of a shard, in the order they were appended."""
    rows = connection.execute(
        "SELECT part_id, content_id, tokens, bytes FROM part WHERE shard = ? ORDER BY position",
        (shard,),
    )
    return [Part(*row) for row in rows]


def parts_of_content(connection: sqlite3.Connection, content_id: int) -> list[tuple[int, int]]:
    """The parts of a content in order, each with its tokens."""
    return connection.execute(
        "SELECT part_id, tokens FROM part WHERE content_id = ? ORDER BY ordinal", (content_id,)
    ).fetchall()


def blob_parts(connection: sqlite3.Connection, part_ids: Sequence[int]) -> list[BlobPart]:
    """Parts as a blob's header describes them."""
    found = []
    for part_id in part_ids:
        source, sha256, kind, tokens = connection.execute(
            "SELECT (SELECT min(d.source) FROM document d WHERE d.content_id = c.content_id), "
            "c.sha256, c.kind, part.tokens "
            "FROM part JOIN content c USING (content_id) WHERE part_id = ?",
            (part_id,),
        ).fetchone()
        # Counted here: SQLite's length() ends at a NUL.
        passages = [
            BlobPassage(len(text), *row)
            for text, *row in connection.execute(
                "SELECT text, ordinal, first_line, last_line, tokens, header "
                "FROM passage WHERE part_id = ? ORDER BY ordinal",
                (part_id,),
            )
        ]
        found.append(BlobPart(source, sha256, kind, tokens, tuple(passages)))
    return found


def text_of_parts(connection: sqlite3.Connection, part_ids: Sequence[int]) -> str:
    """The texts of these parts, joined."""
    texts: list[str] = []
    for part_id in part_ids:
        texts += (
            row[0]
            for row in connection.execute(
                "SELECT text FROM passage WHERE part_id = ? ORDER BY ordinal", (part_id,)
            )
        )
    return "".join(texts)
