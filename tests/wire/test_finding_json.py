"""Findings as JSON: strict in what is written, liberal in what is read, nothing lost between."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ifmem.domain.finding import (
    MAX_CLAIM_CHARACTERS,
    MAX_FINDING_BYTES,
    Citation,
    CitationStatus,
    Finding,
    SpeechAct,
    Trust,
)
from ifmem.errors import Invalid
from ifmem.wire.finding_json import digest, from_json, parse, to_json

ID = "00000000-0000-4000-8000-000000000001"
GIVEN: dict[str, Any] = {
    "finding_id": ID,
    "worker_id": "ada",
    "timestamp": "2026-01-02T03:04:05.000Z",
    "claim": "The retry budget is three.",
}
FULL: dict[str, Any] = {
    **GIVEN,
    "confidence": 0.75,
    "citations": [
        {
            "source": "/src/client.py",
            "lines": [3, 5],
            "locator": "cell 2",
            "quote": "budget = 3",
            "sha256": "ab" * 32,
            "status": "verified",
        },
        "finding:00000000-0000-4000-8000-000000000002",
        "https://example.org/retries",
    ],
    "speech_act": "escalate",
    "task_id": "t-1",
    "session_id": "s-1",
    "topic": "retries",
    "value": 3.0,
    "unit": "attempts",
    "tags": ["client", "limits"],
    "tokens": 7,
    "cost_usd": "0.000123",
    "source_model": "m-1",
    "supersedes": "00000000-0000-4000-8000-000000000003",
    "trust": "captured",
    "durable": False,
    "content_sha256": "cd" * 32,
    "schema_version": "1.1",
}

text = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3),
    max_leaves=5,
)


def written(finding: Finding) -> dict[str, Any]:
    body: dict[str, Any] = json.loads(to_json(finding))
    return body


def test_every_field_survives_a_round_trip() -> None:
    assert written(from_json(FULL)) == FULL


def test_a_finding_read_back_is_the_same_finding() -> None:
    finding = from_json(FULL)
    assert parse(to_json(finding)) == finding
    assert (finding.speech_act, finding.trust) == (SpeechAct.ESCALATE, Trust.CAPTURED)
    first, *_ = finding.citations
    assert isinstance(first, Citation)
    assert (first.lines, first.status) == ((3, 5), CitationStatus.VERIFIED)


@given(st.dictionaries(text.map("x_".__add__), json_values, max_size=4))
def test_fields_of_a_later_version_survive_a_round_trip(later: dict[str, Any]) -> None:
    assert written(parse(to_json(from_json(GIVEN | later)))) == written(from_json(GIVEN)) | later


def test_absent_fields_are_left_out_and_not_written_as_null() -> None:
    body = written(from_json(GIVEN))
    assert None not in body.values()
    assert "topic" not in body
    assert body["schema_version"] == "1.0"


@pytest.mark.parametrize(
    ("alias", "field", "value"),
    [
        ("content", "claim", "It is so."),
        ("result", "claim", "It is so."),
        ("answer", "claim", "It is so."),
        ("summary", "claim", "It is so."),
        ("sources", "citations", ["https://example.org/"]),
        ("tokens_used", "tokens", 9),
        ("cost", "cost_usd", "0.01"),
    ],
)
def test_the_name_of_an_earlier_tool_is_read_and_never_written(
    alias: str, field: str, value: Any
) -> None:
    data = {name: given for name, given in GIVEN.items() if name != field} | {alias: value}
    body = written(from_json(data))
    assert body[field] == value
    assert alias not in body


def test_beside_our_own_name_an_alias_is_a_field_like_any_other() -> None:
    body = written(from_json(GIVEN | {"summary": "in short", "cost_usd": "1", "cost": "2"}))
    assert (body["claim"], body["summary"]) == (GIVEN["claim"], "in short")
    assert (body["cost_usd"], body["cost"]) == ("1", "2")


def test_of_two_aliases_neither_is_lost() -> None:
    data = {name: value for name, value in GIVEN.items() if name != "claim"}
    body = written(from_json(data | {"content": "in full", "summary": "in short"}))
    assert (body["claim"], body["summary"]) == ("in full", "in short")


@pytest.mark.parametrize(
    "fields",
    [
        {"confidence": 1.5},
        {"confidence": -0.01},
        {"confidence": math.nan},
        {"confidence": "high"},
        {"claim": ""},
        {"claim": "  "},
        {"claim": None},
        {"claim": 7},
        {"claim": "x" * (MAX_CLAIM_CHARACTERS + 1)},
        {"finding_id": "42"},
        {"finding_id": ID + "0"},
        {"supersedes": "the last one"},
        {"schema_version": "9"},
        {"schema_version": 1.0},
        {"speech_act": "shout"},
        {"trust": "root"},
        {"citations": [{"lines": [1, 2]}]},
        {"citations": [{"source": "/a", "lines": [1]}]},
        {"citations": "/a:1"},
        {"tags": "client"},
        {"tokens": 1.5},
    ],
)
def test_a_field_that_breaks_a_rule_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(Invalid):
        from_json(GIVEN | fields)


@pytest.mark.parametrize("field", GIVEN)
def test_a_field_that_must_be_there_is_named_when_it_is_not(field: str) -> None:
    with pytest.raises(Invalid, match=field):
        from_json({name: value for name, value in GIVEN.items() if name != field})


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b'"finding"', b"\xff\xfe", b"{]"])
def test_what_is_no_json_object_is_refused(body: bytes) -> None:
    with pytest.raises(Invalid, match="no finding"):
        parse(body)


def test_an_oversize_body_is_refused_with_both_sizes() -> None:
    finding = from_json(GIVEN | {"notes": "x" * MAX_FINDING_BYTES})
    with pytest.raises(Invalid, match="262,144") as caught:
        to_json(finding)
    assert caught.value.facts["limit"] == MAX_FINDING_BYTES


def test_the_digest_is_of_what_is_said_and_not_of_who_says_it() -> None:
    said = digest(from_json(FULL))
    assert digest(from_json(FULL | {"worker_id": "bob", "confidence": 0.1, "tags": []})) == said
    for changed in ({"claim": "No."}, {"topic": None}, {"value": 4.0}, {"citations": []}):
        assert digest(from_json(FULL | changed)) != said
