"""The durable log: in order, without loss, each id once, and what was forgotten stays so."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ifmem.store import findings, meta
from ifmem.store.database import Database
from ifmem.store.findings import StoredFinding

WHEN = "2026-01-02T03:04:05.000Z"


def name(n: int) -> str:
    return f"00000000-0000-4000-8000-{n:012}"


def append(database: Database, n: int, *, task: str | None = None) -> tuple[int, bool]:
    return database.write(
        lambda c: findings.append(
            c,
            finding_id=name(n),
            author="ada",
            task_id=task,
            topic="retries",
            said_at=WHEN,
            tokens=n,
            body=f'{{"claim":"claim ü {n}"}}'.encode(),
        )
    ).result()


def since(
    database: Database, sequence: int, *, limit: int = 100, task: str | None = None
) -> list[StoredFinding]:
    return database.read(lambda c: findings.since(c, sequence=sequence, limit=limit, task_id=task))


def ids(rows: list[StoredFinding]) -> list[str]:
    return [row.finding_id for row in rows]


def test_a_finding_comes_back_as_it_was_stored(database: Database) -> None:
    sequence, is_new = append(database, 7, task="t-1")
    stored = StoredFinding(
        sequence=sequence,
        finding_id=name(7),
        author="ada",
        task_id="t-1",
        topic="retries",
        said_at=WHEN,
        tokens=7,
        body='{"claim":"claim ü 7"}'.encode(),
    )
    assert is_new
    assert since(database, 0) == [stored]
    assert database.read(lambda c: findings.by_id(c, name(7))) == stored
    assert database.read(lambda c: findings.by_sequence(c, [sequence, 99])) == {sequence: stored}
    assert database.read(lambda c: findings.by_id(c, name(8))) is None


def test_the_same_id_again_changes_nothing_and_has_its_first_cursor(database: Database) -> None:
    first, _ = append(database, 1)
    append(database, 2)
    assert append(database, 1) == (first, False)
    assert database.read(findings.count) == 2


def test_a_reader_who_was_away_gets_everything_since_its_cursor_in_order(
    database: Database,
) -> None:
    cursors = [append(database, n)[0] for n in range(10)]
    assert cursors == sorted(set(cursors))
    assert ids(since(database, 0)) == [name(n) for n in range(10)]
    assert ids(since(database, cursors[6])) == [name(n) for n in (7, 8, 9)]
    assert since(database, cursors[9]) == []


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=20)
@given(st.integers(1, 7))
def test_pages_of_any_size_give_each_finding_once(database: Database, size: int) -> None:
    for n in range(12):
        append(database, n)
    seen: list[str] = []
    cursor = 0
    while page := since(database, cursor, limit=size):
        seen += ids(page)
        cursor = page[-1].sequence
    assert seen == [name(n) for n in range(12)]


def test_findings_of_a_task_alone(database: Database) -> None:
    for n in range(6):
        append(database, n, task=f"t-{n % 2}")
    assert ids(since(database, 0, task="t-1")) == [name(1), name(3), name(5)]
    assert ids(since(database, 0, task="t-1", limit=1)) == [name(1)]
    assert since(database, 0, task="t-9") == []


def test_the_newest_come_oldest_first(database: Database) -> None:
    for n in range(5):
        append(database, n)
    assert ids(database.read(lambda c: findings.newest(c, 2))) == [name(3), name(4)]
    assert len(database.read(lambda c: findings.newest(c, 100))) == 5


def test_what_is_forgotten_is_gone_and_remembered_as_forgotten(database: Database) -> None:
    sequence, _ = append(database, 1)
    forget = findings.delete
    assert database.write(lambda c: forget(c, name(1), WHEN)).result() == sequence
    assert since(database, 0) == []
    assert database.read(lambda c: findings.by_id(c, name(1))) is None
    assert database.read(lambda c: findings.by_sequence(c, [sequence])) == {}
    assert database.read(lambda c: findings.was_forgotten(c, name(1)))
    assert not database.read(lambda c: findings.was_forgotten(c, name(2)))
    assert database.write(lambda c: forget(c, name(1), WHEN)).result() is None


def test_forgetting_what_never_was_leaves_no_mark(database: Database) -> None:
    assert database.write(lambda c: findings.delete(c, name(1), WHEN)).result() is None
    assert not database.read(lambda c: findings.was_forgotten(c, name(1)))


def test_the_cursor_of_the_newest_is_not_given_again_after_it_was_forgotten(
    database: Database,
) -> None:
    append(database, 1)
    last, _ = append(database, 2)
    database.write(lambda c: findings.delete(c, name(2), WHEN)).result()
    database.close()
    again = Database(database.path)
    try:
        assert append(again, 3)[0] > last
        assert ids(since(again, last)) == [name(3)]
    finally:
        again.close()


def test_a_store_has_one_id_for_ever(database: Database) -> None:
    first = database.write(lambda c: meta.store_id(c, new="one")).result()
    assert first == database.write(lambda c: meta.store_id(c, new="two")).result() == "one"


@pytest.mark.parametrize("limit", [0, 1])
def test_a_limit_is_kept(database: Database, limit: int) -> None:
    append(database, 1)
    append(database, 2)
    assert len(since(database, 0, limit=limit)) == limit
