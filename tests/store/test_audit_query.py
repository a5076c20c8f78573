"""The audit is asked by agent, task, time, kind and subject, always through an index."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import fields
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ifmem.store import audit
from ifmem.store.audit import Wanted
from ifmem.store.database import Database

ROWS = 400
TYPES = (audit.WRITE, audit.REFUSAL, audit.GRANT, audit.DECISION)
SEVERITIES = (audit.INFO, audit.WARNING, audit.CRITICAL)


def moment(number: int) -> str:
    return f"2026-01-{1 + number // 60:02}T10:{number % 60:02}:00.000Z"


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    path: Path = tmp_path_factory.mktemp("asked") / "store.sqlite"

    def fill(connection: sqlite3.Connection) -> None:
        for n in range(ROWS):
            audit.note(
                connection,
                entry=str(n),
                # Not in the order of the rows, and several at once.
                at=moment(n * 7 % 200),
                type=TYPES[n % 4],
                severity=SEVERITIES[n % 3],
                action=f"action-{n % 5}",
                actor=f"agent-{n % 6}",
                subject=f"subject-{n % 50}",
                reason="because",
                task_id=f"task-{n % 9}" if n % 2 else None,
            )

    with closing(Database(path)) as made:
        made.write(fill).result()
        yield made


NAMED = {
    "actor": st.sampled_from([f"agent-{n}" for n in range(7)]),
    "task_id": st.sampled_from([f"task-{n}" for n in range(10)]),
    "action": st.sampled_from([f"action-{n}" for n in range(6)]),
    "subject": st.sampled_from(["subject-3", "nobody"]),
    "type": st.sampled_from(TYPES),
    "severity": st.sampled_from(SEVERITIES),
    "since": st.integers(0, 220).map(moment),
    "until": st.integers(0, 220).map(moment),
}
wanted = st.fixed_dictionaries({}, optional=NAMED).map(lambda chosen: Wanted(**chosen))


def fits(row: audit.AuditRow, asked: Wanted) -> bool:
    names = {one.name for one in fields(Wanted)} - {"since", "until"}
    equal = all(getattr(asked, one) in (None, getattr(row, one)) for one in names)
    after = asked.since is None or row.at >= asked.since
    return equal and after and (asked.until is None or row.at < asked.until)


@settings(max_examples=80, deadline=None)
@given(asked=wanted, limit=st.integers(1, 60))
def test_pages_have_every_row_that_fits_once_and_newest_first(
    database: Database, asked: Wanted, limit: int
) -> None:
    everything = database.read(lambda c: audit.newest(c, ROWS))
    expected = sorted(
        (row for row in everything if fits(row, asked)), key=lambda row: (row.at, row.row)
    )[::-1]
    found: list[audit.AuditRow] = []
    before = None
    while some := database.read(
        lambda c, place=before: audit.page(c, asked, before=place, limit=limit)  # type: ignore[misc]
    ):
        assert len(some) <= limit
        found += some
        before = (some[-1].at, some[-1].row)
    assert found == expected


@pytest.mark.parametrize("before", [None, ("2026-01-02T10:00:00.000Z", 9)])
@pytest.mark.parametrize(
    ("asked", "index"),
    [
        (Wanted(), "audit_at"),
        (Wanted(since="2026-01-02", until="2026-01-03"), "audit_at"),
        (Wanted(actor="agent-1"), "audit_actor"),
        (Wanted(actor="agent-1", since="2026-01-02"), "audit_actor"),
        (Wanted(task_id="task-1"), "audit_task"),
        (Wanted(action="action-1"), "audit_action"),
        (Wanted(type="refusal"), "audit_type"),
        (Wanted(severity="critical"), "audit_severity"),
        (Wanted(subject="subject-1"), "audit_subject"),
    ],
)
def test_every_question_is_answered_by_an_index(
    database: Database, asked: Wanted, index: str, before: tuple[str, int] | None
) -> None:
    statement, values = audit.question(asked, before)
    plan = database.read(
        lambda c: c.execute(f"EXPLAIN QUERY PLAN {statement}", {**values, "limit": 10}).fetchall()
    )
    told = " / ".join(row[3] for row in plan)
    assert index in told
    # In its order: nothing is sorted, save the few rows of one subject.
    assert ("TEMP B-TREE" in told) == (index == "audit_subject")
