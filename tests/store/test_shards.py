"""Shards in the store: never above their capacity, and always what their parts sum to."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from ifmem.domain.shard import Shard, Speciality
from ifmem.errors import Failed
from ifmem.store import contents, shards
from ifmem.store.database import Database
from ifmem.wire import blob

FILES, SEARCH, TESTING, DECISIONS = Speciality
CAPACITY = 1_000
Save = Callable[..., int]


def state(database: Database, number: int) -> Shard:
    return next(s for s in database.read(shards.all_shards) if s.number == number)


def append(database: Database, content_id: int, tokens: int, *, ordinal: int = 1) -> int:
    return database.write(
        lambda c: shards.append_part(
            c, content_id=content_id, ordinal=ordinal, shard=1, tokens=tokens, bytes=1
        )
    ).result()


def test_the_first_four_shards_have_the_four_specialities_in_order(database: Database) -> None:
    assert database.read(shards.all_shards) == [
        Shard(number=n, speciality=speciality, capacity=CAPACITY)
        for n, speciality in enumerate((FILES, SEARCH, TESTING, DECISIONS), 1)
    ]


def test_opening_them_again_changes_nothing(database: Database, save: Save) -> None:
    save("/a", "one\n")
    database.write(lambda c: shards.open_default_shards(c, 5 * CAPACITY)).result()
    assert state(database, 1) == Shard(
        number=1, speciality=FILES, capacity=CAPACITY, tokens=10, documents=1
    )


def test_a_sibling_is_a_further_shard_and_a_number_is_used_once(database: Database) -> None:
    database.write(lambda c: shards.open_sibling(c, 5, SEARCH, 70)).result()
    assert state(database, 5) == Shard(number=5, speciality=SEARCH, capacity=70)
    with pytest.raises(Failed):
        database.write(lambda c: shards.open_sibling(c, 5, FILES, 70)).result()


def test_a_part_that_exceeds_the_capacity_is_refused_and_leaves_no_trace(
    database: Database, save: Save
) -> None:
    content_id = save("/a", "one\n")
    append(database, content_id, CAPACITY - 10)
    assert state(database, 1).room == 0
    with pytest.raises(Failed, match="CHECK"):
        append(database, content_id, 1, ordinal=2)
    assert (state(database, 1).tokens, state(database, 1).documents) == (CAPACITY, 2)
    assert len(database.read(lambda c: shards.parts_of(c, 1))) == 2


def test_parts_lie_in_the_order_they_were_appended(database: Database, save: Save) -> None:
    order = [save(source, f"{source}\n") for source in ("/c", "/a", "/b")]
    assert [p.content_id for p in database.read(lambda c: shards.parts_of(c, 1))] == order
    assert state(database, 1).generation == 0, "growing is no new generation"


def test_releasing_gives_the_tokens_back_in_a_new_generation(
    database: Database, save: Save
) -> None:
    gone, kept = save("/a", "one\n", "two\n"), save("/b", "three\n")
    assert database.write(lambda c: shards.release_parts(c, gone)).result() == [1]
    database.write(lambda c: contents.unlink(c, "/a")).result()
    database.write(lambda c: contents.delete_content(c, gone)).result()
    assert state(database, 1) == Shard(
        number=1, speciality=FILES, capacity=CAPACITY, tokens=10, documents=1, generation=1
    )
    assert [p.content_id for p in database.read(lambda c: shards.parts_of(c, 1))] == [kept]


def test_releasing_a_text_of_several_parts_counts_each_shard_once(
    database: Database, save: Save
) -> None:
    content_id = save("/a", "one\n", shard=2)
    append(database, content_id, 20)
    append(database, content_id, 30, ordinal=2)
    assert database.write(lambda c: shards.release_parts(c, content_id)).result() == [1, 2]
    for number in (1, 2):
        shard = state(database, number)
        assert (shard.tokens, shard.documents, shard.generation) == (0, 0, 1)


def test_a_position_is_not_used_again_after_a_release(database: Database, save: Save) -> None:
    first = save("/a", "one\n")
    last = save("/b", "two\n")
    database.write(lambda c: shards.release_parts(c, last)).result()
    database.write(lambda c: contents.unlink(c, "/b")).result()
    database.write(lambda c: contents.delete_content(c, last)).result()
    newest = save("/c", "three\n")
    assert [p.content_id for p in database.read(lambda c: shards.parts_of(c, 1))] == [first, newest]


def test_a_blanked_passage_gives_its_tokens_back_and_voids_what_was_hot(
    database: Database, save: Save
) -> None:
    content_id = save("/a", "one\n", "two\n", "three\n")
    database.write(lambda c: contents.blank_passage(c, content_id, 0)).result()
    (blank, *_) = database.read(lambda c: contents.passages_of(c, content_id))
    recount = shards.recount_part_of
    assert database.write(lambda c: recount(c, blank.passage_id)).result() == 1
    shard = state(database, 1)
    assert (shard.tokens, shard.generation) == (21, 1)
    (part,) = database.read(lambda c: shards.parts_of(c, 1))
    assert (part.tokens, part.bytes) == (21, len("\ntwo\nthree\n"))
    counted = database.read(lambda c: c.execute("SELECT tokens FROM content").fetchone())
    assert counted == (21,)


def test_the_next_document_of_a_directory_is_placed_beside_the_last(database: Database) -> None:
    near, remember = shards.shard_near, shards.remember_neighbour
    assert database.read(lambda c: near(c, "src", FILES)) is None
    database.write(lambda c: shards.open_sibling(c, 5, FILES, CAPACITY)).result()
    for shard in (1, 5):
        database.write(lambda c, n=shard: remember(c, "src", FILES, n)).result()  # type: ignore[misc]
    assert database.read(lambda c: near(c, "src", FILES)) == 5
    assert database.read(lambda c: near(c, "src", TESTING)) is None
    assert database.read(lambda c: near(c, "src/deep", FILES)) is None


def test_what_a_blob_is_made_of_comes_out_of_it_the_same(database: Database, save: Save) -> None:
    texts = {"/b": ("naïve ", "𝄞\n"), "/a": ("a NUL \0 inside\n", "after it\n"), "/c": ()}
    for source, passages in texts.items():
        save(source, *passages)
    ids = [part.part_id for part in database.read(lambda c: shards.parts_of(c, 1))]
    parts = database.read(lambda c: shards.blob_parts(c, ids))
    text = database.read(lambda c: shards.text_of_parts(c, ids))
    loaded = blob.decode(*blob.encode(parts, text))
    assert {one.part.source: one.texts for one in loaded} == texts
    assert [one.part.source for one in loaded] == list(texts)
    assert [one.part.tokens for one in loaded] == [20, 20, 0]
