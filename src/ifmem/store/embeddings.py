"""Vectors of passages and findings, kept because they are slow to make.

A key is a passage's id, or a finding's sequence, negative, as in the index.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator


def keep(
    connection: sqlite3.Connection, encoder: str, embedded: Iterable[tuple[int, bytes]]
) -> None:
    """Store vectors; those of a text that was removed meanwhile are passed over."""
    for key, rows in embedded:
        if key > 0:
            connection.execute(
                "INSERT OR REPLACE INTO passage_embedding "
                "SELECT passage_id, ?, ? FROM passage WHERE passage_id = ?",
                (encoder, rows, key),
            )
        else:
            connection.execute(
                "INSERT OR REPLACE INTO finding_embedding "
                "SELECT sequence, ?, ? FROM finding WHERE sequence = ?",
                (encoder, rows, -key),
            )


def of_passages(
    connection: sqlite3.Connection, encoder: str, ids: Iterable[int]
) -> list[tuple[int, bytes]]:
    """What an encoder made of these passages, by id."""
    found = []
    for passage_id in ids:
        found += connection.execute(
            "SELECT passage_id, rows FROM passage_embedding WHERE passage_id = ? AND encoder = ?",
            (passage_id, encoder),
        ).fetchall()
    return found


def all_of(connection: sqlite3.Connection, encoder: str) -> Iterator[tuple[int, bytes]]:
    """Everything that an encoder made, by key."""
    yield from connection.execute(
        "SELECT passage_id, rows FROM passage_embedding WHERE encoder = ? "
        "UNION ALL SELECT -sequence, rows FROM finding_embedding WHERE encoder = ?",
        (encoder, encoder),
    )
