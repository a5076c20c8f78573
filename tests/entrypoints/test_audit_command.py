"""``ifmem audit`` as a person and a script meet it: rows, the check, checkpoints, accepting."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest


def test_the_audit_is_listed_checked_signed_and_accepted(alone: Any) -> None:
    pytest.importorskip("cryptography", reason="the extra that signs is not installed")
    (alone.directory / "notes.md").write_text("# Notes\n\nThe port is 4711.\n")
    alone("load", "notes.md")
    said = alone.json("remember", "The port is 4711.")
    alone("remember", "Nothing is sure.", "--confidence", "7", code=2)
    alone("token", "create", "ada")

    done = [(row["type"], row["action"]) for row in alone.json("audit")["items"]]
    assert {("write", "load"), ("write", "remember"), ("grant", "token_create")} <= set(done)
    assert [row["subject"] for row in alone.json("audit", "--type", "grant")["items"]] == ["ada"]
    mine = alone.json("audit", "--subject", said["finding_id"])["items"]
    assert [(row["action"], row["severity"]) for row in mine] == [("remember", "info")]
    first = alone.json("audit", "list", "--limit", "1")
    second = alone.json("audit", "--limit", "1", "--after", first["next"])
    assert first["items"][0]["row"] > second["items"][0]["row"]
    assert "token_create" in alone("audit", "--since", "2026-01-01").stdout
    assert "no such row" in alone("audit", "--agent", "nobody").stdout
    assert alone("audit", "check").stdout.startswith("intact")

    key = alone.directory / "key.pem"
    public = alone.json("audit", "keygen", "key.pem")["public_key"]
    assert key.with_name("key.pem.pub").read_text().strip() == public
    inside = Path(alone.home) / "key.pem"
    inside.write_bytes(key.read_bytes())
    alone("audit", "checkpoint", "--key", str(inside), code=5)
    alone("audit", "checkpoint", "--key", "key.pem", "--output", "point.json")
    point = json.loads((alone.directory / "point.json").read_text())
    assert point["public_key"] == public
    signed = ("--checkpoint", "point.json", "--public-key", "key.pem.pub")
    assert "holds\n" in alone("verify", *signed).stdout
    assert "names itself" in alone("verify", "--checkpoint", "point.json").stdout
    other = alone("verify", "--checkpoint", "point.json", "--public-key", "notes.md", code=2)
    assert "notes.md holds no public key" in other.stderr

    alone("down")
    store = Path(alone.home) / "spaces" / "default" / "store.sqlite"
    with closing(sqlite3.connect(store, isolation_level=None)) as tampered:
        tampered.execute("DELETE FROM audit WHERE row >= 2")
    assert "broken at row 2" in alone("audit", "check", code=1).stdout
    alone("verify", *signed, code=1)
    alone("audit", "checkpoint", "--key", "key.pem", code=1)
    accepted = alone.json("audit", "accept", "--reason", "a test", "--by", "ada")
    assert (accepted["intact"], accepted["accepted"]) == (True, 1)
    alone("audit", "check")
    alone("verify", *signed, code=1)
