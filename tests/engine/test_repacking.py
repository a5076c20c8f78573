"""Cutting shards that have outgrown their model: a plan as values."""

from __future__ import annotations

from collections import defaultdict

from hypothesis import given
from hypothesis import strategies as st

from ifmem.domain.shard import Speciality
from ifmem.engine.repacking import FILLED, HeldPart, PackedShard, Packing, plan_packing

FILES, SEARCH = Speciality.FILES_GIT, Speciality.ANALYSIS_SEARCH
BUDGETS = dict.fromkeys(Speciality, 100)


def shard(
    number: int,
    *tokens: int,
    budget: int | None = 100,
    capacity: int = 500,
    speciality: Speciality = FILES,
) -> PackedShard:
    parts = tuple(HeldPart(100 * number + place, size) for place, size in enumerate(tokens))
    return PackedShard(number, speciality, capacity, budget, parts)


def plan(*shards: PackedShard, limit: int = 50) -> Packing:
    return plan_packing(shards, budgets=BUDGETS, limit=limit)


def after(packing: Packing, *shards: PackedShard) -> dict[int, list[int]]:
    """Part ids of each shard once the plan is done."""
    held = defaultdict(list, {s.number: [part.part_id for part in s.parts] for s in shards})
    for move in packing.moves:
        held[move.giver].remove(move.part.part_id)
        held[move.taker].append(move.part.part_id)
    return dict(held)


def test_a_shard_within_its_budget_is_left_as_it_is() -> None:
    assert plan(shard(1, 50, 50, capacity=90)).moves == ()


def test_a_shard_without_a_model_is_left_as_it_is() -> None:
    assert plan(shard(1, 400, budget=None)) == Packing()


def test_the_last_documents_of_a_shard_that_is_too_large_move_to_a_new_sibling() -> None:
    one = shard(1, 40, 40, 40, 40)
    packing = plan(one)
    assert after(packing, one) == {1: [100, 101], 2: [102, 103]}
    assert packing.opened == {2: FILES}


def test_a_sibling_with_room_takes_documents_before_a_new_one_is_opened() -> None:
    shards = shard(1, 80, 40), shard(2, 20), shard(3, 10, speciality=SEARCH)
    packing = plan(*shards)
    assert after(packing, *shards) == {1: [100], 2: [200, 101], 3: [300]}
    assert not packing.opened


def test_capacities_follow_the_budget_so_that_placing_does_not_fill_them_again() -> None:
    assert plan(shard(1, 40, 40, 40)).capacities == {1: 90, 2: 90}


def test_a_capacity_that_would_hardly_change_stays() -> None:
    assert plan(shard(1, 40, capacity=92)).capacities == {}


def test_a_part_larger_than_the_budget_stays_alone() -> None:
    one = shard(1, 30, 300, 30)
    packing = plan(one)
    assert after(packing, one) == {1: [101], 2: [100, 102]}
    assert packing.capacities[1] == 300


def test_where_no_further_shard_is_allowed_the_rest_stays_and_still_fits() -> None:
    packing = plan(shard(1, 80, 80, 80), limit=1)
    assert packing.moves == ()
    assert 1 not in packing.capacities or packing.capacities[1] >= 240


@given(
    st.lists(
        st.lists(st.integers(1, 150), max_size=8).map(tuple),
        min_size=1,
        max_size=5,
    ),
    st.integers(1, 12),
    st.sampled_from([86, 88, 94, 1_500]),
)
def test_nothing_is_lost_and_no_shard_is_filled_above_its_capacity(
    sizes: list[tuple[int, ...]], limit: int, least: int
) -> None:
    shards = [
        shard(n, *tokens, capacity=max(least, sum(tokens))) for n, tokens in enumerate(sizes, 1)
    ]
    limit = max(limit, len(shards))
    packing = plan_packing(shards, budgets=BUDGETS, limit=limit)
    held = after(packing, *shards)
    size_of = {part.part_id: part.tokens for one in shards for part in one.parts}
    assert sorted(id for ids in held.values() for id in ids) == sorted(size_of)
    assert len({*held, *packing.opened}) <= limit
    capacity = {one.number: one.capacity for one in shards} | dict(packing.capacities)
    for number, ids in held.items():
        assert sum(size_of[id] for id in ids) <= capacity[number]
    # A second look at the result finds nothing to move, unless the limit stopped the first.
    if len(held) < limit:
        again = [
            PackedShard(
                number,
                FILES,
                capacity[number],
                100,
                tuple(HeldPart(id, size_of[id]) for id in ids),
            )
            for number, ids in held.items()
        ]
        assert plan_packing(again, budgets=BUDGETS, limit=limit).moves == ()
    for move in packing.moves:
        assert move.part.tokens <= 100
        assert move.giver != move.taker
    assert all(capacity[number] == int(FILLED * 100) for number in packing.opened)
