"""A finding: what may be one, and what is refused with a sentence that helps."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ifmem.domain.finding import MAX_CLAIM_CHARACTERS, Finding, SpeechAct, Trust, require_uuid
from ifmem.errors import Invalid

ID = "00000000-0000-4000-8000-000000000001"
GIVEN: dict[str, Any] = {
    "finding_id": ID,
    "worker_id": "ada",
    "timestamp": "2026-01-02T03:04:05.000Z",
    "claim": "The retry budget is three.",
}


def test_what_an_author_need_not_say() -> None:
    finding = Finding(**GIVEN)
    assert (finding.confidence, finding.speech_act, finding.trust, finding.durable) == (
        1.0,
        SpeechAct.INFORM,
        Trust.AGENT,
        True,
    )


def test_trust_is_listed_from_the_highest() -> None:
    assert [*Trust] == ["user", "agent", "captured", "quarantined"]


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"confidence": 1.5}, "between 0 and 1; it is 1.5"),
        ({"confidence": -0.1}, "between 0 and 1; it is -0.1"),
        ({"confidence": math.nan}, "between 0 and 1; it is nan"),
        ({"confidence": math.inf}, "between 0 and 1; it is inf"),
        ({"claim": ""}, "needs a claim"),
        ({"claim": " \n\t"}, "needs a claim"),
        ({"claim": "x" * (MAX_CLAIM_CHARACTERS + 1)}, "32,001 characters; the limit is 32,000"),
        ({"finding_id": "f-1"}, "'f-1' is not a uuid"),
        ({"finding_id": ID.upper().replace("0", "A")}, "is not a uuid"),
        ({"finding_id": ID + "\n"}, "is not a uuid"),
        ({"supersedes": "yesterday"}, "'yesterday' is not a uuid"),
        ({"schema_version": "2.0"}, "schema_version '2.0' is not known here"),
    ],
)
def test_what_breaks_a_rule_is_refused_by_name(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(Invalid, match=said):
        Finding(**GIVEN | fields)


@given(st.floats())
def test_confidence_is_a_share_or_refused(confidence: float) -> None:
    if 0 <= confidence <= 1:
        assert Finding(**GIVEN, confidence=confidence).confidence == confidence
    else:
        with pytest.raises(Invalid):
            Finding(**GIVEN, confidence=confidence)


def test_the_longest_claim_is_still_a_claim() -> None:
    assert Finding(**GIVEN | {"claim": "x" * MAX_CLAIM_CHARACTERS})


@given(st.uuids())
def test_every_uuid_is_one(uuid: object) -> None:
    assert require_uuid(str(uuid)) == str(uuid)


def test_a_refused_id_is_quoted_but_never_at_length() -> None:
    with pytest.raises(Invalid) as caught:
        require_uuid("a" * 10_000)
    assert len(caught.value.message) < 200
