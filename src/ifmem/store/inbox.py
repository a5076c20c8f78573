"""What waits for a person: items, the tasks they block, and what the bus has still to be told."""

from __future__ import annotations

import sqlite3
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ifmem.domain.task import ENDED

_ITEMS = uuid.uuid5(uuid.NAMESPACE_URL, "urn:ifmem:inbox")
_ENDED = ", ".join(f"'{state}'" for state in sorted(ENDED))


@dataclass(frozen=True, slots=True)
class Item:
    """Something a person should decide, open while it has no outcome."""

    number: int
    item_id: str
    kind: str
    subject: str
    """The conflict's or finding's id."""
    rationale: str
    task_id: str | None
    opened_at: str
    outcome: str | None
    closed_at: str | None
    closed_by: str | None
    reason: str | None


@dataclass(frozen=True, slots=True)
class Block:
    """An item that keeps a task from being worked on."""

    item_id: str
    task_id: str


_COLUMNS = (
    "number, item_id, kind, subject, rationale, task_id, opened_at, outcome, closed_at, "
    "closed_by, reason"
)


def id_of(kind: str, subject: str) -> str:
    """The id of the item, or conflict, that a subject gives rise to: the same each time."""
    return str(uuid.uuid5(_ITEMS, f"{kind}:{subject}"))


def open_item(
    connection: sqlite3.Connection,
    *,
    item_id: str,
    kind: str,
    subject: str,
    rationale: str,
    at: str,
    task_id: str | None = None,
    told: bool = True,
) -> bool:
    """Put an item into the inbox; False when there is, or was, one of this kind and subject."""
    done = connection.execute(
        "INSERT OR IGNORE INTO inbox_item "
        "(item_id, kind, subject, rationale, task_id, opened_at, told) "
        "VALUES (?, ?, ?, ?, ?, ?, ?)",
        (item_id, kind, subject, rationale, task_id, at, told),
    )
    return done.rowcount > 0


def block(connection: sqlite3.Connection, item_id: str, task_ids: Iterable[str]) -> None:
    """Have an item block tasks for as long as it is open."""
    connection.executemany(
        "INSERT OR IGNORE INTO inbox_task (item_id, task_id) VALUES (?, ?)",
        [(item_id, one) for one in task_ids],
    )


def get(connection: sqlite3.Connection, item_id: str) -> Item | None:
    """The item of that id, or about the subject of that id: an open one, else the newest."""
    row = connection.execute(
        f"SELECT {_COLUMNS} FROM inbox_item WHERE item_id = ? OR subject = ? "
        "ORDER BY item_id = ? DESC, outcome IS NULL DESC, number DESC LIMIT 1",
        (item_id, item_id, item_id),
    ).fetchone()
    return None if row is None else Item(*row)


def page(
    connection: sqlite3.Connection,
    *,
    everything: bool,
    kind: str | None,
    after: int,
    limit: int,
) -> list[Item]:
    """Items after a number in their order; the closed ones too when everything is asked for."""
    where = ["number > ?"]
    values: list[object] = [after]
    if not everything:
        where.append("outcome IS NULL")
    if kind is not None:
        where.append("kind = ?")
        values.append(kind)
    rows = connection.execute(
        f"SELECT {_COLUMNS} FROM inbox_item WHERE {' AND '.join(where)} ORDER BY number LIMIT ?",
        (*values, limit),
    )
    return [Item(*row) for row in rows]


def close(
    connection: sqlite3.Connection,
    item_id: str,
    *,
    outcome: str,
    at: str,
    by: str,
    reason: str,
) -> None:
    """Note how an item was decided. Its tasks stay listed until the bus was told."""
    connection.execute(
        "UPDATE inbox_item SET outcome = ?, closed_at = ?, closed_by = ?, reason = ?, told = 1 "
        "WHERE item_id = ?",
        (outcome, at, by, reason, item_id),
    )


def open_count(connection: sqlite3.Connection, kind: str, *, at_most: int) -> int:
    """How many items of a kind are open, counted no further than this."""
    (number,) = connection.execute(
        "SELECT count(*) FROM (SELECT 1 FROM inbox_item WHERE kind = ? AND outcome IS NULL "
        "LIMIT ?)",
        (kind, at_most),
    ).fetchone()
    return int(number)


def tasks_of(connection: sqlite3.Connection, item_id: str) -> list[str]:
    """The tasks that an item blocks, or blocked until it was decided."""
    rows = connection.execute(
        "SELECT task_id FROM inbox_task WHERE item_id = ? ORDER BY task_id", (item_id,)
    )
    return [row[0] for row in rows]


def blocking(connection: sqlite3.Connection, task_ids: str) -> dict[str, list[str]]:
    """The open items that block each of these tasks.

    Args:
        task_ids: as a JSON array.
    """
    found: dict[str, list[str]] = {}
    rows = connection.execute(
        "SELECT b.task_id, b.item_id FROM inbox_task AS b "
        "JOIN inbox_item AS i ON i.item_id = b.item_id WHERE i.outcome IS NULL "
        "AND b.task_id IN (SELECT value FROM json_each(?)) ORDER BY i.number",
        (task_ids,),
    )
    for task_id, item_id in rows:
        found.setdefault(task_id, []).append(item_id)
    return found


def to_block(connection: sqlite3.Connection, limit: int) -> list[Block]:
    """Open tasks that an open item blocks and that the bus may not have as blocked."""
    rows = connection.execute(
        "SELECT b.item_id, b.task_id FROM inbox_task AS b "
        "JOIN inbox_item AS i ON i.item_id = b.item_id JOIN task AS t ON t.task_id = b.task_id "
        "WHERE b.told < 2 AND i.outcome IS NULL AND (b.told = 0 OR t.state <> 'blocked') "
        f"AND t.state NOT IN ({_ENDED}) LIMIT ?",
        (limit,),
    )
    return [Block(*row) for row in rows]


def to_unblock(connection: sqlite3.Connection, limit: int) -> list[Block]:
    """Tasks of decided items, until the bus was told."""
    rows = connection.execute(
        "SELECT b.item_id, b.task_id FROM inbox_task AS b "
        "JOIN inbox_item AS i ON i.item_id = b.item_id WHERE b.told < 2 "
        "AND i.outcome IS NOT NULL LIMIT ?",
        (limit,),
    )
    return [Block(*row) for row in rows]


def blocked(connection: sqlite3.Connection, done: Sequence[Block]) -> None:
    """The bus was told of these."""
    connection.executemany(
        "UPDATE inbox_task SET told = 1 WHERE item_id = ? AND task_id = ?",
        [(one.item_id, one.task_id) for one in done],
    )


def unblocked(connection: sqlite3.Connection, done: Sequence[Block]) -> None:
    """The bus was told that these may go on."""
    connection.executemany(
        "UPDATE inbox_task SET told = 2 WHERE item_id = ? AND task_id = ?",
        [(one.item_id, one.task_id) for one in done],
    )


def to_ask(connection: sqlite3.Connection, limit: int) -> list[Item]:
    """Open items whose author has still to be asked."""
    rows = connection.execute(
        f"SELECT {_COLUMNS} FROM inbox_item WHERE told = 0 AND outcome IS NULL "
        "ORDER BY number LIMIT ?",
        (limit,),
    )
    return [Item(*row) for row in rows]


def asked(connection: sqlite3.Connection, item_id: str) -> None:
    """The author was asked."""
    connection.execute("UPDATE inbox_item SET told = 1 WHERE item_id = ?", (item_id,))
