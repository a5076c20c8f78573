"""The chain of the audit lives through rollbacks, kills, and what somebody does to the files."""

from __future__ import annotations

import sqlite3
import stat
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from ifmem.errors import Failed
from ifmem.store import audit
from ifmem.store.audit_anchor import (
    Head,
    NoHead,
    head_file,
    key_file,
    read_head,
    read_key,
)
from ifmem.store.audit_chain import Chain, verify_chain
from ifmem.store.database import Database


def noted(entry: str, reason: str = "because") -> Callable[[sqlite3.Connection], None]:
    def work(connection: sqlite3.Connection) -> None:
        audit.note(
            connection,
            entry=entry,
            at="2026-01-05T10:00:00.000Z",
            action="remember",
            actor="ada",
            subject="1",
            reason=reason,
        )

    return work


def store(path: Path, *entries: str) -> None:
    with closing(Database(path)) as database:
        for entry in entries:
            database.write(noted(entry)).result()


def checked(path: Path) -> Chain:
    """As a copy is checked: with nothing but the three files."""
    key = read_key(path)
    head = NoHead.ABSENT if key is None else read_head(path, key)
    with closing(sqlite3.connect(path)) as connection:
        return verify_chain(connection, key, head)


def tampered(path: Path, statement: str) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute(statement)


def rows(path: Path) -> list[tuple[int, str]]:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute("SELECT row, entry FROM audit ORDER BY row").fetchall()


def test_a_new_store_has_a_key_for_its_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite"
    store(path)
    assert key_file(path) == tmp_path / "audit.key"
    assert head_file(path) == tmp_path / "audit.head"
    assert len(key_file(path).read_bytes()) == 32
    for file in (key_file(path), head_file(path)):
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert checked(path) == Chain(0, True)


