"""Quarantine in the store: apart from the log, in its order, released under one id."""

from __future__ import annotations

import json
import sqlite3
from importlib import resources
from pathlib import Path

from ifmem.store import findings, quarantine
from ifmem.store.database import Database
from ifmem.store.findings import StoredFinding

WHEN = "2026-01-02T03:04:05.000Z"


def name(n: int) -> str:
    return f"00000000-0000-4000-8000-{n:012}"


def finding(n: int, *, sequence: int = 0, run: str | None = None) -> StoredFinding:
    return StoredFinding(sequence, name(n), "ada", "t-1", "hums", WHEN, 3, b"{}", run)


def hold(database: Database, n: int, *, sequence: int = 0, run: str | None = None) -> int:
    one = finding(n, sequence=sequence, run=run)
    return database.write(lambda c: quarantine.append(c, one)).result()


def say(database: Database, n: int) -> int:
    sequence, _ = database.write(
        lambda c: findings.append(
            c,
            finding_id=name(n),
            author="ada",
            task_id=None,
            topic=None,
            said_at=WHEN,
            tokens=1,
            body=b"{}",
        )
    ).result()
    return sequence


def test_both_tables_share_one_sequence(database: Database) -> None:
    assert [say(database, 1), hold(database, 2), say(database, 3)] == [1, 2, 3]
    assert hold(database, 4, sequence=9) == 9
    assert hold(database, 4, sequence=11) == 9
    assert database.read(findings.last_sequence) == 9
    assert say(database, 5) == 10
    assert hold(database, 6, sequence=2) == 11


def test_nothing_that_reads_findings_comes_upon_one_that_waits(database: Database) -> None:
    say(database, 1)
    sequence = hold(database, 2)
    assert database.read(findings.count) == 1
    assert database.read(findings.sequences) == {1}
    assert database.read(lambda c: findings.by_id(c, name(2))) is None
    assert database.read(lambda c: findings.by_sequence(c, [sequence])) == {}
    assert len(database.read(lambda c: findings.since(c, sequence=0, limit=9))) == 1
    assert len(database.read(lambda c: findings.newest(c, 9))) == 1


def test_those_that_wait_are_listed_in_order_until_they_are_released(database: Database) -> None:
    for n, run in ((1, "r"), (2, None), (3, "r")):
        hold(database, n, run=run)

    def waiting(after: int = 0, **wanted: str) -> list[str]:
        rows = database.read(
            lambda c: quarantine.since(c, sequence=after, limit=9, **wanted)  # type: ignore[arg-type]
        )
        return [row.finding_id for row in rows]

    assert waiting() == [name(1), name(2), name(3)]
    assert waiting(1, run="r") == [name(3)]
    assert waiting(task_id="t-2") == []
    begun = database.write(lambda c: quarantine.begin_release(c, name(2), name(12))).result()
    assert begun is not None and (begun.released_as, begun.is_done) == (name(12), False)
    assert name(2) in waiting()
    again = database.write(lambda c: quarantine.begin_release(c, name(2), name(13))).result()
    assert again is not None and again.released_as == name(12)
    assert database.write(lambda c: quarantine.end_release(c, name(2), WHEN)).result()
    assert not database.write(lambda c: quarantine.end_release(c, name(2), WHEN)).result()
    assert waiting() == [name(1), name(3)]
    assert database.write(lambda c: quarantine.begin_release(c, name(9), name(19))).result() is None


def test_one_that_is_forgotten_is_remembered_as_forgotten(database: Database) -> None:
    hold(database, 1)
    assert database.write(lambda c: quarantine.delete(c, name(1), WHEN)).result() == 1
    assert database.write(lambda c: quarantine.delete(c, name(1), WHEN)).result() is None
    assert database.read(lambda c: findings.was_forgotten(c, name(1)))


def test_what_was_stored_with_that_trust_before_is_put_apart(tmp_path: Path) -> None:
    folder = resources.files("ifmem.store") / "migrations"
    scripts = sorted(
        (one.name, one.read_text(encoding="utf-8"))
        for one in folder.iterdir()
        if one.name.endswith(".sql") and one.name < "0010"
    )
    path = tmp_path / "store.sqlite"
    connection = sqlite3.connect(path)
    for script, text in scripts:
        connection.executescript(f"{text}\nPRAGMA user_version = {int(script[:4])};")
    for n, trust in ((1, "agent"), (2, "quarantined"), (3, "user")):
        body = json.dumps({"claim": "x", "trust": trust})
        connection.execute(
            "INSERT INTO finding (finding_id, author, said_at, tokens, body) "
            "VALUES (?, ?, ?, ?, ?)",
            (name(n), "ada", WHEN, 1, body),
        )
    connection.commit()
    connection.close()
    database = Database(path)
    try:
        assert database.read(findings.sequences) == {1, 3}
        (held,) = database.read(lambda c: quarantine.since(c, sequence=0, limit=9))
        assert (held.sequence, held.finding_id) == (2, name(2))
        assert database.read(findings.last_sequence) == 3
    finally:
        database.close()
