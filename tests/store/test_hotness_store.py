"""What was reported of a prefix is known again after a restart, to the last field."""

from __future__ import annotations

from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

from ifmem.domain.model import Caching
from ifmem.engine.hotness import Heat, Hotness, never_asked
from ifmem.store import hotness
from ifmem.store.database import Database

NINE = datetime(2026, 1, 2, 9, 0, 0, 250_000, tzinfo=UTC)
FULL = Hotness(
    model="gemini:flash",
    prefix_sha256="f" * 64,
    shard=3,
    generation=7,
    caching=Caching.OBJECT,
    reported=Heat.HOT,
    hot_until=NINE + timedelta(hours=1),
    why_missed="lapsed 7 min ago",
    prefix_tokens=90_000,
    read_tokens=89_000,
    lifetime=timedelta(hours=1),
    handle="caches/1",
    last_call_at=NINE,
    calls=4,
    last_question_at=NINE,
    last_question_id="q1",
    gap=timedelta(minutes=3, microseconds=5),
    pings=2,
    ping_cost=10**15,
    storage_id="s1",
    storage_from=NINE,
    held_since=NINE,
)
EMPTY = never_asked("v:m", None, None, "0" * 64)


def kept(database: Database, report: Hotness, at: str = "1") -> None:
    database.write(partial(hotness.keep, hotness=report, at=at)).result()


def test_every_field_survives_a_restart(tmp_path: Path) -> None:
    assert all(getattr(FULL, field.name) for field in fields(FULL))
    path = tmp_path / "store.sqlite"
    first = Database(path)
    kept(first, FULL, "2")
    kept(first, EMPTY, "1")
    first.close()
    again = Database(path)
    assert again.read(hotness.all_reports) == [EMPTY, FULL]
    again.close()


def test_the_newest_report_of_a_prefix_replaces_the_one_before(database: Database) -> None:
    kept(database, FULL, "1")
    kept(database, EMPTY, "2")
    newer = replace(FULL, pings=3)
    kept(database, newer, "3")
    assert database.read(hotness.all_reports) == [EMPTY, newer]


def test_the_same_prefix_at_two_models_is_two_reports(database: Database) -> None:
    kept(database, FULL, "1")
    kept(database, replace(FULL, model="v:other"), "2")
    assert len(database.read(hotness.all_reports)) == 2


def test_a_forgotten_prefix_is_gone_and_forgetting_it_again_is_fine(database: Database) -> None:
    kept(database, FULL)
    for _ in range(2):
        database.write(
            lambda connection: hotness.forget(connection, FULL.model, FULL.prefix_sha256)
        ).result()
    assert database.read(hotness.all_reports) == []
