"""No row of the audit can be edited, removed, put in or moved without the check naming it."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from ifmem.errors import Failed
from ifmem.store import audit
from ifmem.store.audit_anchor import Head, NoHead, head_file, read_head, read_key
from ifmem.store.audit_chain import Chain, verify_chain
from ifmem.store.database import Database

ROWS = 1_000
TEXTS = ("entry", "at", "type", "severity", "action", "actor", "subject", "reason", "task_id")
COLUMNS = (*TEXTS, "seal")
NUMBERS = st.integers(1, ROWS)


def noted(number: int) -> Callable[[sqlite3.Connection], None]:
    def work(connection: sqlite3.Connection) -> None:
        audit.note(
            connection,
            # Twice: one changed byte does not make it the entry of another row.
            entry=f"entry:{number}:{number}",
            at=f"2026-01-05T10:{number // 60 % 60:02}:{number % 60:02}.000Z",
            type=audit.WRITE if number % 3 else audit.DECISION,
            severity=audit.INFO if number % 5 else audit.CRITICAL,
            action=("load", "remember", "finish")[number % 3],
            actor=f"agent-{number % 7}",
            subject=f"ü-{number}",
            reason="because",
            task_id=f"task-{number % 11}",
        )

    return work


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A closed store with 1,000 rows."""
    path = tmp_path_factory.mktemp("audited") / "store.sqlite"
    with closing(Database(path)) as database:
        for number in range(1, ROWS + 1):
            outcome = database.write(noted(number))
        outcome.result()
    return path


@pytest.fixture(scope="module")
def connection(original: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as copy:
        with closing(sqlite3.connect(original)) as stored:
            stored.backup(copy)
        yield copy


@pytest.fixture(scope="module")
def key(original: Path) -> bytes:
    found = read_key(original)
    assert found is not None
    return found


@pytest.fixture(scope="module")
def head(original: Path, key: bytes) -> Head:
    found = read_head(original, key)
    assert isinstance(found, Head)
    return found


@contextmanager
def undone(connection: sqlite3.Connection) -> Iterator[None]:
    connection.execute("BEGIN")
    try:
        yield
    finally:
        connection.execute("ROLLBACK")


def test_an_untouched_chain_is_intact(
    connection: sqlite3.Connection, key: bytes, head: Head
) -> None:
    assert verify_chain(connection, key, head) == Chain(ROWS, True)
    assert head.row == ROWS


@pytest.mark.parametrize("column", COLUMNS)
@pytest.mark.parametrize("row", [1, 500, ROWS])
def test_every_column_of_a_row_is_sealed(
    connection: sqlite3.Connection, key: bytes, head: Head, row: int, column: str
) -> None:
    with undone(connection):
        connection.execute(f"UPDATE audit SET {column} = {column} || 'x' WHERE row = ?", (row,))
        chain = verify_chain(connection, key, head)
    assert (chain.intact, chain.first_broken) == (False, row)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    row=NUMBERS,
    column=st.sampled_from(COLUMNS),
    place=st.integers(0, 80),
    byte=st.binary(min_size=1, max_size=1),
)
@example(row=1, column="seal", place=0, byte=b"\x80")
@example(row=ROWS, column="reason", place=0, byte=b"\xff")
def test_any_byte_of_any_column_of_any_row(
    connection: sqlite3.Connection,
    key: bytes,
    head: Head,
    row: int,
    column: str,
    place: int,
    byte: bytes,
) -> None:
    (text,) = connection.execute(
        f"SELECT CAST({column} AS BLOB) FROM audit WHERE row = ?", (row,)
    ).fetchone()
    place %= len(text)
    changed = text[:place] + byte + text[place + 1 :]
    with undone(connection):
        connection.execute(
            f"UPDATE audit SET {column} = CAST(? AS TEXT) WHERE row = ?", (changed, row)
        )
        chain = verify_chain(connection, key, head)
    assert (chain.intact, chain.first_broken) == ((True, None) if changed == text else (False, row))