def test_the_key_stays_the_same(tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite"
    store(path, "a")
    key = read_key(path)
    store(path, "b")
    assert read_key(path) == key
    assert checked(path) == Chain(2, True)


def test_what_is_undone_leaves_no_gap_and_what_is_repeated_no_row(tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite"

    def fails(connection: sqlite3.Connection) -> None:
        noted("undone")(connection)
        raise Failed("on purpose")

    with closing(Database(path)) as database:
        outcomes = [
            database.write(work)
            for work in (noted("a"), fails, noted("a"), noted("b"), fails, noted("c"))
        ]
        assert isinstance(outcomes[1].exception(), Failed)
        outcomes[-1].result()
    assert rows(path) == [(1, "a"), (2, "b"), (3, "c")]
    assert checked(path) == Chain(3, True)


def test_a_part_of_a_work_that_is_rolled_back_leaves_the_chain_whole(tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite"

    def work(connection: sqlite3.Connection) -> None:
        noted("a")(connection)
        connection.execute("SAVEPOINT part")
        noted("undone")(connection)
        connection.execute("ROLLBACK TO part")
        connection.execute("RELEASE part")
        noted("b")(connection)

    with closing(Database(path)) as database:
        database.write(work).result()
    assert rows(path) == [(1, "a"), (2, "b")]
    assert checked(path) == Chain(2, True)


def test_rows_older_than_the_chain_are_sealed_when_the_store_is_opened(tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite"
    store(path, *(f"{n}" for n in range(6)))
    tampered(path, "UPDATE audit SET seal = NULL")
    # SQLite numbered older rows, and left one out for each entry that came twice.
    tampered(path, "DELETE FROM audit WHERE row IN (2, 3)")
    key_file(path).unlink()
    head_file(path).unlink()
    store(path, "new")
    assert rows(path) == [(1, "0"), (2, "3"), (3, "4"), (4, "5"), (5, "new")]
    assert checked(path) == Chain(5, True)


KILLED = """
import os, signal, sys
from pathlib import Path
from ifmem.store import audit, audit_sealing
from ifmem.store.database import Database
database = Database(Path(sys.argv[1]))
def put(n):
    return lambda c: audit.note(
        c, entry=str(n), at="2026", action="a", actor="b", subject="c", reason="d"
    )
database.write(put(1)).result()
audit_sealing.write_head = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
database.write(put(2)).result()
"""


def test_a_kill_between_a_commit_and_its_anchor_leaves_the_chain_intact(tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite"
    ended = subprocess.run([sys.executable, "-c", KILLED, path], timeout=60, check=False)
    assert ended.returncode == -9
    key = read_key(path)
    assert key is not None
    head = read_head(path, key)
    assert isinstance(head, Head)
    assert (head.row, rows(path)) == (1, [(1, "1"), (2, "2")])
    assert checked(path) == Chain(2, True)
    store(path, "3")
    assert checked(path) == Chain(3, True)


@pytest.mark.parametrize("restarted", [True, False])
def test_rows_cut_off_the_end_stay_missing_whatever_is_added(
    tmp_path: Path, restarted: bool
) -> None:
    path = tmp_path / "store.sqlite"
    cut = "DELETE FROM audit WHERE row > 3"
    if restarted:
        store(path, *"abcde")
        tampered(path, cut)
        assert checked(path).why == "rows 4 to 5 were removed from the end"
        store(path, "f", "g")
    else:
        with closing(Database(path)) as database:
            for entry in "abcde":
                database.write(noted(entry)).result()
            tampered(path, cut)
            for entry in "fg":
                database.write(noted(entry)).result()
    chain = checked(path)
    assert (chain.intact, chain.first_broken, chain.last_broken) == (False, 4, 5)
    assert "the last one was row 5" in chain.why
    assert [row for row, _ in rows(path)] == [1, 2, 3, 6, 7, 8]


def test_all_rows_and_seals_taken_away_are_missed(tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite"
    store(path, *"abc")
    tampered(path, "UPDATE audit SET seal = NULL, reason = 'another'")
    store(path, "d")
    assert checked(path).first_broken == 1


@pytest.mark.parametrize("how", ["removed", "changed"])
def test_a_lost_anchor_is_remembered_when_the_store_is_opened(tmp_path: Path, how: str) -> None:
    path = tmp_path / "store.sqlite"
    store(path, *"abc")
    if how == "removed":
        head_file(path).unlink()
    else:
        head_file(path).write_bytes(head_file(path).read_bytes().replace(b'"row": 3', b'"row": 2'))
    store(path, "d")
    chain = checked(path)
    assert (chain.intact, chain.first_broken) == (False, 4)
    assert ("was gone" if how == "removed" else "was changed") in chain.why


def test_a_lost_key_is_told_from_changed_rows(tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite"
    store(path, *"abc")
    key_file(path).unlink()
    store(path, "d")
    chain = checked(path)
    assert (chain.intact, chain.first_broken, chain.last_broken) == (False, 1, 4)
    assert "audit.key was lost" in chain.why


def test_an_anchor_removed_under_a_running_store_is_there_after_the_next_row(
    tmp_path: Path,
) -> None:
    path = tmp_path / "store.sqlite"
    with closing(Database(path)) as database:
        database.write(noted("a")).result()
        head_file(path).unlink()
        assert not checked(path).intact
        database.write(noted("b")).result()
        assert checked(path) == Chain(2, True)


def test_rows_are_added_behind_one_that_nobody_can_read(tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite"
    with closing(Database(path)) as database:
        database.write(noted("a")).result()
        tampered(path, "UPDATE audit SET seal = CAST(x'ff61' AS TEXT)")
        database.write(noted("b")).result()
        assert checked(path).first_broken == 1
    store(path, "c")
    assert checked(path).first_broken == 1


def test_a_key_that_is_none_is_named(tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite"
    store(path)
    key_file(path).write_bytes(b"short")
    with pytest.raises(Failed, match=r"audit\.key is damaged"):
        Database(path)


def test_a_store_put_back_from_an_older_copy_is_missed(tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite"
    store(path, *"abc")
    older = path.read_bytes()
    store(path, *"def")
    path.write_bytes(older)
    store(path, "g")
    chain = checked(path)
    assert (chain.first_broken, chain.last_broken) == (4, 6)


def test_two_stores_that_write_the_same_file_share_a_chain(tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite"
    with closing(Database(path)) as one, closing(Database(path)) as other:
        for n in range(10):
            (one if n % 2 else other).write(noted(str(n))).result()
    assert checked(path) == Chain(10, True)


def test_an_anchor_that_cannot_be_written_does_not_fail_the_write(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "store.sqlite"
    with closing(Database(path)) as database:
        head_file(path).unlink()
        head_file(path).mkdir()
        database.write(noted("a")).result()
    assert rows(path) == [(1, "a")]
    assert "audit.head could not be written" in caplog.text
