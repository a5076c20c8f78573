"""Taking the rows of an export into a store: as they were into an empty one, else what is new.

Everything here belongs into one transaction. What is here already stays as it is.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from typing import Any

from msgspec.structs import replace

from ifmem.store import messages, tasks
from ifmem.store.exports import tombstone_key
from ifmem.store.ledger_rows import COLUMNS as CALL_COLUMNS
from ifmem.store.ledger_rows import row_of
from ifmem.wire import exports
from ifmem.wire.exports import Manifest, Row

TOGETHER = 1_000
"""Rows of one statement."""
_MOST_NAMED = 100

_TABLES = (
    *("document", "finding", "quarantined", "task", "message", "topic_follower", "consumer"),
    *("session", "conflict", "inbox_item", "model_call", "purse", "asked_question", "forgotten"),
    *("tombstone", "archive_query"),
)


@dataclass
class Tally:
    """What became of the rows of a member."""

    new: int = 0
    known: int = 0
    differing: int = 0
    blocked: int = 0
    left: int = 0
    named: list[str] = field(default_factory=list)
    """The first ids of those that differ."""

    def differs(self, name: str) -> None:
        """Count a row that is here otherwise."""
        self.differing += 1
        if len(self.named) < _MOST_NAMED:
            self.named.append(name)


Take = Callable[[sqlite3.Connection, Iterable[Any], Tally], None]


def is_empty(connection: sqlite3.Connection) -> bool:
    """Whether nothing was ever stored here, so that an export can be restored as it was."""
    found = " UNION ALL ".join(f"SELECT * FROM (SELECT 1 FROM {one} LIMIT 1)" for one in _TABLES)
    if connection.execute(found).fetchone() is not None:
        return False
    (used,) = connection.execute(
        "SELECT count(*) FROM sqlite_sequence WHERE name IN ('finding', 'quarantined') AND seq > 0"
    ).fetchone()
    return not used


def take(
    connection: sqlite3.Connection, member: str, rows: Iterable[Any], tally: Tally, *, restore: bool
) -> None:
    """Take the rows of a member that is neither documents nor findings."""
    (_RESTORED if restore else _MERGED)[member](connection, rows, tally)


def set_used(connection: sqlite3.Connection, manifest: Manifest) -> None:
    """Never give out again a sequence that was used where the export comes from."""
    number = manifest.last_sequence
    done = connection.execute(
        "UPDATE sqlite_sequence SET seq = max(seq, ?) WHERE name = 'finding'", (number,)
    )
    if not done.rowcount:
        connection.execute("INSERT INTO sqlite_sequence VALUES ('finding', ?)", (number,))


def take_tombstones(
    connection: sqlite3.Connection,
    rows: Iterable[exports.TombstoneRow],
    tally: Tally,
    manifest: Manifest,
) -> None:
    """Take marks that mean something here: those made with this very key."""
    if manifest.tombstone_key != tombstone_key(connection):
        tally.left += sum(1 for _ in rows)
        return
    _insert(exports.TombstoneRow, "tombstone")(connection, rows, tally)


def in_groups(rows: Iterable[Any]) -> Iterator[list[Any]]:
    """The rows, as many together as one statement takes."""
    iterator = iter(rows)
    while some := list(islice(iterator, TOGETHER)):
        yield some


def _insert(kind: type[Row], table: str, *, without: Sequence[str] = ()) -> Take:
    """Adds rows; those with a key that is here are passed over."""
    names = [name for name in kind.__struct_fields__ if name not in without]
    marks = ", ".join("?" * len(names))
    statement = f"INSERT OR IGNORE INTO {table} ({', '.join(names)}) VALUES ({marks})"

    def take(connection: sqlite3.Connection, rows: Iterable[Any], tally: Tally) -> None:
        for some in in_groups(rows):
            values = [tuple(getattr(row, name) for name in names) for row in some]
            new = connection.executemany(statement, values).rowcount
            tally.new += new
            tally.known += len(some) - new

    return take


def _leave(connection: sqlite3.Connection, rows: Iterable[Any], tally: Tally) -> None:
    tally.left += sum(1 for _ in rows)


def _compared(
    kind: type[Row], table: str, key: str, *, without: Sequence[str] = (), anew: Sequence[str] = ()
) -> Take:
    """Adds rows whose key is not here; those that are here otherwise are named.

    Args:
        without: fields that are no columns.
        anew: columns whose values are of the store they lie in.
    """
    names = [name for name in kind.__struct_fields__ if name not in {*without, *anew}]
    insert = _insert(kind, table, without=(*without, *anew))
    look = f"SELECT {', '.join(names)} FROM {table} WHERE {key} = ?"

    def take(connection: sqlite3.Connection, rows: Iterable[Any], tally: Tally) -> None:
        for row in rows:
            name = getattr(row, key)
            held = connection.execute(look, (name,)).fetchone()
            if held is None:
                insert(connection, [row], tally)
            elif tuple(held) == tuple(getattr(row, one) for one in names):
                tally.known += 1
            else:
                tally.differs(str(name))

    return take


def _merge_tasks(connection: sqlite3.Connection, rows: Iterable[Any], tally: Tally) -> None:
    """New ones stand behind those that are here."""
    behind = tasks.last_place(connection)
    insert = _insert(exports.TaskRow, "task", without=("number",))
    for row in rows:
        held = connection.execute(
            "SELECT state, body FROM task WHERE task_id = ?", (row.task_id,)
        ).fetchone()
        if held is None:
            insert(connection, [replace(row, place=behind + row.place)], tally)
        elif held == (row.state, row.body):
            tally.known += 1
        else:
            tally.differs(row.task_id)


def _take_messages(
    connection: sqlite3.Connection, rows: Iterable[Any], tally: Tally, *, restore: bool
) -> None:
    behind = 0 if restore else messages.last_sequence(connection)
    for row in rows:
        new = connection.execute(
            "INSERT OR IGNORE INTO message VALUES (?, ?, ?, ?, ?)",
            (row.message_id, behind + row.sequence, row.sent_ms, row.expires_ms, row.body),
        ).rowcount
        if not new:
            tally.known += 1
            continue
        tally.new += 1
        connection.executemany(
            "INSERT OR IGNORE INTO recipient VALUES (?, ?, ?)",
            [(row.message_id, one.agent, one.ended) for one in row.recipients],
        )


def _take_sessions(connection: sqlite3.Connection, rows: Iterable[Any], tally: Tally) -> None:
    """A session that had ended needs clearing only where it left tasks open: nothing is cached."""
    _compared(exports.SessionRow, "session", "session_id")(connection, rows, tally)
    connection.execute(
        "UPDATE session SET cleared_at = ended_at "
        "WHERE ended_at IS NOT NULL AND cleared_at IS NULL AND NOT EXISTS "
        "(SELECT 1 FROM task WHERE run = session_id AND ended_at_ms IS NULL)"
    )


def _take_conflicts(connection: sqlite3.Connection, rows: Iterable[Any], tally: Tally) -> None:
    """With those of their sides that are here; one without two of them is no conflict."""
    insert = _compared(exports.ConflictRow, "conflict", "conflict_id", without=("sides",))
    for row in rows:
        here = [side for side in row.sides if _has_finding(connection, side.finding_id)]
        if len(here) < min(2, len(row.sides)):
            tally.blocked += 1
            continue
        before = tally.new
        insert(connection, [row], tally)
        if tally.new > before:
            connection.executemany(
                "INSERT OR IGNORE INTO conflict_side VALUES (?, ?, ?)",
                [(row.conflict_id, side.finding_id, side.kept) for side in here],
            )


def _take_inbox(
    connection: sqlite3.Connection, rows: Iterable[Any], tally: Tally, *, restore: bool
) -> None:
    left = ("tasks",) if restore else ("tasks", "number")
    insert = _insert(exports.InboxRow, "inbox_item", without=left)
    for row in rows:
        gone = connection.execute("SELECT 1 FROM forgotten WHERE id = ?", (row.subject,)).fetchone()
        if gone is not None:
            tally.blocked += 1
            continue
        before = tally.new
        insert(connection, [row], tally)
        if tally.new > before:
            # The bus is told again to block them: it may never have heard of it.
            connection.executemany(
                "INSERT OR IGNORE INTO inbox_task (item_id, task_id) VALUES (?, ?)",
                [(row.item_id, task_id) for task_id in row.tasks],
            )


def _merge_calls(connection: sqlite3.Connection, rows: Iterable[Any], tally: Tally) -> None:
    """What new calls cost, or may have cost, is charged to the limits of their days."""
    insert = _insert(exports.CallRow, "model_call")
    names = CALL_COLUMNS.split(", ")
    for row in rows:
        before = tally.new
        insert(connection, [row], tally)
        if tally.new == before or row.state == "failed":
            continue
        call = row_of([getattr(row, name) for name in names])
        spent = (row.cost, 0) if row.state == "settled" else (0, row.bound)
        purses = [("background" if call.background else "day", row.at[:10])]
        if row.question_id:
            purses.append(("question", row.question_id))
        connection.executemany(
            "INSERT INTO purse VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE "
            "SET known = known + excluded.known, held = held + excluded.held",
            [(*purse, *spent) for purse in purses],
        )


def _take_forgotten(connection: sqlite3.Connection, rows: Iterable[Any], tally: Tally) -> None:
    """What is here stays here: that it was forgotten elsewhere does not remove it."""
    insert = _insert(exports.ForgottenRow, "forgotten")
    for row in rows:
        if _has_finding(connection, row.id):
            tally.left += 1
        else:
            insert(connection, [row], tally)


def _has_finding(connection: sqlite3.Connection, finding_id: str) -> bool:
    found = connection.execute("SELECT 1 FROM finding WHERE finding_id = ?", (finding_id,))
    return found.fetchone() is not None


_SAME: Mapping[str, Take] = {
    "topics": _insert(exports.TopicRow, "topic_follower"),
    "sessions": _take_sessions,
    "conflicts": _take_conflicts,
    "questions": _insert(exports.QuestionRow, "asked_question"),
    "forgotten": _take_forgotten,
    "queries": _insert(exports.QueryRow, "archive_query"),
    "audit": _leave,
}
_RESTORED: Mapping[str, Take] = {
    **_SAME,
    "tasks": _insert(exports.TaskRow, "task"),
    "messages": partial(_take_messages, restore=True),
    "consumers": _insert(exports.ConsumerRow, "consumer"),
    "inbox": partial(_take_inbox, restore=True),
    "calls": _insert(exports.CallRow, "model_call"),
    "purses": _insert(exports.PurseRow, "purse"),
}
_MERGED: Mapping[str, Take] = {
    **_SAME,
    "tasks": _merge_tasks,
    "messages": partial(_take_messages, restore=False),
    "consumers": _leave,
    "inbox": partial(_take_inbox, restore=False),
    "calls": _merge_calls,
    # What was spent comes with the calls.
    "purses": _leave,
}
