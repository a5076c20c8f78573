"""``ifmem verify`` as a person and a script meet it: what it says, and its exit code."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from typing import Any

NOTES = "# Notes\n\nThe port is 4711.\n"


def test_verify_tells_what_can_no_longer_be_believed_and_exits_so(alone: Any) -> None:
    notes = alone.directory / "notes.md"
    notes.write_text(NOTES)
    alone("load", "notes.md")
    cited = alone.json("remember", "The port is 4711.", "--cite", "notes.md:3")
    alone("remember", "Somebody says so.", "--cite", "https://example.org/a")

    report = alone.json("verify")
    first, second = report["citations"]
    assert first["finding_id"] == cited["finding_id"]
    assert (first["source"], first["lines"], first["status"]) == (str(notes), [3, 3], "verified")
    assert second["status"] == "unverified"
    assert [report[name] for name in ("verified", "stale", "missing", "disputed")] == [1, 0, 0, 0]
    assert (report["audit"]["intact"], report["audit"]["first_broken"]) == (True, None)
    assert report["audit"]["rows"] >= 2

    notes.write_text(NOTES.replace("4711", "4712"))
    said = alone("verify").stdout
    assert "notes.md:3" in said
    assert "changed" in said
    assert "1 stale" in said
    assert alone("verify", "--strict", code=1).stdout == said
    assert alone("verify", "--source", "nowhere.md", "--strict").stdout.startswith("0 citations")

    record, _ = (json.loads(line) for line in alone("verify", "--records").stdout.splitlines())
    assert (record["status"], record["sources"][0]["ref"]) == ("stale", f"{notes}:3")
    assert record["signature"].startswith("hmac-sha256:")
    alone("verify", "--records", "--strict", code=1)
    alone("verify", "--public-key", "nowhere.key", code=2)

    notes.unlink()
    alone("load", str(alone.directory))
    assert alone.json("verify", code=1)["missing"] == 1

    alone("forget", cited["finding_id"])
    alone("verify")
    alone("down")
    store = Path(alone.home) / "spaces" / "default" / "store.sqlite"
    with sqlite3.connect(store) as tampered:
        tampered.execute("UPDATE audit SET actor = 'eve' WHERE row = 2")
    tampered.close()
    broken = alone.json("verify", code=1)["audit"]
    assert (broken["intact"], broken["first_broken"]) == (False, 2)
    assert "BROKEN at row 2" in alone("verify", code=1).stdout
