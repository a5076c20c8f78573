"""The status of a citation follows from its quote, its digest, and what its source is now."""

from __future__ import annotations

from itertools import product

import pytest

from ifmem.engine.anchoring import LinedText
from ifmem.engine.verification import Judgement, Pointer, Text, judge

QUOTE = "budget = 3"
OLD, NEW = "aa" * 32, "bb" * 32
HOLDS, MOVED, LACKS = "a\nbudget = 3\nc\n", "new\na\nbudget = 3\nc\n", "a\nbudget = 4\nc\n"


def cited(quote: str = QUOTE, sha256: str | None = OLD, *, was_verified: bool = True) -> Pointer:
    return Pointer(quote=quote, lines=(2, 2), sha256=sha256, was_verified=was_verified)


def now(text: str, sha256: str = OLD) -> Text:
    return Text(LinedText(text), sha256)


@pytest.mark.parametrize(
    ("pointer", "source", "then", "status"),
    [
        pytest.param(cited(), now(HOLDS), None, "verified", id="unchanged"),
        pytest.param(cited(), now(MOVED, NEW), HOLDS, "verified", id="moved"),
        pytest.param(cited(), now(MOVED, NEW), None, "verified", id="moved, snapshot gone"),
        pytest.param(cited(), now(LACKS, NEW), HOLDS, "stale", id="changed"),
        pytest.param(cited(), now(LACKS, NEW), None, "stale", id="changed, snapshot gone"),
        pytest.param(cited(), None, HOLDS, "stale", id="only the snapshot is left"),
        pytest.param(cited(), None, None, "missing", id="nothing is left"),
        pytest.param(cited(), now(LACKS), None, "disputed", id="never there"),
        pytest.param(cited(), now(HOLDS, NEW), LACKS, "disputed", id="not in what it names"),
        pytest.param(
            cited(was_verified=False), now(LACKS, NEW), None, "disputed", id="nobody ever found it"
        ),
        pytest.param(
            cited(sha256=None, was_verified=False), now(HOLDS), None, "verified", id="found now"
        ),
        pytest.param(cited(quote=""), now(LACKS), None, "verified", id="the bytes it names"),
        pytest.param(cited(quote=""), now(LACKS, NEW), None, "stale", id="other bytes"),
        pytest.param(cited(quote=""), now("a"), None, "disputed", id="no such lines"),
        pytest.param(
            cited(quote="", sha256=None), now(HOLDS), None, "unverified", id="says nothing"
        ),
        pytest.param(cited(quote="", sha256=None), None, None, "missing", id="names nothing"),
    ],
)
def test_the_status_of_a_citation(
    pointer: Pointer, source: Text | None, then: str | None, status: str
) -> None:
    found = judge(pointer, source, None if then is None else LinedText(then), gone="is gone")
    assert found.status == status
    assert found.why if status != "verified" else not found.why


def test_a_quote_that_moved_is_verified_at_its_new_lines() -> None:
    assert judge(cited(), now(MOVED, NEW), LinedText(HOLDS)).lines == (3, 3)


def test_no_citation_is_verified_whose_quote_is_not_in_the_source_as_it_is() -> None:
    for text, digest, then in product((HOLDS, MOVED, LACKS, ""), (OLD, NEW), (HOLDS, LACKS, None)):
        stored = None if then is None else LinedText(then)
        found = judge(cited(), now(text, digest), stored)
        assert found.status != "verified" or QUOTE in text


@pytest.mark.parametrize(
    ("status", "under"),
    [
        ("verified", "disputed"),
        ("stale", "disputed"),
        ("unverified", "disputed"),
        ("missing", "missing"),
        ("revoked", "revoked"),
    ],
)
def test_a_side_of_an_open_conflict_is_disputed_unless_its_evidence_is_lost(
    status: str, under: str
) -> None:
    found = Judgement(status, (1, 1), "so")
    assert found.under("c-1").status == under
    assert found.under(None) == found
