"""Stored vectors: kept by what they belong to, replaced by another encoder's, gone with it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from ifmem.store import contents, embeddings, findings
from ifmem.store.database import Database

Save = Callable[..., int]


def kept(database: Database, encoder: str = "small/1") -> dict[int, bytes]:
    return database.read(lambda c: dict(embeddings.all_of(c, encoder)))


def keep(database: Database, embedded: dict[int, bytes], encoder: str = "small/1") -> None:
    work = partial(embeddings.keep, encoder=encoder, embedded=list(embedded.items()))
    database.write(work).result()


def remember(database: Database) -> int:
    append = partial(
        findings.append,
        finding_id="7",
        author="ada",
        task_id=None,
        topic=None,
        said_at="2026-01-02",
        tokens=3,
        body=b"{}",
    )
    return database.write(append).result()[0]


def test_vectors_of_passages_and_findings_are_kept_by_their_keys(
    database: Database, save: Save
) -> None:
    save("/a.md", "one\n", "two\n")
    ids = sorted(database.read(contents.passage_ids))
    sequence = remember(database)
    expected = {ids[0]: b"abc", ids[1]: b"", -sequence: b"xyz"}
    keep(database, expected)
    assert kept(database) == expected


def test_those_of_another_encoder_are_not_given_and_make_room(
    database: Database, save: Save
) -> None:
    save("/a.md", "one\n")
    (passage,) = database.read(contents.passage_ids)
    keep(database, {passage: b"old"})
    assert kept(database, "large/1") == {}
    keep(database, {passage: b"new"}, "large/1")
    assert kept(database, "large/1") == {passage: b"new"}
    assert kept(database) == {}


def test_vectors_go_with_their_text_and_do_not_come_back(database: Database, save: Save) -> None:
    content = save("/a.md", "one\n", "two\n")
    other = save("/b.md", "three\n")
    ids = database.read(contents.passage_ids)
    sequence = remember(database)
    everything = dict.fromkeys([*ids, -sequence], b"abc")
    keep(database, everything)
    database.write(lambda c: contents.blank_passage(c, content, 0)).result()
    assert len(kept(database)) == 3
    database.write(lambda c: findings.delete(c, "7", "2026-01-03")).result()
    assert -sequence not in kept(database)
    database.write(lambda c: contents.unlink(c, "/a.md")).result()
    database.write(lambda c: contents.delete_content(c, content)).result()
    left = {one.passage_id for one in database.read(lambda c: contents.passages_of(c, other))}
    assert set(kept(database)) == left
    # Made from a text that was removed meanwhile.
    keep(database, everything)
    assert set(kept(database)) == left
