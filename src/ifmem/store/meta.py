"""Facts about the store itself."""

from __future__ import annotations

import sqlite3

from ifmem.engine.recovery import StorePosition


def store_id(connection: sqlite3.Connection, *, new: str) -> str:
    """The store's own id; ``new`` when it has none yet."""
    connection.execute("INSERT OR IGNORE INTO meta VALUES ('store_id', ?)", (new,))
    (found,) = connection.execute("SELECT value FROM meta WHERE name = 'store_id'").fetchone()
    return str(found)


def position(connection: sqlite3.Connection) -> StorePosition:
    """How far the log of the bus is committed, and which bus that was."""
    rows = connection.execute(
        "SELECT name, value FROM meta WHERE name IN ('epoch', 'drained', 'run_id')"
    )
    found = dict(rows.fetchall())
    return StorePosition(
        epoch=int(found.get("epoch", "0")),
        drained=found.get("drained", "0-0"),
        run_id=found.get("run_id", ""),
    )


def set_position(connection: sqlite3.Connection, position: StorePosition) -> None:
    """Write the whole position."""
    _put(connection, "epoch", str(position.epoch))
    _put(connection, "drained", position.drained)
    _put(connection, "run_id", position.run_id)


def set_drained(connection: sqlite3.Connection, entry: str) -> None:
    """Write that the log is committed up to this entry; in the transaction that commits it."""
    _put(connection, "drained", entry)


def _put(connection: sqlite3.Connection, name: str, value: str) -> None:
    connection.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (name, value))
