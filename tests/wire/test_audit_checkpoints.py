"""Checkpoints are signed with a key of the user's, and any change of one is seen."""

from __future__ import annotations

import stat
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

from ifmem.errors import ConfigError, Invalid, NotPermitted
from ifmem.wire.audit_calls import Checkpoint
from ifmem.wire.audit_checkpoints import make_key, read, sign

pytest.importorskip("cryptography", reason="the extra that signs is not installed")

UNSIGNED = Checkpoint("acme", "store-1", 1_204, "ab" * 32, "2026-01-05T10:00:00.000Z")


@pytest.fixture
def key(tmp_path: Path) -> Path:
    make_key(tmp_path / "key.pem")
    return tmp_path / "key.pem"


def signed(key: Path) -> dict[str, Any]:
    fields: dict[str, Any] = msgspec.to_builtins(sign(UNSIGNED, key))
    return fields


def test_what_was_signed_is_read_again(tmp_path: Path) -> None:
    public = make_key(tmp_path / "key.pem")
    said = signed(tmp_path / "key.pem")
    assert read(said, public) == read(said) == msgspec.convert(said, Checkpoint)
    assert said["public_key"] == public


def test_a_key_is_for_its_owner_and_never_overwritten(key: Path) -> None:
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    with pytest.raises(NotPermitted, match="there already"):
        make_key(key)


@pytest.mark.parametrize("name", UNSIGNED.__struct_fields__)
def test_a_change_of_any_field_is_seen(key: Path, name: str) -> None:
    said = signed(key)
    said[name] = said[name] + 1 if name == "rows" else said[name][:-1] + "0"
    if said == signed(key):
        said[name] = said[name][:-1] + "1"
    with pytest.raises(Invalid):
        read(said)


def test_another_key_than_the_one_asked_for_is_refused(key: Path, tmp_path: Path) -> None:
    other = make_key(tmp_path / "other.pem")
    with pytest.raises(Invalid, match="names the key"):
        read(signed(key), other)


@pytest.mark.parametrize("said", [{}, {"rows": "many"}, {"space": "acme", "extra": 1}])
def test_what_is_no_checkpoint_is_refused(said: dict[str, Any]) -> None:
    with pytest.raises(Invalid, match="no checkpoint"):
        read(said)


def test_a_file_without_such_a_key_is_named(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match="cannot be read"):
        sign(UNSIGNED, tmp_path / "absent.pem")
    (tmp_path / "notes.txt").write_text("no key")
    with pytest.raises(Invalid, match="no private key"):
        sign(UNSIGNED, tmp_path / "notes.txt")


def test_without_the_extra_it_says_what_to_install(
    key: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "cryptography", None)
    with pytest.raises(ConfigError, match="pip install"):
        sign(UNSIGNED, key)
