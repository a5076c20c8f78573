"""What providers last reported of prefixes, kept over restarts."""

from __future__ import annotations

import sqlite3

import msgspec

from ifmem.engine.hotness import Hotness


def keep(connection: sqlite3.Connection, hotness: Hotness, *, at: str) -> None:
    """Remember the newest report of a prefix."""
    connection.execute(
        "INSERT OR REPLACE INTO hotness VALUES (?, ?, ?, ?)",
        (hotness.model, hotness.prefix_sha256, at, msgspec.json.encode(hotness).decode()),
    )


def forget(connection: sqlite3.Connection, model: str, prefix_sha256: str) -> None:
    """A prefix that no shard has any more; one that is not known is fine."""
    connection.execute(
        "DELETE FROM hotness WHERE model = ? AND prefix_sha256 = ?", (model, prefix_sha256)
    )


def all_reports(connection: sqlite3.Connection) -> list[Hotness]:
    """Every report, the newest last."""
    rows = connection.execute("SELECT report FROM hotness ORDER BY reported_at")
    return [msgspec.json.decode(report, type=Hotness) for (report,) in rows]
