"""Marks of the forgotten: known again by who has the key, and by nobody else."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from ifmem.errors import Failed
from ifmem.store import audit_anchor, tombstones
from ifmem.store.database import Database

WHEN = "2026-01-01T00:00:00.000Z"
ID = "00000000-0000-4000-8000-000000000001"


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    opened = Database(tmp_path / "store.sqlite")
    yield opened
    opened.close()


def put(database: Database, kind: Any, name: str, **more: Any) -> str:
    work = partial(tombstones.put, kind=kind, name=name, at=WHEN, by="ada", **more)
    return database.write(work).result()


def is_blocked(database: Database, kind: Any, name: str) -> bool:
    return database.read(partial(tombstones.blocked, kind=kind, name=name))


@pytest.mark.parametrize("kind", ["finding", "content", "source", "passage", "session"])
def test_what_is_marked_is_blocked_until_it_is_lifted(database: Database, kind: Any) -> None:
    name = ID if kind == "finding" else "/notes/plan.md"
    assert not is_blocked(database, kind, name)
    put(database, kind, name)
    put(database, kind, name)
    assert is_blocked(database, kind, name)
    for other in ("content", "source", "passage", "session"):
        assert is_blocked(database, other, name) == (other == kind)
    lift = partial(tombstones.lift, kind=kind, name=name)
    assert database.write(lift).result() == 1
    assert not is_blocked(database, kind, name)
    assert database.write(lift).result() == 0


def test_a_mark_goes_with_the_one_it_was_made_for(database: Database) -> None:
    source = put(database, tombstones.SOURCE, "/a")
    put(database, tombstones.CONTENT, "ab" * 32, because=source)
    put(database, tombstones.CONTENT, "cd" * 32)
    lifted = database.write(partial(tombstones.lift, kind=tombstones.SOURCE, name="/a")).result()
    assert lifted == 2
    assert not is_blocked(database, tombstones.CONTENT, "ab" * 32)
    assert is_blocked(database, tombstones.CONTENT, "cd" * 32)
    assert database.write(tombstones.lift_all).result() == 1


def test_a_mark_tells_nothing_to_who_lacks_the_key(database: Database, tmp_path: Path) -> None:
    mark = put(database, tombstones.SOURCE, "/a")
    (tmp_path / "other").mkdir()
    other = Database(tmp_path / "other" / "store.sqlite")
    assert put(other, tombstones.SOURCE, "/a") != mark
    other.close()
    digests = {hashlib.sha256(one).hexdigest() for one in (b"/a", b"source/a", b"source\0/a")}
    assert mark not in digests


def test_without_the_key_nothing_is_let_through(database: Database) -> None:
    assert not is_blocked(database, tombstones.SOURCE, "/a")
    put(database, tombstones.SOURCE, "/a")
    audit_anchor.key_file(database.path).unlink()
    with pytest.raises(Failed, match="restore"):
        is_blocked(database, tombstones.SOURCE, "/b")


def test_a_passage_is_known_by_its_words_unless_they_are_few() -> None:
    assert tombstones.passage_text("yes, do that") is None
    long = tombstones.passage_text("The gate\n  is shut today.")
    assert long is not None
    assert long == tombstones.passage_text("\nThe gate is shut  today.\n")
    assert long != tombstones.passage_text("The gate is shut tomorrow.")


def test_forgotten_findings_are_listed_in_order_from_a_moment_on(database: Database) -> None:
    for number in range(3):
        at = f"2026-01-0{number + 1}T00:00:00.000Z"
        name = ID[:-1] + str(number)
        work = partial(tombstones.put, kind=tombstones.FINDING, name=name, at=at, by="ada")
        database.write(work).result()
    read = partial(tombstones.findings_since, at="2026-01-02", limit=10)
    assert [one[0][-1] for one in database.read(read)] == ["1", "2"]


def test_the_log_of_the_store_is_emptied_once_no_reader_needs_it(database: Database) -> None:
    put(database, tombstones.SOURCE, "/a")
    log = database.path.with_name("store.sqlite-wal")

    def hold(connection: Any) -> bool:
        connection.execute("BEGIN")
        connection.execute("SELECT count(*) FROM tombstone").fetchone()
        put(database, tombstones.SOURCE, "/b")
        while_read = database.truncate_log().result()
        connection.execute("COMMIT")
        return while_read

    assert log.stat().st_size > 0
    assert not database.read(hold)
    assert database.truncate_log().result()
    assert log.stat().st_size == 0
