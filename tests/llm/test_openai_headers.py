"""Headers of OpenAI's protocol: limits and waits as told, nonsense as not told."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ifmem.domain.model import RateLimits
from ifmem.llm.openai_headers import limits_of, retry_after_s

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)


def test_limits_are_read_from_the_headers() -> None:
    headers = {
        "x-ratelimit-remaining-requests": "59",
        "x-ratelimit-remaining-tokens": "149984",
        "x-ratelimit-reset-requests": "1s",
        "x-ratelimit-reset-tokens": "6m0s",
    }
    assert limits_of(headers) == RateLimits(
        requests_left=59, tokens_left=149_984, resets_in=timedelta(minutes=6)
    )


@pytest.mark.parametrize(
    ("text", "duration"),
    [
        ("20ms", timedelta(milliseconds=20)),
        ("1.5s", timedelta(seconds=1.5)),
        ("1h2m3s", timedelta(hours=1, minutes=2, seconds=3)),
        ("soon", None),
        ("", None),
        ("-3s", None),
        ("9999d", None),
    ],
)
def test_resets_are_durations_or_not_told(text: str, duration: timedelta | None) -> None:
    limits = limits_of({"x-ratelimit-reset-tokens": text, "x-ratelimit-remaining-tokens": "5"})
    assert limits is not None
    assert limits.resets_in == duration


def test_without_headers_there_are_no_limits() -> None:
    assert limits_of({"content-type": "text/plain"}) is None


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": "0.5"}, 0.5),
        ({"retry-after-ms": "250", "retry-after": "7"}, 0.25),
        ({"retry-after": "Mon, 23 Nov 2026 12:00:30 GMT"}, 30.0),
        ({"retry-after": "Mon, 23 Nov 2026 11:00:00 GMT"}, 0.0),
        ({"retry-after": "Mon, 23 Nov 2026 12:00:30"}, None),
        ({"retry-after": "-3"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "999999999"}, None),
        ({}, None),
    ],
)
def test_a_wait_is_seconds_or_a_date_or_not_told(
    headers: dict[str, str], seconds: float | None
) -> None:
    assert retry_after_s(headers, now=NOON) == seconds


@given(st.text(max_size=30))
def test_no_header_breaks_the_reading(text: str) -> None:
    wait = retry_after_s({"retry-after": text, "retry-after-ms": text}, now=NOON)
    assert wait is None or wait >= 0
    limits_of({"x-ratelimit-reset-tokens": text, "x-ratelimit-remaining-tokens": text})