@pytest.mark.parametrize("column", ["task_id", "seal"])
def test_a_column_that_is_emptied(
    connection: sqlite3.Connection, key: bytes, head: Head, column: str
) -> None:
    with undone(connection):
        connection.execute(f"UPDATE audit SET {column} = NULL WHERE row = 40")
        assert verify_chain(connection, key, head).first_broken == 40


@settings(max_examples=30, deadline=None)
@given(first=NUMBERS, many=st.integers(1, 20))
def test_removed_rows_are_named(
    connection: sqlite3.Connection, key: bytes, head: Head, first: int, many: int
) -> None:
    with undone(connection):
        connection.execute("DELETE FROM audit WHERE row >= ? AND row < ?", (first, first + many))
        chain = verify_chain(connection, key, head)
    last = min(first + many - 1, ROWS)
    assert (chain.intact, chain.first_broken, chain.last_broken) == (False, first, last)


def test_removing_everything_is_found(
    connection: sqlite3.Connection, key: bytes, head: Head
) -> None:
    with undone(connection):
        connection.execute("DELETE FROM audit")
        chain = verify_chain(connection, key, head)
    assert (chain.rows, chain.intact, chain.first_broken) == (0, False, 1)


@settings(max_examples=30, deadline=None)
@given(one=NUMBERS, other=NUMBERS)
def test_rows_that_change_places_are_found(
    connection: sqlite3.Connection, key: bytes, head: Head, one: int, other: int
) -> None:
    with undone(connection):
        connection.execute("UPDATE audit SET row = ? WHERE row = ?", (ROWS + 5, one))
        if one != other:
            connection.execute("UPDATE audit SET row = ? WHERE row = ?", (one, other))
        connection.execute("UPDATE audit SET row = ? WHERE row = ?", (other, ROWS + 5))
        chain = verify_chain(connection, key, head)
    assert chain.first_broken == (None if one == other else min(one, other))


@pytest.mark.parametrize("number", [ROWS + 1, ROWS + 2, 0, -5])
def test_a_row_that_was_put_in_is_found(
    connection: sqlite3.Connection, key: bytes, head: Head, number: int
) -> None:
    with undone(connection):
        connection.execute(
            "INSERT INTO audit SELECT ?, 'new', at, action, actor, subject, reason, type, "
            "severity, task_id, seal FROM audit WHERE row = 7",
            (number,),
        )
        chain = verify_chain(connection, key, head)
    assert (chain.intact, chain.first_broken) == (False, min(number, ROWS + 1))


def test_a_blob_where_a_text_was_is_found(
    connection: sqlite3.Connection, key: bytes, head: Head
) -> None:
    """As a damaged file may have it: SQL itself refuses such a row."""

    class Reader:
        def execute(self, statement: str, values: tuple[object, ...] = ()) -> sqlite3.Cursor:
            return connection.execute(statement.replace("reason", "CAST(reason AS BLOB)"), values)

    reader: sqlite3.Connection = Reader()  # type: ignore[assignment]
    assert verify_chain(reader, key, head).first_broken == 1


@settings(max_examples=60, deadline=None)
@given(place=st.integers(0, 255), byte=st.integers(0, 255))
def test_any_changed_byte_of_the_anchor_is_found(
    original: Path, connection: sqlite3.Connection, key: bytes, place: int, byte: int
) -> None:
    kept = head_file(original).read_bytes()
    assert len(kept) == 256
    changed = bytearray(kept)
    changed[place] = byte
    head_file(original).write_bytes(changed)
    try:
        chain = verify_chain(connection, key, read_head(original, key))
    finally:
        head_file(original).write_bytes(kept)
    if bytes(changed) == kept:
        assert chain.intact
    else:
        assert (chain.intact, chain.first_broken) == (False, ROWS + 1)
        assert "audit.head was changed" in chain.why


