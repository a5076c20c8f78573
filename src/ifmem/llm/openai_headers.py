"""What the headers of OpenAI's protocol say of limits: `x-ratelimit-*` and `retry-after`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime

from ifmem.domain.model import RateLimits

_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3_600.0, "d": 86_400.0}
_PART = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)(ms|s|m|h|d)")
_LONGEST_SECONDS = 7 * 86_400.0
"""Whoever is told to wait for longer was told nothing of use."""


def limits_of(headers: Mapping[str, str]) -> RateLimits | None:
    """What is left, as ``x-ratelimit-{remaining,reset}-{requests,tokens}`` say; None: not told.

    ``resets_in`` is the later of both resets: by then all is as it was.
    """
    resets = [
        reset
        for name in ("requests", "tokens")
        if (reset := _duration(headers.get(f"x-ratelimit-reset-{name}"))) is not None
    ]
    requests_left = _whole(headers.get("x-ratelimit-remaining-requests"))
    tokens_left = _whole(headers.get("x-ratelimit-remaining-tokens"))
    if requests_left is None and tokens_left is None and not resets:
        return None
    return RateLimits(
        requests_left=requests_left,
        tokens_left=tokens_left,
        resets_in=max(resets, default=None),
    )


def retry_after_s(headers: Mapping[str, str], *, now: datetime) -> float | None:
    """Seconds to wait, from ``retry-after-ms`` or ``retry-after`` (seconds or a date)."""
    milliseconds = _number(headers.get("retry-after-ms"))
    if milliseconds is not None:
        return _bounded(milliseconds / 1_000)
    text = headers.get("retry-after")
    seconds = _number(text)
    if seconds is not None:
        return _bounded(seconds)
    try:
        moment = parsedate_to_datetime(text or "")
        return _bounded(max(0.0, (moment - now).total_seconds()))
    except (TypeError, ValueError, OverflowError):  # no date, or one without its zone
        return None


def _bounded(seconds: float) -> float | None:
    return seconds if 0 <= seconds <= _LONGEST_SECONDS else None


def _number(text: str | None) -> float | None:
    return float(text) if text and re.fullmatch(r"\d{1,12}(\.\d{1,9})?", text.strip()) else None


def _whole(text: str | None) -> int | None:
    return int(text) if text and re.fullmatch(r"[0-9]{1,15}", text.strip()) else None


def _duration(text: str | None) -> timedelta | None:
    """``6m0s``, ``1.5s``, ``20ms``; None when it is none of these."""
    if not text or not re.fullmatch(f"(?:{_PART.pattern})+", text.strip()):
        return None
    seconds = sum(float(number) * _SECONDS[unit] for number, unit in _PART.findall(text))
    return timedelta(seconds=seconds) if seconds <= _LONGEST_SECONDS else None
