"""Facts about the store itself."""

from __future__ import annotations

import sqlite3


def store_id(connection: sqlite3.Connection, *, new: str) -> str:
    """The store's own id; ``new`` when it has none yet."""
    connection.execute("INSERT OR IGNORE INTO meta VALUES ('store_id', ?)", (new,))
    (found,) = connection.execute("SELECT value FROM meta WHERE name = 'store_id'").fetchone()
    return str(found)
