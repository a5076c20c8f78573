"""What must hold after everything was killed: what writers were told, against store and bus."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import msgspec


class Told(msgspec.Struct):
    """What the writers of one run were told, by the ids they used."""

    acknowledged: set[str] = msgspec.field(default_factory=set)
    """Findings whose writer was told that they are durable."""
    unknown: set[str] = msgspec.field(default_factory=set)
    """Findings whose writer was told that it may or may not have happened, and left it so."""
    refused: set[str] = msgspec.field(default_factory=set)
    """Findings whose writer was told that nothing was stored."""
    posted: set[str] = msgspec.field(default_factory=set)
    """Tasks whose poster was told that they are durable."""
    completions: set[tuple[str, str]] = msgspec.field(default_factory=set)
    """Task and fence of each accepted completion."""
    unknown_answers: int = 0
    """How often an outcome was unknown, also of what was repeated and settled."""
    refused_answers: int = 0
    strange: list[str] = msgspec.field(default_factory=list)
    """Answers that are neither committed, nor refused, nor unknown."""


class FindingRow(msgspec.Struct, frozen=True):
    """A finding as the store or the bus has it."""

    sequence: int
    finding_id: str
    task_id: str | None
    """The task whose result it is."""
    claim: str
    body: bytes


class StoreRows(msgspec.Struct, frozen=True):
    findings: Sequence[FindingRow]
    """In the order of their sequence."""
    task_states: Mapping[str, str]


class BusRows(msgspec.Struct, frozen=True):
    window: Sequence[FindingRow]
    """In the order of their sequence."""
    limit: int
    """How many findings the window may hold."""
    counters: Mapping[str, int]


class Breaches(msgspec.Struct, frozen=True):
    """What does not hold, by its name; all empty when everything holds."""

    lost: list[str]
    """Acknowledged findings, tasks and completions that the store does not have."""
    done_twice: list[str]
    """Tasks with two accepted completions, or with two results."""
    duplicates: list[str]
    """Claims that stand in the store twice, though each was made once."""
    stored_though_refused: list[str]
    invented: list[str]
    """Findings in the store that nobody wrote."""
    window: list[str]
    """Findings in which the bus differs from the store's newest."""
    counters: list[str]
    """Counters of the bus that the store does not bear out."""
    unsearchable: list[str]
    """Whether the daemon's index has less, or more, than the store."""
    strange: list[str]
    """Answers of no kind that the contract knows."""

    @property
    def count(self) -> int:
        """How many there are in all."""
        return sum(len(getattr(self, name)) for name in self.__struct_fields__)


def check(told: Told, store: StoreRows, bus: BusRows, *, searchable: int) -> Breaches:
    """Compare what writers were told with what is there, when nothing is under way any more.

    Args:
        searchable: findings in the daemon's index.
    """
    stored = {row.finding_id for row in store.findings}
    said = [row for row in store.findings if row.task_id is None]
    return Breaches(
        lost=[
            *(f"finding {one}" for one in sorted(told.acknowledged - stored)),
            *(f"task {one}" for one in sorted(told.posted - store.task_states.keys())),
            *(
                f"completion {task}"
                for task, _ in sorted(told.completions)
                if store.task_states.get(task) != "done"
            ),
        ],
        done_twice=sorted(
            {
                *_repeated(task for task, _ in told.completions),
                *_repeated(row.task_id for row in store.findings if row.task_id is not None),
            }
        ),
        duplicates=_repeated(row.claim for row in said),
        stored_though_refused=sorted(told.refused & stored),
        invented=sorted(
            {row.finding_id for row in said} - told.acknowledged - told.unknown - told.refused
        ),
        window=_window(store, bus),
        counters=_counters(store, bus),
        unsearchable=[]
        if searchable == len(store.findings)
        else [f"{searchable} of {len(store.findings)}"],
        strange=list(told.strange),
    )


def _repeated(items: Iterable[str]) -> list[str]:
    return sorted(one for one, times in Counter(items).items() if times > 1)


def _window(store: StoreRows, bus: BusRows) -> list[str]:
    newest = {row.finding_id: row for row in store.findings[-bus.limit :]}
    shown = {row.finding_id: row for row in bus.window}
    return sorted(one for one in newest.keys() | shown.keys() if newest.get(one) != shown.get(one))


def _counters(store: StoreRows, bus: BusRows) -> list[str]:
    wanted = {"findings": len(store.findings)}
    wanted |= {f"tasks:{state}": 0 for state in ("pending", "leased", "done", "dead", "blocked")}
    wanted |= {f"tasks:{state}": n for state, n in Counter(store.task_states.values()).items()}
    off = [
        f"{name} is {bus.counters.get(name, 0)}, not {count}"
        for name, count in sorted(wanted.items())
        if bus.counters.get(name, 0) != count
    ]
    last = store.findings[-1].sequence if store.findings else 0
    if bus.counters.get("sequence", 0) < last:
        off.append(f"sequence is {bus.counters.get('sequence', 0)}, below {last}")
    return off
