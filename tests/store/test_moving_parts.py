"""Parts that change their shard: counted once, in order, and never lost."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from ifmem.domain.shard import Shard
from ifmem.errors import Failed
from ifmem.store import contents, embeddings, shards
from ifmem.store.database import Database

Save = Callable[..., int]


def state(database: Database, number: int) -> Shard:
    return next(s for s in database.read(shards.all_shards) if s.number == number)


def part_of(database: Database, content_id: int) -> int:
    (row,) = database.read(
        lambda c: c.execute(
            "SELECT part_id FROM part WHERE content_id = ?", (content_id,)
        ).fetchall()
    )
    return int(row[0])


def texts_of(database: Database, number: int) -> list[str]:
    parts = database.read(lambda c: shards.parts_of(c, number))
    return [
        database.read(lambda c, part=part: shards.text_of_parts(c, [part.part_id]))
        for part in parts
    ]


def test_a_moved_part_is_counted_in_its_new_shard_alone(database: Database, save: Save) -> None:
    first, second = save("/a", "one\n"), save("/b", "two\n")
    before = state(database, 1)
    assert (before.tokens, before.documents) == (20, 2)
    database.write(lambda c: shards.move_part(c, part_of(database, second), 2)).result()
    giver, taker = state(database, 1), state(database, 2)
    assert (giver.tokens, giver.documents) == (10, 1)
    assert (taker.tokens, taker.documents) == (10, 1)
    assert texts_of(database, 1) == ["one\n"]
    assert texts_of(database, 2) == ["two\n"]
    assert database.read(lambda c: contents.text_of(c, first)) == "one\n"
    assert database.read(lambda c: contents.text_of(c, second)) == "two\n"


def test_both_shards_are_in_a_new_generation(database: Database, save: Save) -> None:
    part = part_of(database, save("/a", "one\n"))
    generations = [state(database, n).generation for n in (1, 2)]
    database.write(lambda c: shards.move_part(c, part, 2)).result()
    assert [state(database, n).generation for n in (1, 2)] == [n + 1 for n in generations]


def test_a_moved_part_stands_behind_what_its_new_shard_held(database: Database, save: Save) -> None:
    parts = [part_of(database, save(f"/{name}", f"{name}\n")) for name in "abc"]
    for part in (parts[2], parts[0]):
        database.write(lambda c, part=part: shards.move_part(c, part, 3)).result()
    assert texts_of(database, 3) == ["c\n", "a\n"]


def test_its_passages_get_new_ids_and_keep_what_was_made_of_them(
    database: Database, save: Save
) -> None:
    content = save("/a", "one\n")
    (before,) = database.read(lambda c: contents.passages_of(c, content))
    database.write(
        lambda c: embeddings.keep(c, "some", [(before.passage_id, b"\x01\x02")])
    ).result()
    gone, renewed = database.write(
        lambda c: shards.move_part(c, part_of(database, content), 2)
    ).result()
    (after,) = database.read(lambda c: contents.passages_of(c, content))
    assert gone == [before.passage_id]
    assert renewed == [after.passage_id]
    assert after.passage_id > before.passage_id
    assert (after.text, after.shard) == ("one\n", 2)
    assert database.read(lambda c: embeddings.of_passages(c, "some", renewed)) == [
        (after.passage_id, b"\x01\x02")
    ]


def test_a_shard_without_room_takes_nothing(database: Database, save: Save) -> None:
    content = save("/a", "one\n")
    database.write(lambda c: shards.set_capacity(c, 2, 9)).result()
    with pytest.raises(Failed, match="CHECK"):
        database.write(lambda c: shards.move_part(c, part_of(database, content), 2)).result()
    assert texts_of(database, 1) == ["one\n"]


def test_a_capacity_below_what_is_held_is_refused(database: Database, save: Save) -> None:
    save("/a", "one\n")
    with pytest.raises(Failed, match="CHECK"):
        database.write(lambda c: shards.set_capacity(c, 1, 9)).result()
