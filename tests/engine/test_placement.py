"""Where a document goes: its speciality by the table, its shard by room and neighbours."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ifmem.domain.document import Kind
from ifmem.domain.shard import Shard, Speciality
from ifmem.engine.placement import (
    DEFAULT_RULES,
    NoRoom,
    Placed,
    PlacementRule,
    cut_into_parts,
    place,
    speciality_of,
)

FILES, SEARCH, TESTING, DECISIONS = Speciality
CAPACITY = 1_000


def shard(number: int, speciality: Speciality, tokens: int = 0) -> Shard:
    return Shard(number=number, speciality=speciality, capacity=CAPACITY, tokens=tokens)


def four(files: int = 0) -> list[Shard]:
    """The first four shards, the one for files filled this far."""
    return [shard(1, FILES, files), shard(2, SEARCH), shard(3, TESTING), shard(4, DECISIONS)]


@pytest.mark.parametrize(
    ("kind", "path", "speciality"),
    [
        (Kind.CODE, "shop/src/cart.py", FILES),
        (Kind.CONFIG, "shop/pyproject.toml", FILES),
        (Kind.GIT_LOG, "shop/.git", FILES),
        (Kind.PROSE, "shop/docs/guide.md", SEARCH),
        (Kind.DATA, "shop/prices.csv", SEARCH),
        (Kind.CODE, "shop/tests/helpers.py", TESTING),
        (Kind.CODE, "shop/src/test_cart.py", TESTING),
        (Kind.CODE, "shop/src/cart_test.go", TESTING),
        (Kind.CODE, "shop/web/cart.spec.ts", TESTING),
        (Kind.DATA, "shop/out/junit-report.xml", TESTING),
        (Kind.PROSE, "tests/readme.md", TESTING),
        (Kind.CODE, "shop/src/contest.py", FILES),
        (Kind.PROSE, "shop/docs/adr/0001-queue.md", DECISIONS),
        (Kind.PROSE, "shop/decisions/queue.md", DECISIONS),
        (Kind.CHAT, "shop/talk.jsonl", DECISIONS),
        (Kind.CHAT, "shop/tests/talk.jsonl", DECISIONS),
    ],
)
def test_the_default_table(kind: Kind, path: str, speciality: Speciality) -> None:
    assert speciality_of(kind, path, DEFAULT_RULES) is speciality


def test_the_first_rule_that_matches_wins() -> None:
    rules = (
        PlacementRule(TESTING, paths=("*.py",)),
        PlacementRule(DECISIONS, kinds=frozenset({Kind.CODE})),
    )
    assert speciality_of(Kind.CODE, "a.py", rules) is TESTING
    assert speciality_of(Kind.CODE, "a.go", rules) is DECISIONS


def test_what_no_rule_wants_goes_to_analysis_and_search() -> None:
    assert speciality_of(Kind.CODE, "a.py", ()) is SEARCH
    assert speciality_of(Kind.CODE, "a.py", [PlacementRule(TESTING)]) is SEARCH


def test_a_part_goes_beside_its_neighbours_while_it_fits_there() -> None:
    shards = [*four(files=900), shard(5, FILES, 100)]
    assert place(100, FILES, shards, near=1, limit=5) == Placed(1, opens=False)
    assert place(101, FILES, shards, near=1, limit=5) == Placed(5, opens=False)


def test_without_neighbours_the_newest_shard_with_room_takes_it() -> None:
    shards = [*four(), shard(5, FILES, 999), shard(6, FILES, 500)]
    assert place(500, FILES, shards, near=None, limit=6) == Placed(6, opens=False)
    assert place(501, FILES, shards, near=None, limit=6) == Placed(1, opens=False)


def test_neighbours_in_a_shard_of_another_speciality_do_not_count() -> None:
    assert place(1, FILES, four(), near=2, limit=9) == Placed(1, opens=False)


def test_a_full_speciality_opens_a_sibling_though_others_have_room() -> None:
    assert place(100, FILES, four(files=901), near=1, limit=9) == Placed(5, opens=True)


def test_a_sibling_never_takes_a_number_that_is_in_use() -> None:
    gaps = [shard(1, FILES, CAPACITY), shard(7, SEARCH)]
    assert place(1, FILES, gaps, near=None, limit=9) == Placed(8, opens=True)
    assert place(1, FILES, [], near=None, limit=9) == Placed(1, opens=True)


def test_at_the_limit_there_is_no_room_and_the_answer_says_so() -> None:
    shards = four(files=CAPACITY)
    assert place(1, FILES, shards, near=1, limit=4) == NoRoom(FILES, shards=4)
    assert place(1, FILES, shards, near=1, limit=5) == Placed(5, opens=True)


def test_an_empty_document_fits_a_full_shard() -> None:
    assert place(0, FILES, four(files=CAPACITY), near=None, limit=4) == Placed(1, opens=False)


passages = st.lists(st.integers(0, CAPACITY), max_size=60)


@given(passages)
def test_parts_cover_all_passages_in_order_and_none_exceeds_the_capacity(sizes: list[int]) -> None:
    parts = cut_into_parts(sizes, CAPACITY)
    assert [index for part in parts for index in part] == list(range(len(sizes)))
    assert all(sum(sizes[i] for i in part) <= CAPACITY for part in parts)
    assert all(parts) or parts == [range(0)]


@given(passages)
def test_a_part_ends_only_where_the_next_passage_would_not_fit(sizes: list[int]) -> None:
    parts = cut_into_parts(sizes, CAPACITY)
    for part, following in pairwise(parts):
        assert sum(sizes[i] for i in part) + sizes[following[0]] > CAPACITY


def test_a_document_that_fits_is_one_part_and_so_is_an_empty_one() -> None:
    assert cut_into_parts([400, 600], CAPACITY) == [range(2)]
    assert cut_into_parts([], CAPACITY) == [range(0)]


def test_a_passage_larger_than_a_shard_is_our_bug() -> None:
    with pytest.raises(ValueError, match="passage 1 has 1001 tokens; a shard holds 1000"):
        cut_into_parts([3, CAPACITY + 1], CAPACITY)
