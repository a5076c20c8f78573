"""Usage of OpenAI's protocol: whatever a server reports is taken apart without loss, or refused."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ifmem.domain.usage import TokenUsage
from ifmem.llm.openai_usage import usage_of

counts = st.integers(0, 2_000_000)


@st.composite
def openai_usages(draw: st.DrawFn) -> dict[str, Any]:
    """What OpenAI reports: parts inside their wholes."""
    read, written, rest = draw(counts), draw(counts), draw(counts)
    thought, said = draw(counts), draw(counts)
    return {
        "prompt_tokens": read + written + rest,
        "prompt_tokens_details": {"cached_tokens": read, "cache_write_tokens": written},
        "completion_tokens": thought + said,
        "completion_tokens_details": {"reasoning_tokens": thought},
        "total_tokens": read + written + rest + thought + said,
    }


@given(openai_usages())
def test_the_buckets_of_openai_sum_to_its_totals(reported: dict[str, Any]) -> None:
    usage = usage_of(reported).usage
    details = reported["prompt_tokens_details"]
    assert usage.prompt == reported["prompt_tokens"]
    assert usage.generated == reported["completion_tokens"]
    assert (usage.cache_read, usage.cache_write) == (
        details["cached_tokens"],
        details["cache_write_tokens"],
    )


@given(hit=counts, missed=counts, said=counts)
def test_the_buckets_of_deepseek_sum_to_its_totals(hit: int, missed: int, said: int) -> None:
    reported = usage_of(
        {
            "prompt_tokens": hit + missed,
            "prompt_cache_hit_tokens": hit,
            "prompt_cache_miss_tokens": missed,
            "completion_tokens": said,
        }
    )
    assert reported.usage == TokenUsage(uncached=missed, cache_read=hit, output=said)
    assert reported.cache_told


@given(prompt=counts, said=counts)
def test_a_server_silent_about_its_cache_is_charged_in_full_and_known_as_silent(
    prompt: int, said: int
) -> None:
    reported = usage_of({"prompt_tokens": prompt, "completion_tokens": said})
    assert reported.usage == TokenUsage(uncached=prompt, output=said)
    assert not reported.cache_told


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=2), inner),
    max_leaves=3,
)
names = st.sampled_from(
    [
        "prompt_tokens",
        "completion_tokens",
        "total_tokens",
        "prompt_cache_hit_tokens",
        "prompt_cache_miss_tokens",
    ]
)
details = st.dictionaries(
    st.sampled_from(["cached_tokens", "cache_write_tokens", "reasoning_tokens"]),
    json_values | st.integers(0, 20),
)


@given(
    usage=st.dictionaries(names, json_values | st.integers(0, 20)),
    prompt_details=details | json_values,
    completion_details=details | json_values,
    timings=st.dictionaries(st.just("cache_n"), json_values) | json_values,
)
def test_anything_at_all_is_a_sum_that_fits_or_refused(
    usage: dict[str, Any], prompt_details: object, completion_details: object, timings: object
) -> None:
    usage["prompt_tokens_details"] = prompt_details
    usage["completion_tokens_details"] = completion_details
    try:
        taken = usage_of(usage, timings).usage
    except ValueError:
        return
    assert taken.prompt == usage["prompt_tokens"]
    assert taken.generated >= usage["completion_tokens"]


def test_llama_cpp_tells_of_its_cache_beside_the_usage() -> None:
    usage = {"prompt_tokens": 100, "completion_tokens": 5}
    reported = usage_of(usage, {"cache_n": 90, "prompt_n": 10})
    assert reported.usage == TokenUsage(uncached=10, cache_read=90, output=5)


def test_thoughts_beside_the_completion_are_added_when_the_total_shows_it() -> None:
    usage = {
        "prompt_tokens": 10,
        "completion_tokens": 5,
        "completion_tokens_details": {"reasoning_tokens": 30},
        "total_tokens": 45,
    }
    assert usage_of(usage).usage == TokenUsage(uncached=10, output=5, reasoning=30)


@pytest.mark.parametrize(
    "wrong",
    [
        {"prompt_tokens": None},
        {"completion_tokens": None},
        {"prompt_tokens": -1},
        {"completion_tokens": -1},
        {"prompt_tokens": 10.0},
        {"prompt_tokens": "10"},
        {"prompt_tokens": True},
        {"prompt_tokens": 10**13},
        {"prompt_tokens_details": {"cached_tokens": 11}},
        {"prompt_tokens_details": {"cached_tokens": -1}},
        {"prompt_tokens_details": {"cached_tokens": 6, "cache_write_tokens": 5}},
        {"prompt_cache_hit_tokens": 4, "prompt_cache_miss_tokens": 5},
        {"prompt_cache_miss_tokens": 11},
        {"completion_tokens_details": {"reasoning_tokens": 6}},
    ],
)
def test_numbers_that_cannot_be_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="token"):
        usage_of({"prompt_tokens": 10, "completion_tokens": 5} | wrong)


@pytest.mark.parametrize("usage", [None, [], "usage", 5, {}])
def test_no_usage_is_refused(usage: object) -> None:
    with pytest.raises(ValueError, match="without prompt_tokens"):
        usage_of(usage)
