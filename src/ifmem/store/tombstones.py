"""What was forgotten and must not come back: marks that tell nothing to who lacks the key.

A mark is HMAC-SHA256 of kind and name under ``audit.key``: paths and short texts could be guessed
from a plain digest. Ids of findings are random, tell nothing, and stay in the table ``forgotten``.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import sqlite3
from pathlib import Path
from typing import Final, Literal

from ifmem.errors import Failed
from ifmem.store import audit_anchor

Kind = Literal["finding", "content", "source", "passage", "session"]
FINDING: Final = "finding"
CONTENT: Final = "content"
"""Named by the digest of the bytes as read."""
SOURCE: Final = "source"
PASSAGE: Final = "passage"
"""Named as ``passage_place`` and ``passage_text`` say."""
SESSION: Final = "session"

_LEAST_TEXT = 12
"""Characters of a passage that are no blanks, for its text alone to be known again: a forgotten
"yes" must not blank every other."""


def blocked(connection: sqlite3.Connection, kind: Kind, name: str) -> bool:
    """Whether this was forgotten, and nobody has lifted that since.

    Args:
        connection: any of the store's.
        kind: of the name.
        name: a finding's id, the sha256 of a content's bytes as read, a source, a session's id, or
            a passage as ``passage_place`` or ``passage_text`` names it.

    Raises:
        Failed: something was forgotten, and the key is gone.
    """
    if kind == FINDING:
        return _has(connection, "forgotten", "id", name)
    if not any_of(connection, kind):
        return False
    return _has(connection, "tombstone", "mark", mark(connection, kind, name))


def is_passage_blocked(
    connection: sqlite3.Connection, sha256: str, ordinal: int, text: str
) -> bool:
    """Whether a passage was forgotten, at its place or by its own words."""
    names = (passage_place(sha256, ordinal), passage_text(text))
    return any(name is not None and blocked(connection, PASSAGE, name) for name in names)


def any_of(connection: sqlite3.Connection, kind: Kind) -> bool:
    """Whether anything of a kind was forgotten: spares who stores much the making of marks."""
    row = connection.execute("SELECT 1 FROM tombstone WHERE kind = ? LIMIT 1", (kind,)).fetchone()
    return row is not None


def put(
    connection: sqlite3.Connection,
    kind: Kind,
    name: str,
    *,
    at: str,
    by: str,
    because: str | None = None,
) -> str:
    """Mark this as forgotten; the mark, or for a finding its id.

    Args:
        because: the mark of what was named, when that is something else: this goes with it.
    """
    if kind == FINDING:
        connection.execute("INSERT OR IGNORE INTO forgotten VALUES (?, ?)", (name, at))
        return name
    made = mark(connection, kind, name)
    connection.execute(
        "INSERT OR REPLACE INTO tombstone VALUES (?, ?, ?, ?, ?)", (made, kind, at, by, because)
    )
    return made


def lift(connection: sqlite3.Connection, kind: Kind, name: str) -> int:
    """Take a mark away, with those that came with it; how many there were."""
    if kind == FINDING:
        return connection.execute("DELETE FROM forgotten WHERE id = ?", (name,)).rowcount
    marked = mark(connection, kind, name)
    return connection.execute(
        "DELETE FROM tombstone WHERE mark = ? OR because = ?", (marked, marked)
    ).rowcount


def lift_all(connection: sqlite3.Connection) -> int:
    """Take every mark away; how many there were."""
    return sum(
        connection.execute(f"DELETE FROM {table}").rowcount for table in ("tombstone", "forgotten")
    )


def findings_since(connection: sqlite3.Connection, at: str, limit: int) -> list[tuple[str, str]]:
    """Ids of forgotten findings with the moment, from a moment on, in that order."""
    rows = connection.execute(
        "SELECT id, forgotten_at FROM forgotten WHERE forgotten_at >= ? "
        "ORDER BY forgotten_at, id LIMIT ?",
        (at, limit),
    )
    return [(str(one), str(moment)) for one, moment in rows]


def mark(connection: sqlite3.Connection, kind: Kind, name: str) -> str:
    """How a forgotten thing is known."""
    said = f"{kind}\0{name}".encode("utf-8", "surrogateescape")
    return hmac.new(_key(connection), said, hashlib.sha256).hexdigest()


def passage_place(sha256: str, ordinal: int) -> str:
    """The name of a passage by its place, which is its public id."""
    return f"{sha256[:16]}:{ordinal}"


def passage_text(text: str) -> str | None:
    """The name of a passage by its own words, wherever they stand; None for too few of them."""
    words = " ".join(text.split())
    if len(re.sub(r"\s", "", words)) < _LEAST_TEXT:
        return None
    return "text:" + hashlib.sha256(words.encode("utf-8", "surrogateescape")).hexdigest()


def _has(connection: sqlite3.Connection, table: str, column: str, value: str) -> bool:
    found = connection.execute(f"SELECT 1 FROM {table} WHERE {column} = ?", (value,)).fetchone()
    return found is not None


def _key(connection: sqlite3.Connection) -> bytes:
    (_, _, file) = connection.execute("PRAGMA database_list").fetchone()
    key = audit_anchor.read_key(Path(file))
    if key is None:
        raise Failed(
            f"{audit_anchor.key_file(Path(file))} is gone, and with it what was forgotten cannot "
            "be known again: restore it from a copy"
        )
    return key
