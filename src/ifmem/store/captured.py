"""Captured documents in the store: which there are, since when, and which become their user's."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class StoredDocument:
    """What is stored of a source."""

    sha256: str
    """Of the bytes as read."""
    shard: int
    """Of its first part."""
    trust: str
    loaded_at: str


def document(connection: sqlite3.Connection, source: str) -> StoredDocument | None:
    """What is stored of a source, or None."""
    row = connection.execute(
        "SELECT c.sha256, part.shard, d.trust, d.loaded_at FROM document d "
        "JOIN content c USING (content_id) "
        "JOIN part ON part.content_id = c.content_id AND part.ordinal = 0 WHERE d.source = ?",
        (source,),
    ).fetchone()
    return None if row is None else StoredDocument(*row)


def sources(connection: sqlite3.Connection, *, since: str = "", before: str = "~") -> list[str]:
    """The captured documents from ``since`` on, up to but without ``before``; both ISO-8601."""
    rows = connection.execute(
        "SELECT source FROM document WHERE trust = 'captured' AND loaded_at >= ? "
        "AND loaded_at < ? ORDER BY source",
        (since, before),
    )
    return [str(row[0]) for row in rows]


def give_to_user(connection: sqlite3.Connection, wanted: Iterable[str]) -> None:
    """Make these documents their user's: he has loaded them himself."""
    connection.executemany(
        "UPDATE document SET trust = 'user' WHERE source = ? AND trust = 'captured'",
        ((source,) for source in wanted),
    )
