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


def of_keys(
    connection: sqlite3.Connection, encoder: str, keys: Iterable[int]
) -> list[tuple[int, bytes]]:
    """What an encoder made of these passages and findings, by key."""
    found = []
    for key in keys:
        table, column = (
            ("passage_embedding", "passage_id") if key > 0 else ("finding_embedding", "sequence")
        )
        row = connection.execute(
            f"SELECT rows FROM {table} WHERE {column} = ? AND encoder = ?", (abs(key), encoder)
        ).fetchone()
        if row is not None:
            found.append((key, row[0]))
    return found


def all_of(connection: sqlite3.Connection, encoder: str) -> Iterator[tuple[int, bytes]]:
    """Everything that an encoder made, by key."""
    yield from connection.execute(
        "SELECT passage_id, rows FROM passage_embedding WHERE encoder = ? "
        "UNION ALL SELECT -sequence, rows FROM finding_embedding WHERE encoder = ?",
        (encoder, encoder),
    )
