"""Documents in the store: one text however many paths lead to it, given back by passages."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import pytest

from ifmem.domain.passage import Passage
from ifmem.store import chunks, contents, shards
from ifmem.store.contents import Known, Origin
from ifmem.store.database import Database

Save = Callable[..., int]


def origin(source: str) -> Origin:
    return Origin(
        source=source, root="/src", size=9, mtime_ns=3, inode=4, loaded_at="2026-01-02T03:04:05Z"
    )


def link(database: Database, source: str, content_id: int) -> int | None:
    return database.write(lambda c: contents.link(c, origin(source), content_id)).result()


def test_the_passages_of_a_text_give_it_back(database: Database, save: Save) -> None:
    content_id = save("/src/a.md", "# Title\n", "naïve\0 𝄞\n", "\n", "end")
    assert database.read(lambda c: contents.text_of(c, content_id)) == "# Title\nnaïve\0 𝄞\n\nend"


def test_a_passage_knows_where_it_stands(database: Database, save: Save) -> None:
    content_id = save("/src/a.md", "one\n", "two\n", shard=2, speakers=True)
    first, second = database.read(lambda c: contents.passages_of(c, content_id))
    digest = hashlib.sha256(b"one\ntwo\n").hexdigest()
    assert second == Passage(
        passage_id=second.passage_id,
        content_id=content_id,
        ordinal=1,
        sha256=digest,
        shard=2,
        source="/src/a.md",
        title="src/a.md",
        kind="chat",
        group="talk",
        first_line=2,
        last_line=2,
        tokens=10,
        header="part 1",
        speaker="ada",
        said_at="2026-01-02",
        locator="row 1",
        text="two\n",
        loaded_at="2026-01-02T03:04:05.000Z",
    )
    assert second.time == "2026-01-02"
    assert second.author == "ada"
    assert second.public_id == f"{digest[:16]}:1"
    assert second.is_turn
    assert database.read(lambda c: list(contents.passages_after(c, 0))) == [first, second]


def test_passages_are_found_by_id_and_one_that_is_gone_is_missing(
    database: Database, save: Save
) -> None:
    content_id = save("/src/a.md", "one\n", "two\n")
    ids = [p.passage_id for p in database.read(lambda c: contents.passages_of(c, content_id))]
    found = database.read(lambda c: contents.passages_by_id(c, [ids[1], 999]))
    assert list(found) == [ids[1]]
    assert found[ids[1]].text == "two\n"


def test_many_passages_are_found_in_the_order_asked_for(
    database: Database, save: Save, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chunks, "AT_ONCE", 7)
    content_id = save("/src/a.md", *(f"line {n}\n" for n in range(20)))
    passages = database.read(lambda c: contents.passages_of(c, content_id))
    ids = [one.passage_id for one in reversed(passages)]
    found = database.read(lambda c: contents.passages_by_id(c, [*ids, 999_999]))
    assert list(found.values()) == passages[::-1]
    heads = database.read(lambda c: contents.heads_by_id(c, [*ids, 999_999]))
    assert heads == {
        one.passage_id: (one.sha256, one.ordinal, one.title, one.header) for one in passages
    }
    tokens = database.read(lambda c: contents.tokens_by_id(c, [*ids, 999_999]))
    assert tokens == {one.passage_id: one.tokens for one in passages}


def test_passages_stored_after_one_are_those_with_later_ids(database: Database, save: Save) -> None:
    save("/src/a.md", "one\n", "two\n")
    save("/src/b.md", "three\n")
    every = database.read(lambda c: list(contents.passages_after(c, 0)))
    assert [p.text for p in every] == ["one\n", "two\n", "three\n"]
    later = database.read(lambda c: list(contents.passages_after(c, every[1].passage_id)))
    assert later == every[2:]
    assert database.read(contents.passage_ids) == {p.passage_id for p in every}


def test_a_text_is_known_by_its_digest_and_its_reader(database: Database, save: Save) -> None:
    content_id = save("/src/a.md", "one\n")
    digest = hashlib.sha256(b"one\n").hexdigest()
    assert database.read(lambda c: contents.content_of(c, digest, "text")) == content_id
    assert database.read(lambda c: contents.content_of(c, digest, "html")) is None
    assert database.read(lambda c: contents.content_at(c, "/src/a.md")) == (content_id, digest)
    assert database.read(lambda c: contents.content_at(c, "/src/b.md")) is None


def test_a_text_stays_while_any_path_leads_to_it(database: Database, save: Save) -> None:
    content_id = save("/src/b.md", "one\n")
    assert link(database, "/src/a.md", content_id) is None
    (passage,) = database.read(lambda c: contents.passages_of(c, content_id))
    assert passage.source == "/src/a.md", "the first path in order stands for all"

    assert database.write(lambda c: contents.unlink(c, "/src/a.md")).result() == content_id
    assert database.read(lambda c: contents.is_linked(c, content_id))
    assert database.write(lambda c: contents.unlink(c, "/src/b.md")).result() == content_id
    assert not database.read(lambda c: contents.is_linked(c, content_id))
    assert database.write(lambda c: contents.unlink(c, "/src/b.md")).result() is None


def test_a_changed_file_tells_the_text_it_led_to_before(database: Database, save: Save) -> None:
    before, after = save("/src/a.md", "one\n"), save("/src/b.md", "two\n")
    assert link(database, "/src/a.md", before) is None, "nothing changed"
    assert link(database, "/src/a.md", after) == before


def test_deleting_a_text_takes_its_parts_and_passages(database: Database, save: Save) -> None:
    content_id, other = save("/src/a.md", "one\n", "two\n"), save("/src/b.md", "three\n")
    ids = [p.passage_id for p in database.read(lambda c: contents.passages_of(c, content_id))]
    database.write(lambda c: contents.unlink(c, "/src/a.md")).result()
    assert database.write(lambda c: contents.delete_content(c, content_id)).result() == ids
    assert [p.content_id for p in database.read(lambda c: list(contents.passages_after(c, 0)))] == [
        other
    ]
    assert [part.content_id for part in database.read(lambda c: shards.parts_of(c, 1))] == [other]


def test_known_files_are_those_at_or_below_a_directory(database: Database, save: Save) -> None:
    inside = {"/src/a": save("/src/a", "1"), "/src/a/b": save("/src/a/b", "2")}
    for n, outside in enumerate(("/src/a.md", "/src/ab/c", "/src", "/src/a0")):
        save(outside, f"outside {n}")
    known = database.read(lambda c: contents.known_below(c, "/src/a"))
    assert {source: one.content_id for source, one in known.items()} == inside
    assert known["/src/a"] == Known(inside["/src/a"], size=5, mtime_ns=1, inode=2)
    assert set(database.read(lambda c: contents.known_below(c, "/"))) >= set(inside)


def test_a_public_id_leads_to_its_passage(database: Database, save: Save) -> None:
    content_id = save("/src/a.md", "one\n", "two\n")
    digest = hashlib.sha256(b"one\ntwo\n").hexdigest()
    find = contents.find_passage
    assert database.read(lambda c: find(c, digest[:16], 1)) == (content_id, 1)
    assert database.read(lambda c: find(c, digest[:16], 2)) is None
    assert database.read(lambda c: find(c, "f" * 16, 0)) is None


def test_blanking_a_passage_keeps_its_lines_and_nothing_else(
    database: Database, save: Save
) -> None:
    content_id = save("/src/a.md", "one\n", "two\nthree\n", "four", speakers=True)
    before = database.read(lambda c: contents.passages_of(c, content_id))
    blanked = database.write(lambda c: contents.blank_passage(c, content_id, 1)).result()
    first, second, third = database.read(lambda c: contents.passages_of(c, content_id))
    assert blanked == (before[1].passage_id, second.passage_id)
    assert second.passage_id > before[2].passage_id, "no id is used again for another text"
    assert (second.text, second.header, second.speaker) == ("\n\n", "", None)
    assert (first.text, third.text) == ("one\n", "four")
    assert database.write(lambda c: contents.blank_passage(c, content_id, 1)).result() is None
