"""Sessions in the store: those of an older schema, pages, and who is idle."""

from __future__ import annotations

import sqlite3
from functools import partial
from importlib import resources
from pathlib import Path
from typing import Any

import pytest

from ifmem.errors import Refused
from ifmem.store import findings, sessions, shards
from ifmem.store.database import Database

EARLY, NOON, LATE = (f"2026-01-02T{hour}:00:00.000Z" for hour in ("03", "12", "21"))
BEFORE_SESSIONS = 12


def say(connection: sqlite3.Connection, number: int, run: str | None, at: str = EARLY) -> None:
    findings.append(
        connection,
        finding_id=f"00000000-0000-4000-8000-{number:012}",
        author="ada",
        task_id=None,
        topic=None,
        said_at=at,
        tokens=7,
        body=b"{}",
        run=run,
    )


def begin(database: Database, name: str, at: str = EARLY) -> None:
    database.write(partial(sessions.touch, session_id=name, agent="ada", at=at)).result()


def test_the_runs_and_documents_of_an_older_store_are_as_if_sessions_had_always_been(
    tmp_path: Path,
) -> None:
    path = tmp_path / "store.sqlite"
    older = sqlite3.connect(path, isolation_level=None)
    folder = resources.files("ifmem.store") / "migrations"
    for script in sorted(folder.iterdir(), key=lambda one: one.name):
        if script.name[:4].isdigit() and int(script.name[:4]) <= BEFORE_SESSIONS:
            older.executescript(script.read_text(encoding="utf-8"))
    older.execute(f"PRAGMA user_version = {BEFORE_SESSIONS}")
    for number, (run, at) in enumerate(
        (("night", EARLY), ("night", LATE), ("-", NOON), (None, NOON))
    ):
        say(older, number, run, at)
    older.execute(
        "INSERT INTO content (sha256, format, kind, title, size, tokens, masked) "
        "VALUES ('aa', 'text', 'prose', 'a', 1, 1, 0)"
    )
    older.execute("INSERT INTO document VALUES ('/a', 1, '/', 1, 1, 1, ?, 'user')", (NOON,))
    older.close()
    database = Database(path)
    (night,) = database.read(sessions.page)
    assert (night.session_id, night.agent, night.findings) == ("night", "ada", 2)
    assert (night.started_at, night.last_at, night.ended_at) == (EARLY, LATE, None)
    assert database.read(partial(sessions.loaded_by, source="/a")) == ["-"]
    assert [one.number for one in database.read(shards.all_shards)] == []
    database.close()


def test_pages_follow_each_other_through_sessions_that_began_at_the_same_moment(
    database: Database,
) -> None:
    for name, at in (("a", EARLY), ("b", NOON), ("c", NOON), ("d", LATE)):
        begin(database, name, at)
    seen: list[str] = []
    before = None
    while rows := database.read(partial(sessions.page, before=before, limit=2)):
        seen += [row.session_id for row in rows]
        before = (rows[-1].started_at, rows[-1].session_id)
    assert seen == ["d", "c", "b", "a"]


def test_idle_is_what_nothing_was_stored_in_since_the_one_waiting_longest_first(
    database: Database,
) -> None:
    begin(database, "late", LATE)
    begin(database, "noon", NOON)
    begin(database, "early", EARLY)
    look = partial(sessions.idle_since, moment=LATE, limit=9)
    assert database.read(look) == ["early", "noon"]
    begin(database, "early", LATE)
    assert database.read(look) == ["noon"]


def test_a_clock_that_went_back_does_not_make_a_session_older(database: Database) -> None:
    begin(database, "night", LATE)
    begin(database, "night", EARLY)
    found = database.read(partial(sessions.get, session_id="night"))
    assert found is not None
    assert (found.started_at, found.last_at) == (LATE, LATE)


@pytest.mark.parametrize(("by", "goes_on"), [("ada", False), (None, True)])
def test_only_what_ended_by_itself_goes_on(
    database: Database, by: str | None, goes_on: bool
) -> None:
    begin(database, "night")
    database.write(lambda c: sessions.end(c, "night", at=NOON, by=by)).result()
    touched = database.write(lambda c: sessions.touch(c, "night", agent="bob", at=LATE)).result()
    assert touched is goes_on
    entering = database.write(lambda c: sessions.enter(c, "night", agent="bob", at=LATE))
    if goes_on:
        entering.result()
    else:
        with pytest.raises(Refused, match="ended by ada"):
            entering.result()


def test_archiving_keeps_the_ids_and_texts_of_passages_and_the_counts_of_shards(
    database: Database, save: Any
) -> None:
    save("/a", "one\n", "two\n")
    save("/b", "three\n")
    database.write(
        lambda c: c.execute("UPDATE document_session SET session_id = 'night' WHERE source = '/a'")
    ).result()
    begin(database, "night")
    passages = "SELECT passage_id, text FROM passage ORDER BY passage_id"
    before = database.read(lambda c: c.execute(passages).fetchall())
    (generation,) = {one.generation for one in database.read(shards.all_shards)}
    archived = database.write(lambda c: sessions.end(c, "night", at=NOON, by="ada")).result()
    assert archived is not None
    assert archived.shards == {1}
    assert database.read(lambda c: c.execute(passages).fetchall()) == before
    first = database.read(shards.all_shards)[0]
    assert (first.tokens, first.documents, first.generation) == (10, 1, generation + 1)
    assert database.read(sessions.archived_tokens) == 20
    assert len(database.read(sessions.archived_keys)) == 2


def test_archived_findings_are_counted_by_whatever_changes_them(database: Database) -> None:
    for number in range(3):
        database.write(partial(say, number=number, run="night")).result()
    begin(database, "night")
    database.write(lambda c: sessions.end(c, "night", at=NOON, by="ada")).result()
    assert database.read(sessions.archived_tokens) == 21
    database.write(lambda c: c.execute("DELETE FROM finding WHERE sequence = 2")).result()
    assert database.read(sessions.archived_tokens) == 14
    database.write(
        lambda c: c.execute("UPDATE finding SET archived = 0 WHERE sequence = 1")
    ).result()
    assert database.read(sessions.archived_tokens) == 7
