"""What is put before a person, and what is shared without a word."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ifmem.domain.finding import Citation, Finding, SpeechAct
from ifmem.engine import policy
from ifmem.engine.policy import Decision, decide

PLAIN = Finding(
    finding_id="00000000-0000-4000-8000-000000000001",
    worker_id="ada",
    timestamp="2026-01-02T03:04:05.000Z",
    claim="it is so",
)
ONE = Citation(source="/a", lines=(1, 1))


def kinds(finding: Finding, *, low: float = 0.2, sources: int = 1) -> list[str]:
    return [one.kind for one in decide(finding, low_confidence=low, sources=sources)]


def test_a_plain_claim_bothers_nobody() -> None:
    assert kinds(PLAIN) == []
    assert kinds(replace(PLAIN, confidence=0.2)) == []


def test_one_source_is_no_demand_and_two_are() -> None:
    assert kinds(PLAIN, sources=1) == []
    assert kinds(PLAIN, sources=2) == ["single_source"]
    # Two places in one file are one source.
    twice = replace(PLAIN, citations=(ONE, replace(ONE, lines=(2, 2))))
    assert kinds(twice, sources=2) == ["single_source"]
    other = replace(PLAIN, citations=(ONE, "https://example.org"))
    assert kinds(other, sources=2) == []
    assert kinds(other, sources=3) == ["single_source"]


def test_what_is_hardly_believed_by_its_author_is_escalated() -> None:
    (decision,) = decide(replace(PLAIN, confidence=0.1), low_confidence=0.2, sources=1)
    assert decision == Decision("low_confidence", "its confidence is 0.1, below 0.2")
    assert decision.act is SpeechAct.ESCALATE
    assert kinds(replace(PLAIN, confidence=0.0), low=0.0) == []


@pytest.mark.parametrize("act", [SpeechAct.ESCALATE, SpeechAct.REQUEST, SpeechAct.HOLD])
def test_what_an_agent_says_itself_is_not_judged_again(act: SpeechAct) -> None:
    said = replace(PLAIN, speech_act=act, confidence=0.0)
    (decision,) = decide(said, low_confidence=0.2, sources=2)
    assert (decision.kind, decision.act) == (str(act), act)


def test_a_repetition_is_held() -> None:
    decision = policy.repeats(PLAIN.finding_id)
    assert decision.act is SpeechAct.HOLD
    assert PLAIN.finding_id in decision.rationale


def test_the_same_claim_has_the_same_mark_whoever_makes_it() -> None:
    said = replace(PLAIN, topic="Bridge", value=5.8, unit="M")
    again = replace(
        said,
        finding_id="00000000-0000-4000-8000-000000000002",
        worker_id="eve",
        claim="It  is SO",
        topic="bridge ",
        unit="m",
        citations=(ONE,),
        confidence=0.5,
    )
    assert policy.said(said) == policy.said(again)
    assert policy.mark(said) == policy.mark(again)


@given(st.text(min_size=1), st.text(min_size=1))
def test_marks_differ_where_claims_do(one: str, other: str) -> None:
    first, second = (replace(PLAIN, claim=f"x{text}", topic=text) for text in (one, other))
    same = policy.said(first) == policy.said(second)
    assert (policy.mark(first) == policy.mark(second)) == same
    assert -(2**63) <= policy.mark(first) < 2**63


@given(st.text(min_size=5, alphabet="wxyz"))
def test_no_rationale_repeats_what_a_finding_says(secret: str) -> None:
    said = replace(PLAIN, claim=secret, topic=secret, confidence=0.0, citations=(secret,))
    told = decide(said, low_confidence=0.2, sources=3)
    assert told and all(secret not in one.rationale for one in told)
