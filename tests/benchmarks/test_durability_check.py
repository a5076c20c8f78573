"""The checker of ``durability`` finds every kind of breach, and none where there is none."""

from __future__ import annotations

from dataclasses import dataclass, field

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ifmem.benchmarks.durability_check import (
    Breaches,
    BusRows,
    FindingRow,
    StoreRows,
    Told,
    check,
)

LIMIT = 3


def row(sequence: int, finding_id: str, task: str | None = None) -> FindingRow:
    return FindingRow(sequence, finding_id, task, f"claim of {finding_id}", finding_id.encode())


@dataclass
class World:
    """Four findings, one of them unknown to its writer, one the result of the one task done."""

    told: Told = field(
        default_factory=lambda: Told(
            acknowledged={"a", "b", "c"},
            unknown={"d", "never"},
            refused={"r"},
            posted={"t", "u"},
            completions={("t", "1-1")},
        )
    )
    findings: list[FindingRow] = field(
        default_factory=lambda: [
            *(row(1, "a"), row(2, "b"), row(3, "d"), row(5, "c"), row(6, "result", "t"))
        ]
    )
    tasks: dict[str, str] = field(default_factory=lambda: {"t": "done", "u": "pending"})
    window: list[FindingRow] | None = None
    counters: dict[str, int] = field(
        default_factory=lambda: {"findings": 5, "tasks:done": 1, "tasks:pending": 1, "sequence": 9}
    )
    searchable: int | None = None

    def check(self) -> Breaches:
        window = self.findings[-LIMIT:] if self.window is None else self.window
        searchable = len(self.findings) if self.searchable is None else self.searchable
        return check(
            self.told,
            StoreRows(self.findings, self.tasks),
            BusRows(window, LIMIT, self.counters),
            searchable=searchable,
        )


@pytest.fixture
def world() -> World:
    return World()


def kinds(found: Breaches) -> set[str]:
    return {name for name, of in msgspec.structs.asdict(found).items() if of}


def test_where_everything_holds_nothing_is_found(world: World) -> None:
    assert world.check().count == 0


@pytest.mark.parametrize("index", range(5))
def test_an_acknowledged_finding_that_is_not_stored_is_lost(world: World, index: int) -> None:
    gone = world.findings.pop(index)
    world.counters["findings"] -= 1
    lost = [f"finding {gone.finding_id}"] if gone.finding_id in world.told.acknowledged else []
    assert world.check().lost == lost


def test_a_task_or_a_completion_that_is_not_stored_is_lost(world: World) -> None:
    world.tasks["t"] = "pending"
    del world.tasks["u"]
    assert world.check().lost == ["task u", "completion t"]


def test_two_completions_or_two_results_are_one_task_done_twice(world: World) -> None:
    world.told.completions.add(("t", "1-2"))
    assert world.check().done_twice == ["t"]
    other = World()
    other.findings.append(row(7, "another result", "t"))
    other.counters["findings"] += 1
    assert other.check().done_twice == ["t"]


def test_one_claim_stored_under_two_ids_is_a_duplicate(world: World) -> None:
    twin = msgspec.structs.replace(row(7, "d2"), claim="claim of d")
    world.findings.append(twin)
    world.told.unknown.add("d2")
    world.counters["findings"] += 1
    assert kinds(world.check()) == {"duplicates"}


def test_what_was_refused_or_never_written_must_not_be_stored(world: World) -> None:
    world.findings += [row(7, "r"), row(8, "x")]
    world.counters["findings"] += 2
    found = world.check()
    assert (found.stored_though_refused, found.invented) == (["r"], ["x"])


def test_a_window_that_is_not_the_newest_of_the_store_is_found(world: World) -> None:
    newest = world.findings[-LIMIT:]
    changed = msgspec.structs.replace(newest[0], body=b"other")
    for window in ([], newest[1:], world.findings[-LIMIT - 1 :], [changed, *newest[1:]]):
        world.window = window
        assert kinds(world.check()) == {"window"}


@pytest.mark.parametrize("name", ["findings", "tasks:done", "tasks:pending", "tasks:dead"])
def test_a_counter_that_is_off_by_one_is_found(world: World, name: str) -> None:
    world.counters[name] = world.counters.get(name, 0) + 1
    assert kinds(world.check()) == {"counters"}


def test_numbers_that_would_be_given_out_twice_are_found(world: World) -> None:
    world.counters["sequence"] = 5
    assert kinds(world.check()) == {"counters"}


def test_a_stored_finding_that_no_search_finds_is_found(world: World) -> None:
    world.searchable = 4
    assert world.check().unsearchable == ["4 of 5"]


def test_an_answer_that_the_contract_does_not_know_is_found(world: World) -> None:
    world.told.strange.append("Failed: something else")
    assert kinds(world.check()) == {"strange"}


@given(st.sets(st.integers(0, 30)), st.sets(st.integers(0, 30)))
def test_lost_is_what_was_acknowledged_and_is_not_there(told: set[int], there: set[int]) -> None:
    found = check(
        Told(acknowledged={str(one) for one in told}),
        StoreRows([row(one + 1, str(one)) for one in sorted(there)], {}),
        BusRows([], 1, {}),
        searchable=len(there),
    )
    assert found.lost == [f"finding {one}" for one in sorted(str(n) for n in told - there)]
    assert set(found.invented) == {str(one) for one in there - told}