def test_what_is_missing_is_told_apart(
    connection: sqlite3.Connection, key: bytes, head: Head
) -> None:
    lost_key = verify_chain(connection, None, head)
    lost_anchor = verify_chain(connection, key, NoHead.ABSENT)
    other_key = verify_chain(connection, b"x" * 32, head)
    assert "audit.key is not there" in lost_key.why
    assert "audit.head is not there" in lost_anchor.why
    assert "the key is another one" in other_key.why
    with undone(connection):
        connection.execute("UPDATE audit SET seal = NULL")
        assert "never sealed" in verify_chain(connection, key, NoHead.ABSENT).why
    broken = [one.first_broken for one in (lost_key, lost_anchor, other_key)]
    assert broken == [1, ROWS + 1, 1]


def test_a_row_of_the_anchors_number_that_is_another_one_is_found(
    connection: sqlite3.Connection, key: bytes
) -> None:
    chain = verify_chain(connection, key, Head(600, "0" * 64))
    assert (chain.intact, chain.first_broken) == (False, 600)


def test_an_anchor_that_lags_behind_is_no_break(connection: sqlite3.Connection, key: bytes) -> None:
    (seal,) = connection.execute("SELECT seal FROM audit WHERE row = 990").fetchone()
    assert verify_chain(connection, key, Head(990, seal)).intact


@settings(max_examples=120, deadline=None)
@given(data=st.data())
def test_a_byte_of_the_file_never_changes_a_row_unnoticed(
    original: Path,
    tmp_path_factory: pytest.TempPathFactory,
    key: bytes,
    head: Head,
    data: st.DataObject,
) -> None:
    whole = original.read_bytes()
    pages = _pages_of_the_audit(original)
    size = 4096
    page = data.draw(st.sampled_from(pages))
    place = (page - 1) * size + data.draw(st.integers(0, size - 1))
    changed = bytearray(whole)
    changed[place] ^= data.draw(st.integers(1, 255))
    copy = tmp_path_factory.getbasetemp() / "damaged.sqlite"
    copy.write_bytes(changed)
    with closing(sqlite3.connect(copy)) as damaged:
        try:
            chain = verify_chain(damaged, key, head)
        except Failed:
            return
        if chain.intact:
            assert _all_rows(damaged) == _all_rows_of(original)


def _pages_of_the_audit(store: Path) -> list[int]:
    """Pages of the table and of its indexes, without dbstat: those that hold one of its texts."""
    whole = store.read_bytes()
    pages = [whole[place : place + 4096] for place in range(0, len(whole), 4096)]
    return [n for n, page in enumerate(pages, 1) if b"agent-" in page or b"entry:" in page]


def _all_rows(connection: sqlite3.Connection) -> list[tuple[object, ...]]:
    return connection.execute("SELECT * FROM audit ORDER BY row").fetchall()


def _all_rows_of(store: Path) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(store)) as connection:
        return _all_rows(connection)


def test_an_index_that_hides_a_row_is_damage(original: Path, tmp_path: Path, key: bytes) -> None:
    copy = tmp_path / "store.sqlite"
    shutil.copy(original, copy)
    with closing(sqlite3.connect(copy, isolation_level=None)) as connection:
        (statement,) = connection.execute(
            "SELECT sql FROM sqlite_master WHERE name = 'audit_actor'"
        ).fetchone()
        connection.execute("PRAGMA writable_schema = ON")
        connection.execute(
            "UPDATE sqlite_master SET sql = ? WHERE name = 'audit_actor'",
            (statement + " WHERE actor <> 'agent-3'",),
        )
    with (
        closing(sqlite3.connect(copy)) as connection,
        pytest.raises(Failed, match="indexes of the audit"),
    ):
        verify_chain(connection, key, read_head(original, key))


def test_the_anchor_is_text_that_people_can_read(original: Path, head: Head) -> None:
    said = json.loads(head_file(original).read_text())
    assert (said["row"], said["seal"]) == (head.row, head.seal)
