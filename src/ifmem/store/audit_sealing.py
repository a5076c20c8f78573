"""Keeping the chain of the audit: begun when a store is opened, anchored after each commit."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Final

from ifmem import clock
from ifmem.store import audit
from ifmem.store.audit_anchor import (
    Head,
    NoHead,
    head_file,
    make_anchored_key,
    read_head,
    read_key,
    write_head,
)
from ifmem.store.audit_chain import LOST_KEY, last_row, learn_sealing, seal_of

_TOGETHER = 1_000
_BEGUN: Final = "SELECT 1 FROM audit WHERE seal IS NOT NULL LIMIT 1"


class Sealing:
    """The chain of one store, as the one connection that writes keeps it.

    Where rows vanished, or may have while nobody knew where the chain ended, the next row leaves
    out a number and says why: no later row hides that.
    """

    def __init__(self, store: Path, connection: sqlite3.Connection) -> None:
        """Make the key if there is none, and seal the rows that are older than the chain.

        Raises:
            Failed: what lies where the key should be is none.
        """
        self._store = store
        is_begun = connection.execute(_BEGUN).fetchone() is not None
        key = read_key(store)
        had_anchor = head_file(store).exists()
        self.key = make_anchored_key(store) if key is None else key
        learn_sealing(connection, self.key)
        self._doubt: str | None
        if key is None and is_begun:
            self._doubt = "audit.key was lost: rows before this one were sealed with it"
            self._head = last_row(connection)
        else:
            found = read_head(store, self.key)
            self._doubt = _doubt(found, had_anchor=had_anchor)
            self._head = found if isinstance(found, Head) else last_row(connection)
        self._lost_key = key is None and is_begun
        connection.execute("BEGIN IMMEDIATE")
        try:
            if self._head.row == 0 and not is_begun and not self._doubt:
                _seal_all(connection, self.key)
            self.begin(connection)
            head = last_row(connection)
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
        self.committed(head)

    def begin(self, connection: sqlite3.Connection) -> None:
        """Look, at the beginning of a transaction, whether the chain still ends where it did."""
        reason = self._doubt or _departure(connection, self._head)
        if reason is None:
            return
        last = last_row(connection).row
        row = max(last + 2, self._head.row + 1)
        start = LOST_KEY if self._lost_key else "chain:broken:"
        audit.note(
            connection,
            entry=f"{start}{row}",
            at=clock.stamp(clock.now()),
            type=audit.DECISION,
            severity=audit.CRITICAL,
            action="audit_broken",
            actor="-",
            subject=f"row:{last + 1}",
            reason=reason,
            left_out=row - last - 1,
        )

    def committed(self, head: Head) -> None:
        """Anchor the chain at the last row of a transaction that is on disk."""
        self._doubt, self._lost_key = None, False
        if head != self._head:
            self._head = head
            write_head(self._store, head, self.key)


def _doubt(found: Head | NoHead, *, had_anchor: bool) -> str | None:
    if isinstance(found, Head):
        return None
    what = "was changed" if had_anchor else "was gone"
    return f"audit.head {what} when the store was opened: rows at the end may have been removed"


def _departure(connection: sqlite3.Connection, head: Head) -> str | None:
    if head.row == 0:
        return None
    found = connection.execute(
        "SELECT ifnull(seal, '') = ? FROM audit WHERE row = ?", (head.seal, head.row)
    ).fetchone()
    if found is None:
        return f"they were removed; the last one was row {head.row}"
    if not found[0]:
        return f"row {head.row} was the last one and is another one now"
    return None


def _seal_all(connection: sqlite3.Connection, key: bytes) -> None:
    """Seal the rows that are older than the chain, their numbers without gaps."""
    number, before, after = 0, "", 0
    while rows := connection.execute(
        "SELECT row, entry, at, type, severity, action, actor, subject, reason, task_id "
        "FROM audit WHERE row > ? ORDER BY row LIMIT ?",
        (after, _TOGETHER),
    ).fetchall():
        for row, *columns in rows:
            number, after = number + 1, row
            before = seal_of(key, before, number, *columns)
            connection.execute(
                "UPDATE audit SET row = ?, seal = ? WHERE row = ?", (number, before, row)
            )
