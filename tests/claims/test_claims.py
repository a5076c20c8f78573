"""Claims and measurements, both ways: none without the other, and verdicts that follow."""

from __future__ import annotations

import json
import re
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import measured
import pytest

import claims

ROOT = Path(__file__).parents[2]


KNOWN = claims.manifest(ROOT)
REPORTS = sorted(path.stem for path in (ROOT / measured.RESULTS).glob("*.json"))


@pytest.mark.parametrize("name", KNOWN.CLAIMS)
def test_a_claim_is_measured_or_settled_and_never_both(name: str) -> None:
    claim = KNOWN.CLAIMS[name]
    assert (claim.measured_by is None) is not (claim.settled is None)
    assert claim.settled is None or claim.note, "a verdict without a figure needs its reason"
    assert claim.settled is not KNOWN.Verdict.HOLDS
    if claim.measured_by is not None:
        bounds = (claim.measured_by.at_least, claim.measured_by.at_most)
        assert bounds.count(None) == 1


@pytest.mark.parametrize("name", REPORTS)
def test_every_report_is_shown_to_readers(name: str) -> None:
    pages = [ROOT / "docs" / page for page in ("claims.md", "retrieval.md", "deployment.md")]
    assert any(f"`{name}.json`" in page.read_text(encoding="utf-8") for page in pages), (
        "no claim and no table is made from it: add one, or remove it"
    )


@pytest.mark.parametrize("row", claims.rows(ROOT), ids=lambda row: row.name)
def test_a_claim_whose_report_is_there_finds_its_figure_in_it(row: Any) -> None:
    measure = row.claim.measured_by
    there = measure is not None and any(fnmatch(name, measure.report) for name in REPORTS)
    assert (row.value is not None) is there


def test_every_claim_stands_on_the_page_and_every_row_is_a_claim() -> None:
    page = (ROOT / "docs" / "claims.md").read_text(encoding="utf-8")
    assert re.findall(r"^\| `([\w.-]+)` \|", page, re.M) == list(KNOWN.CLAIMS)


def test_what_the_readme_shows_are_claims_and_some_of_them_are_misses() -> None:
    assert set(claims._SHORT) <= set(KNOWN.CLAIMS)
    assert {"needles.abstained.swapped", "load.against.warm-files"} <= set(claims._SHORT)


def written(root: Path, **fields: object) -> Path:
    """A project with the manifest and one load report."""
    (root / "tests/claims").mkdir(parents=True)
    (root / measured.RESULTS).mkdir(parents=True)
    text = (ROOT / "tests/claims/manifest.py").read_text(encoding="utf-8")
    (root / "tests/claims/manifest.py").write_text(text, encoding="utf-8")
    report = {"p50_ms": 10.0, "p95_ms": 99.0, **fields}
    (root / measured.RESULTS / "load.json").write_text(json.dumps(report), encoding="utf-8")
    return root


def test_the_verdict_follows_from_the_figure(tmp_path: Path) -> None:
    found = {row.name: row for row in claims.rows(written(tmp_path))}
    assert found["paper.load.p50"].verdict == "holds under conditions"
    assert found["paper.load.p95"].verdict == "diverges"
    assert found["paper.load.speedup"].verdict == "not measured yet"
    assert found["paper.cost.daily"].verdict == "diverges"


def test_a_figure_without_conditions_simply_holds(tmp_path: Path) -> None:
    root = written(tmp_path, baselines={"warm_read": {"ratio": 0.4}})
    found = {row.name: row for row in claims.rows(root)}
    assert found["load.against.warm-files"].verdict == "holds"
    assert "0.4 × (`load.json`)" in claims.render(root)
