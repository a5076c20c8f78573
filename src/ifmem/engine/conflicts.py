"""When two findings of one topic disagree: the rule for values, and what a judge may answer."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from enum import StrEnum
from fractions import Fraction

from ifmem.domain.finding import Finding, SpeechAct

_CLOSE = 1e-9
"""Of the larger value: nearer to the tolerance than this, binary numbers do not decide."""
_LEAST = 1e-300
"""Of the larger value: below it binary numbers have too few digits to decide anything."""


class Verdict(StrEnum):
    """What a judge says of two claims."""

    YES = "yes"
    """They cannot both be true."""
    NO = "no"
    UNCLEAR = "unclear"


def folded(text: str | None) -> str:
    """A topic or unit as topics and units are compared: without case, spaces as one."""
    return " ".join((text or "").split()).casefold()


def states(finding: Finding) -> bool:
    """Whether a finding says something of its topic: what asks, escalates or holds does not."""
    return finding.speech_act is SpeechAct.INFORM and bool(folded(finding.topic))


def apart(one: float, other: float, tolerance: float) -> bool:
    """Whether two values differ by more than this part of the larger.

    Computed on the decimal numbers as they are written, so that 0.3 and 0.24 lie exactly a fifth
    apart, whatever they are in binary. Both zero agree; different signs always disagree, for they
    differ by more than the larger.
    """
    if one == other:
        return False
    larger, distance = max(abs(one), abs(other)), abs(one - other)
    bound = tolerance * larger
    if larger > _LEAST and abs(distance - bound) > _CLOSE * larger:
        return distance > bound
    return abs(_exact(one) - _exact(other)) > _exact(tolerance) * _exact(larger)


def disagrees(value: float, extremes: Sequence[float], tolerance: float) -> bool:
    """Whether a value is apart from any of many of which these are the least and the greatest.

    What lies between two values that it agrees with agrees with it too, so the rest need not be
    looked at. That holds for tolerances up to 1.
    """
    return any(apart(value, one, tolerance) for one in extremes)


def difference(values: Sequence[float]) -> str:
    """By how much of the larger the least and the greatest differ, for a person."""
    least, greatest = _exact(min(values)), _exact(max(values))
    larger = max(abs(least), abs(greatest))
    return f"{float((greatest - least) / larger):.0%}" if larger else "0%"


def _exact(value: float) -> Fraction:
    return Fraction(Decimal(repr(float(value))))
