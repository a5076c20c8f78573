"""``ifmem validate``: the paper's phases pass, and its claims are judged by what was measured."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def report(alone: Any, tmp_path: Path) -> Any:
    """What a small run says, in a place of its own."""
    place = tmp_path / "place"
    place.mkdir()
    alone.environment["TMPDIR"] = str(place)
    said = alone.json("validate", "--shard-tokens", "8000", "--questions", "2")
    assert list(place.iterdir()) == [], "a file of the run was left"
    assert type(alone)(place, place).processes() == [], "a process of the run was left"
    assert not alone.home.exists(), "the user's own home was touched"
    return said


def test_the_phases_pass_and_no_claim_holds_without_a_figure(report: Any) -> None:
    assert [phase["phase"] for phase in report["phases"]] == [1, 2, 3, 4]
    assert all(phase["passed"] and phase["evidence"] for phase in report["phases"])
    assert report["passed"] is True
    claims = {claim["says"]: claim for claim in report["claims"]}
    for claim in claims.values():
        assert claim["verdict"] in ("held", "not held", "cannot be measured")
        assert bool(claim["measured"]) == (claim["verdict"] != "cannot be measured")
        assert claim["measured"] or claim["why"]
    haiku = next(claim for says, claim in claims.items() if "Haiku" in says)
    assert haiku["verdict"] == "cannot be measured"
    # Less than the paper's 800K was loaded: what is about 800K must not be claimed.
    accessible = next(claim for says, claim in claims.items() if "accessible" in says)
    assert accessible["verdict"] == "not held"
    assert "only" in accessible["why"]
