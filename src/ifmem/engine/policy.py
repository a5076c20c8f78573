"""What becomes of a finding that a person or its author should look at again.

The decisions of the seed: SHARE is no decision here, it is what happens; ESCALATE, REQUEST and
HOLD put an item into the inbox. None of them keeps a finding from being stored or found.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from ifmem.domain.finding import Citation, Finding, SpeechAct
from ifmem.engine.conflicts import folded

CONFLICT = "conflict"
LOW_CONFIDENCE = "low_confidence"
SINGLE_SOURCE = "single_source"
DUPLICATE = "duplicate"
ACTS = {
    CONFLICT: SpeechAct.ESCALATE,
    LOW_CONFIDENCE: SpeechAct.ESCALATE,
    SINGLE_SOURCE: SpeechAct.REQUEST,
    DUPLICATE: SpeechAct.HOLD,
    **{str(act): act for act in (SpeechAct.ESCALATE, SpeechAct.REQUEST, SpeechAct.HOLD)},
}
"""What an item of each kind does; the last three are what agents said themselves."""

MOST_HELD = 100
"""Open items about repeated claims. Further repetitions are kept, linked and audited, and no
person is asked about each of them."""


@dataclass(frozen=True, slots=True)
class Decision:
    """Something that is to be looked at, and why."""

    kind: str
    rationale: str
    """Without anything that the finding says: it outlives a forgotten one."""

    @property
    def act(self) -> SpeechAct:
        """Escalate, request or hold."""
        return ACTS[self.kind]


def decide(finding: Finding, *, low_confidence: float, sources: int) -> tuple[Decision, ...]:
    """What is to be looked at of a finding alone.

    Args:
        finding: new in the log.
        low_confidence: below it a person is asked.
        sources: how many different ones it should cite. One is no demand: what cites nothing is
            then shared as it is.
    """
    if finding.speech_act is not SpeechAct.INFORM:
        kind = str(finding.speech_act)
        return (Decision(kind, f"{finding.worker_id} says so: {_SAID[finding.speech_act]}"),)
    decisions = []
    if finding.confidence < low_confidence:
        decisions.append(
            Decision(
                LOW_CONFIDENCE,
                f"its confidence is {finding.confidence:g}, below {low_confidence:g}",
            )
        )
    if sources >= 2 and (cited := len(sources_of(finding))) < sources:
        decisions.append(
            Decision(
                SINGLE_SOURCE,
                f"it cites {cited} different source{'' if cited == 1 else 's'}; "
                f"{sources} are asked for",
            )
        )
    return tuple(decisions)


def repeats(first: str) -> Decision:
    """The decision about a claim that a current finding has made before."""
    return Decision(DUPLICATE, f"the same claim as finding {first}; both are kept")


def sources_of(finding: Finding) -> set[str]:
    """The different sources that a finding cites."""
    return {one.source if isinstance(one, Citation) else one for one in finding.citations}


def said(finding: Finding) -> tuple[str, str, float | None, str]:
    """What a finding says, so that two that say the same are equal: nothing of who, when, why."""
    return folded(finding.claim), folded(finding.topic), finding.value, folded(finding.unit)


def mark(finding: Finding) -> int:
    """64 bits of what it says, signed: equal for equal claims."""
    digest = hashlib.blake2b(repr(said(finding)).encode("utf-8", "replace"), digest_size=8)
    return int.from_bytes(digest.digest(), "big", signed=True)


_SAID = {
    SpeechAct.ESCALATE: "a person should look at this",
    SpeechAct.REQUEST: "something is asked for",
    SpeechAct.HOLD: "this is to be held back",
}
