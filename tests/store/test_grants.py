"""Grants are kept on disk, for their owner only, and without the token."""

from __future__ import annotations

import os
import sqlite3
import stat
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from ifmem.domain.finding import Trust
from ifmem.domain.grant import Grant, Scope
from ifmem.errors import Failed, NotPermitted
from ifmem.store.grants import GrantTable

MADE = datetime(2026, 3, 1, 12, tzinfo=UTC)
ADA = Grant(
    name="ada",
    space="acme",
    scopes=frozenset({Scope.READ, Scope.ADMIN}),
    roots=("/srv/docs", "/srv/with space"),
    trust=Trust.QUARANTINED,
    created_at=MADE,
    expires_at=MADE + timedelta(days=30),
)


def test_a_grant_is_the_same_after_a_restart(tmp_path: Path) -> None:
    table = GrantTable(tmp_path / "grants.db")
    table.put("aa", ADA)
    table.put("bb", replace(ADA, name="bob", expires_at=None, revoked_at=MADE))
    table.close()
    again = GrantTable(tmp_path / "grants.db")
    assert again.all() == {
        "aa": ADA,
        "bb": replace(ADA, name="bob", expires_at=None, revoked_at=MADE),
    }
    again.close()


def test_a_name_has_one_token_and_the_later_one_counts(tmp_path: Path) -> None:
    table = GrantTable(tmp_path / "grants.db")
    table.put("aa", ADA)
    table.put("cc", replace(ADA, space="other"))
    assert table.all() == {"cc": replace(ADA, space="other")}
    table.close()


def test_nobody_else_can_read_the_file_or_what_lies_beside_it(tmp_path: Path) -> None:
    mask = os.umask(0)
    try:
        table = GrantTable(tmp_path / "grants.db")
        table.put("aa", ADA)
        modes = {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
        table.close()
    finally:
        os.umask(mask)
    assert modes == {0o600}


def test_a_file_that_others_could_read_is_closed_to_them(tmp_path: Path) -> None:
    path = tmp_path / "grants.db"
    path.touch()
    path.chmod(0o644)
    GrantTable(path).close()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_file_of_a_newer_ifmem_stays_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "grants.db"
    GrantTable(path).close()
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 9")
    connection.close()
    before = path.read_bytes()
    with pytest.raises(Failed, match="update ifmem"):
        GrantTable(path)
    assert path.read_bytes() == before


def test_a_damaged_file_is_said_to_be_damaged(tmp_path: Path) -> None:
    path = tmp_path / "grants.db"
    path.write_bytes(b"no database at all " * 500)
    with pytest.raises(Failed, match="move it away"):
        GrantTable(path)


def test_a_place_where_nothing_can_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotPermitted, match=r"grants\.db cannot be written"):
        GrantTable(tmp_path / "absent" / "grants.db")
