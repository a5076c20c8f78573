"""A back-up through the command line, from one installation to another."""

from __future__ import annotations

from typing import Any

import pytest

from ifmem import Memory

FINDINGS = 600


@pytest.fixture
def source(install: Any, writer: Any) -> Any:
    """An installation with documents and findings, and a back-up of it."""
    made = install("source")
    pens = writer(7)
    for number in range(40):
        made.write(f"docs/page_{number:02}.md", pens.prose(6))
    with Memory.open_sync(settings=made.settings) as memory:
        memory.load(made.directory / "docs")
        for number in range(FINDINGS):
            memory.remember(f"Crate c{number} weighs {number % 53} pounds", durable=False)
        memory.remember("The last crate is weighed")
    made("export", "backup.tar")
    return made


def test_a_back_up_is_restored_elsewhere_and_found(source: Any, install: Any) -> None:
    file = source.directory / "backup.tar"
    there = install("there")
    checked = there("import", file, "--dry-run", "--json").json
    assert (checked["outcome"], checked["findings"]) == ("checked", FINDINGS + 1)
    done = there("import", file, "--json").json
    assert (done["outcome"], done["documents"]) == ("restored", 40)
    again = there("export", "again.tar", "--json").json
    assert again["content_sha256"] == done["content_sha256"]
    assert again["content_sha256"] == source("export", "same.tar", "--json").json["content_sha256"]
    asked = ("recall", "How much does crate c17 weigh?", "--limit", "5")
    found, expected = there(*asked, "--json").json, source(*asked, "--json").json
    for kind, name in (("passages", "id"), ("findings", "finding_id")):
        assert [one[name] for one in found[kind]] == [one[name] for one in expected[kind]]
    assert found["findings"][0]["claim"] == "Crate c17 weighs 17 pounds"
    # What the bus shows is filled anew; a restart finds the same.
    assert there("status", "--json").json["findings"] == FINDINGS + 1
    there("down")
    assert there(*asked, "--json").json["findings"] == found["findings"]
    assert there("import", file, "--json").json["outcome"] == "known"
