"""The chain of the audit: every row sealed with the one before it, and the walk along it."""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import json
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from ifmem.errors import Failed
from ifmem.store.audit_anchor import Head, NoHead

SEAL: Final = "audit_seal"
"""The SQL function by which ``audit.note`` seals: known on the writer's connection alone."""
LOST_KEY: Final = "chain:key-lost:"
ACCEPTED: Final = "chain:accepted:"
"""How entries of our own rows about the chain begin; ids of others never begin with ``chain:``."""

_COLUMNS = "entry, at, type, severity, action, actor, subject, reason, task_id"
_ROW = f"SELECT seal, row, {_COLUMNS} FROM audit"
_WALK = f"{_ROW} WHERE row > ? ORDER BY row"

_canonical: Final = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode

Sealed = tuple[str | None, int, tuple[object, ...]]
"""The seal of a row, its number, and all its other columns with the number first."""


@dataclass(frozen=True, slots=True)
class Chain:
    """What a walk along the chain found."""

    rows: int
    """That are there."""
    intact: bool
    first_broken: int | None = None
    """The first row that is changed, missing, or cannot be vouched for."""
    why: str = ""
    last_broken: int | None = None
    """Where what broke there ends: the last of the missing rows."""
    accepted: int = 0
    """Breaks passed over, for a person accepted them."""


@dataclass(frozen=True, slots=True)
class _Break:
    row: int
    last: int
    why: str


def seal_of(key: bytes, before: str | None, *columns: object) -> str:
    """The seal of a row.

    Args:
        key: of the store.
        before: the seal of the row before it; None or empty for the first.
        columns: all others of the row in the order of the table, its number first.
    """
    said = (before or "") + _canonical(columns)
    return hmac.digest(key, b"row\0" + said.encode(), hashlib.sha256).hex()


def learn_sealing(connection: sqlite3.Connection, key: bytes) -> None:
    """Let a connection add rows to the audit."""

    def sealed(before: bytes | None, *columns: object) -> str:
        return seal_of(key, _text(before), *columns)

    connection.create_function(SEAL, 11, sealed)


def verify_chain(connection: sqlite3.Connection, key: bytes | None, head: Head | NoHead) -> Chain:
    """Walk the whole audit, of a store or of a copy of one, in constant memory.

    Args:
        connection: in a transaction, if others write meanwhile.
        key: None when it is not there.
        head: as read before that transaction began, so that it never is ahead of the rows.

    Raises:
        Failed: the file is damaged.
    """
    try:
        return _verified(connection, key, head)
    except sqlite3.DatabaseError as error:
        raise Failed(
            f"the audit cannot be read ({error}): the file is damaged, restore it from a copy"
        ) from error


def last_row(connection: sqlite3.Connection) -> Head:
    """The last row that is there."""
    row = connection.execute(
        "SELECT row, CAST(seal AS BLOB) FROM audit ORDER BY row DESC LIMIT 1"
    ).fetchone()
    return Head(0, "") if row is None else Head(row[0], _text(row[1]))


def _verified(connection: sqlite3.Connection, key: bytes | None, head: Head | NoHead) -> Chain:
    (rows,) = connection.execute("SELECT count(*) FROM audit").fetchone()
    if key is None:
        why = "audit.key is not there: nothing of the audit can be checked without it"
        return Chain(rows, False, 1, why, last_broken=rows)
    (first,) = connection.execute("SELECT min(row) FROM audit").fetchone()
    if first is not None and first < 1:
        return Chain(rows, False, first, f"row {first} was put before the first", first)
    last, start, accepted = Head(0, ""), 0, 0
    forgiven = _accepted(connection, key)
    while True:
        found, last = _walk(connection, key, start, last, head)
        if found is None:
            break
        end = next((end for first, end in forgiven if first <= found.row <= end), None)
        if end is None:
            return Chain(rows, False, found.row, found.why, found.last, accepted)
        accepted += 1
        start, last = end, _at_or_before(connection, end)
    cut = _beyond(last, head)
    if cut is not None:
        return Chain(rows, False, cut.row, cut.why, cut.last, accepted)
    _require_sound(connection)
    return Chain(rows, True, accepted=accepted)


def _walk(
    connection: sqlite3.Connection, key: bytes, start: int, before: Head, head: Head | NoHead
) -> tuple[_Break | None, Head]:
    """The first break after a row number, and the last row that holds."""
    anchored = head if isinstance(head, Head) else None
    number, seal = start, before.seal
    rows = _read(connection, start)
    while True:
        try:
            row = next(rows, None)
        except sqlite3.OperationalError as error:
            if "decode" not in str(error):
                raise
            # SQLite gave the row and Python could not read a text of it.
            return _changed(connection, key, _next_number(connection, number)), Head(number, seal)
        if row is None:
            return None, Head(number, seal)
        kept, found, columns = row
        if found != number + 1:
            return _gap(connection, number, found), Head(number, seal)
        if not _fits(key, seal, kept, columns):
            return _changed(connection, key, found), Head(number, seal)
        if anchored is not None and anchored.row == found and anchored.seal != kept:
            why = f"row {found} is sealed, but it is not the row {found} that audit.head knows"
            return _Break(found, found, why), Head(number, seal)
        number, seal = found, str(kept)


