"""Citations of earlier tools are read field by field, and nothing of them is lost."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ifmem.domain.finding import Citation, CitationStatus
from ifmem.errors import Invalid
from ifmem.wire.citation_records import CitationRecord, Outcome, is_signed, records_of, signed
from ifmem.wire.finding_json import from_json, to_json

ID = "00000000-0000-4000-8000-000000000001"
DIGEST = "ab" * 32
RECORD: dict[str, Any] = {
    "citation_id": "if://citation/c-7",
    "claim_id": "if://claim/c-7",
    "sources": [
        {
            "type": "code",
            "ref": "/src/retry.py:3-5",
            "hash": f"sha256:{DIGEST}",
            "note": "the loop",
        },
        {"type": "web", "ref": "https://example.org/a:80"},
    ],
    "rationale": "read twice",
    "status": "disputed",
    "created_by": "if://agent/ada",
    "created_at": "2025-11-12T00:00:00Z",
    "verified_at": "2025-11-13T00:00:00Z",
    "signature": "ed25519:xyz",
    "later_field": {"a": [1]},
}


def finding(*citations: Any) -> Any:
    return from_json(
        {
            "finding_id": ID,
            "worker_id": "bob",
            "timestamp": "2026-01-02T03:04:05.000Z",
            "claim": "It is so.",
            "citations": list(citations),
        }
    )


def test_each_source_of_a_record_becomes_a_citation_with_all_else_beside_it() -> None:
    code, web = finding(RECORD).citations
    assert isinstance(code, Citation)
    assert (code.source, code.lines, code.sha256) == ("/src/retry.py", (3, 5), DIGEST)
    assert code.status is CitationStatus.DISPUTED
    shared = {name: RECORD[name] for name in RECORD if name not in ("sources", "status")}
    assert code.unknown == {**shared, "type": "code", "note": "the loop"}
    assert (web.source, web.lines, web.unknown["type"]) == ("https://example.org/a:80", None, "web")


def test_a_record_survives_being_stored_and_read_again() -> None:
    once = finding(RECORD)
    again = from_json(json.loads(to_json(once)))
    assert again == once
    assert to_json(again) == to_json(once)


def test_a_record_that_was_read_is_written_as_one_record_with_its_sources() -> None:
    read = finding(RECORD)
    outcomes = [Outcome(0, "verified", (4, 6)), Outcome(1, "stale", None)]
    (record,) = records_of(read, outcomes, at="2026-02-03T00:00:00.000Z", by="host-1")
    assert (record.citation_id, record.claim_id) == ("if://citation/c-7", "if://claim/c-7")
    assert (record.created_by, record.rationale) == ("if://agent/ada", "read twice")
    assert [one.ref for one in record.sources] == ["/src/retry.py:4-6", "https://example.org/a:80"]
    assert record.sources[0].hash == f"sha256:{DIGEST}"
    assert record.sources[0].note == "the loop"
    assert (record.status, record.verified_by) == ("stale", "host-1")


def test_evidence_that_is_gone_is_unverified_and_says_so() -> None:
    (record,) = records_of(finding("/a.md:3"), [Outcome(0, "missing", (3, 3))], at="t", by="b")
    assert (record.status, record.meta) == ("unverified", {"found": "missing"})
    assert record.sources[0].ref == "/a.md:3"


@pytest.mark.parametrize(
    ("given", "source", "lines"),
    [
        ("/src/retry.py:3", "/src/retry.py", (3, 3)),
        ("/src/retry.py:3-5", "/src/retry.py", (3, 5)),
        ("src/retry.py:L3-L5", "src/retry.py", (3, 5)),
        ("chat:epic:3-5", "chat:epic", (3, 5)),
        ({"ref": "/src/retry.py:3"}, "/src/retry.py", (3, 3)),
        ({"type": "code", "ref": "/src/retry.py"}, "/src/retry.py", None),
        ({"sources": ["/src/retry.py:3"]}, "/src/retry.py", (3, 3)),
        ({"ref": "IF://Doc/a b"}, "if://doc/a%20b", None),
    ],
)
def test_lines_are_read_off_the_text_that_names_them(
    given: Any, source: str, lines: tuple[int, int] | None
) -> None:
    (citation,) = finding(given).citations
    assert (citation.source, citation.lines) == (source, lines)


@pytest.mark.parametrize(
    "text",
    [
        "https://example.org:80",
        f"finding:{ID}",
        "/src/retry.py",
        "/src/a.py:9-3",
        "/src/a.py:0",
        ":3",
    ],
)
def test_a_text_that_names_no_lines_stays_as_it_is(text: str) -> None:
    assert finding(text).citations == (text,)


def test_an_if_uri_is_normalised_and_one_that_cannot_be_read_is_kept() -> None:
    assert finding("IF://Claim/x/", "if://", "if://swarm/A ").citations == (
        "if://claim/x",
        "if://",
        "if://swarm/A ",
    )


def test_an_odd_status_and_an_odd_hash_are_kept_as_they_came() -> None:
    (citation,) = finding({"ref": "/a:1", "status": "Pending", "hash": "md5:1"}).citations
    assert (citation.status, citation.sha256) == (CitationStatus.UNVERIFIED, None)
    assert citation.unknown == {"status_given": "Pending", "hash": "md5:1"}
    (upper,) = finding({"ref": "/a:1", "status": "REVOKED"}).citations
    assert upper.status is CitationStatus.REVOKED


@pytest.mark.parametrize(
    "given", [{"sources": "x"}, {"sources": [{}]}, {"sources": [{"ref": 7}]}, {"ref": None}, {}]
)
def test_what_names_no_source_is_refused(given: dict[str, Any]) -> None:
    with pytest.raises(Invalid, match="no citation"):
        finding(given)


text = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)


@given(st.dictionaries(text.map("x_".__add__), text | st.integers(0, 9), max_size=4))
def test_fields_that_nobody_knows_survive_a_round_trip(later: dict[str, Any]) -> None:
    (citation,) = from_json(json.loads(to_json(finding({"ref": "/a:1", **later})))).citations
    assert citation.unknown == later


@given(st.binary(min_size=32, max_size=32), st.sampled_from(CitationRecord.__struct_fields__))
def test_a_signature_holds_for_its_record_and_key_and_for_nothing_else(
    key: bytes, field: str
) -> None:
    (record,) = records_of(finding(RECORD), [Outcome(0, "verified", None)], at="t", by="b")
    made = signed(record, key)
    assert is_signed(made, key)
    assert is_signed(msgspec.json.decode(msgspec.json.encode(made), type=CitationRecord), key)
    assert not is_signed(made, bytes(32) if any(key) else b"\x01" * 32)
    other = (
        []
        if field == "sources"
        else {"other": 1}
        if field == "meta"
        else ["other"]
        if field == "adjacent_decisions"
        else "other"
    )
    assert not is_signed(msgspec.structs.replace(made, **{field: other}), key)
