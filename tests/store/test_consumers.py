"""Named consumers: each keeps its own place, and never goes back."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from ifmem.store import consumers
from ifmem.store.database import Database

AT = "2026-01-02T03:04:05.000Z"


def test_a_consumer_begins_once_and_keeps_its_place(tmp_path: Path) -> None:
    database = Database(tmp_path / "store.sqlite")
    try:
        assert database.read(partial(consumers.cursor_of, name="ada")) is None
        begin = partial(consumers.begin, name="ada", at=AT)
        assert database.write(partial(begin, cursor=7)).result() == 7
        assert database.write(partial(begin, cursor=0)).result() == 7
        assert database.write(partial(begin, cursor=90)).result() == 7
    finally:
        database.close()


def test_an_acknowledgement_moves_one_consumer_forward_only(tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite"
    database = Database(path)
    for name in ("ada", "bob"):
        database.write(partial(consumers.begin, name=name, cursor=5, at=AT)).result()
    forward = partial(consumers.acknowledge, name="ada", at=AT)
    assert database.write(partial(forward, cursor=9)).result() == 9
    assert database.write(partial(forward, cursor=6)).result() == 9
    database.close()
    database = Database(path)
    try:
        assert database.read(partial(consumers.cursor_of, name="ada")) == 9
        assert database.read(partial(consumers.cursor_of, name="bob")) == 5
    finally:
        database.close()