def _fits(key: bytes, before: str, kept: str | None, columns: tuple[object, ...]) -> bool:
    try:
        return kept == seal_of(key, before, *columns)
    except TypeError:
        # A blob where a text was.
        return False


def _read(connection: sqlite3.Connection, after: int) -> Iterator[Sealed]:
    # One by one: when a row cannot be read, those before it have been seen.
    for seal, *columns in connection.execute(_WALK, (after,)):
        yield seal, columns[0], tuple(columns)


def _next_number(connection: sqlite3.Connection, after: int) -> int:
    (row,) = connection.execute("SELECT min(row) FROM audit WHERE row > ?", (after,)).fetchone()
    return int(row)


def _gap(connection: sqlite3.Connection, number: int, found: int) -> _Break:
    if found <= number:
        return _Break(found, found, f"row {found} comes after row {number}")
    first, last = number + 1, found - 1
    what = f"row {first} is" if first == last else f"rows {first} to {last} are"
    said = _told_by(connection, found)
    return _Break(first, last, f"{what} not there{said}")


def _told_by(connection: sqlite3.Connection, row: int) -> str:
    """What we noted ourselves when we found the gap."""
    found = connection.execute(
        "SELECT CAST(reason AS BLOB) FROM audit WHERE row = ? AND entry GLOB 'chain:*'", (row,)
    ).fetchone()
    return "" if found is None else f": {_text(found[0])}"


def _changed(connection: sqlite3.Connection, key: bytes, row: int) -> _Break:
    for number, columns in _own_rows(connection, key, LOST_KEY):
        if number > row:
            return _Break(row, number - 1, str(columns[8]))
    (is_bare,) = connection.execute(
        "SELECT seal IS NULL FROM audit WHERE row = ?", (row,)
    ).fetchone()
    if is_bare:
        return _Break(row, row, f"row {row} was never sealed, or its seal was removed")
    return _Break(row, row, f"row {row} is not as it was written, or the key is another one")


def _beyond(last: Head, head: Head | NoHead) -> _Break | None:
    """What is missing at the end, by the anchor."""
    after = last.row + 1
    if head is NoHead.ABSENT:
        why = f"audit.head is not there: what followed row {last.row} may have been removed"
        return _Break(after, after, why)
    if head is NoHead.CHANGED:
        why = f"audit.head was changed: what followed row {last.row} may have been removed"
        return _Break(after, after, why)
    if head.row > last.row:
        return _Break(after, head.row, f"rows {after} to {head.row} were removed from the end")
    return None


def _accepted(connection: sqlite3.Connection, key: bytes) -> list[tuple[int, int]]:
    """Ranges of rows that a later row, sealed by us, says to pass over."""
    ranges = []
    for number, columns in _own_rows(connection, key, ACCEPTED):
        first, _, last = str(columns[1]).removeprefix(ACCEPTED).partition("-")
        if first.isdecimal() and last.isdecimal() and int(first) <= int(last) < number:
            ranges.append((int(first), int(last)))
    return sorted(ranges)


def _own_rows(
    connection: sqlite3.Connection, key: bytes, start: str
) -> Iterator[tuple[int, tuple[object, ...]]]:
    """Rows whose entry begins so and that we have sealed behind the row before them."""
    numbers = connection.execute(
        "SELECT row FROM audit WHERE entry >= ? AND entry < ? ORDER BY row",
        (start, start[:-1] + ";"),
    ).fetchall()
    for (number,) in numbers:
        # One that cannot be read is no word of ours; the walk names it.
        with contextlib.suppress(sqlite3.OperationalError):
            seal, *columns = connection.execute(f"{_ROW} WHERE row = ?", (number,)).fetchone()
            if _fits(key, _at_or_before(connection, number - 1).seal, seal, tuple(columns)):
                yield number, tuple(columns)


def _at_or_before(connection: sqlite3.Connection, row: int) -> Head:
    found = connection.execute(
        "SELECT row, CAST(seal AS BLOB) FROM audit WHERE row <= ? ORDER BY row DESC LIMIT 1",
        (row,),
    ).fetchone()
    return Head(0, "") if found is None else Head(found[0], _text(found[1]))


def _text(seal: bytes | None) -> str:
    """A seal as it is taken into the next one: whatever was made of it, rows can be added."""
    return "" if seal is None else seal.decode("utf-8", "replace")


def _require_sound(connection: sqlite3.Connection) -> None:
    """The rows are whole: so must be the indexes by which they are looked for."""
    (first,) = connection.execute("PRAGMA integrity_check(audit)").fetchone()
    if first != "ok":
        raise Failed(
            f"the indexes of the audit do not fit its rows ({first}): restore the store from a copy"
        )
