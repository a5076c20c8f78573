"""What is known of models before a call: windows, caching rules, factors."""

from __future__ import annotations

from datetime import timedelta

import pytest
from genai_prices import data_snapshot

from ifmem.domain.model import Caching, ModelCard, ModelRef, Warming
from ifmem.llm.cards import UNKNOWN_WINDOW, card_of
from ifmem.llm.providers import BUILT_IN, merged
from ifmem.model_settings import ProviderEntry

MINUTES_5, MINUTES_30, HOUR = timedelta(minutes=5), timedelta(minutes=30), timedelta(hours=1)
NO_CHAT = ("audio", "embedding", "tts", "live", "realtime", "transcribe", "computer-use", "vision")


def card(name: str, *, storable: bool = False, **changes: object) -> ModelCard:
    ref = ModelRef.parse(name)
    entry = ProviderEntry(name=ref.provider, **changes)  # type: ignore[arg-type]
    return card_of(ref, merged((entry,))[ref.provider], storable=storable)


@pytest.mark.parametrize(
    ("name", "window", "least", "lifetimes"),
    [
        # Read 2026-11: vendors' pages of models and prompt caching.
        ("anthropic:claude-haiku-4-5", 200_000, 4_096, (MINUTES_5, HOUR)),
        ("anthropic:claude-haiku-4-5-20251001", 200_000, 4_096, (MINUTES_5, HOUR)),
        ("anthropic:claude-haiku-5-5", 1_000_000, 512, (MINUTES_5, HOUR)),
        ("anthropic:claude-sonnet-4-6", 1_000_000, 1_024, (MINUTES_5, HOUR)),
        ("anthropic:claude-sonnet-5", 1_000_000, 1_024, (MINUTES_5, HOUR)),
        ("anthropic:claude-sonnet-5-20260601", 1_000_000, 1_024, (MINUTES_5, HOUR)),
        ("anthropic:claude-sonnet-5-5", 1_000_000, 512, (MINUTES_5, HOUR)),
        ("anthropic:claude-opus-5-5", 1_000_000, 512, (MINUTES_5, HOUR)),
        ("openai:gpt-6-luna", 1_050_000, 1_024, (MINUTES_30,)),
        ("openai:gpt-6.2-sol", 1_050_000, 1_024, (MINUTES_30,)),
        ("openai:gpt-5.4-nano", 400_000, 1_024, ()),
        ("openai:gpt-5-nano", 400_000, 1_024, ()),
        ("gemini:gemini-3.8-flash", 1_000_000, 4_096, ()),
        ("gemini:gemini-2.5-flash-lite", 1_000_000, 2_048, ()),
        ("gemini:gemini-4-argon", 1_000_000, 4_096, ()),
        ("deepseek:deepseek-flash", 1_000_000, 0, ()),
        ("deepseek:deepseek-v4-pro", 1_000_000, 0, ()),
    ],
)
def test_a_card_says_what_the_vendors_page_says(
    name: str, window: int, least: int, lifetimes: tuple[timedelta, ...]
) -> None:
    known = card(name)

    assert (known.window, known.cache.least_tokens, known.cache.lifetimes) == (
        window,
        least,
        lifetimes,
    )


@pytest.mark.parametrize("entry", BUILT_IN[:4], ids=lambda entry: entry.name)
def test_no_window_is_larger_than_the_listed_one(entry: ProviderEntry) -> None:
    vendor = "google" if entry.name == "gemini" else entry.name
    listed = data_snapshot.find_provider_by_id(data_snapshot.get_snapshot().providers, vendor)
    assert listed is not None
    windows = {
        model.id: model.context_window
        for model in listed.models
        if model.context_window and not any(word in model.id for word in NO_CHAT)
    }
    assert len(windows) >= 7

    too_large = {
        name: window
        for name, window in windows.items()
        if card_of(ModelRef(entry.name, name), entry).window > window
    }

    assert too_large == {}


@pytest.mark.parametrize(
    ("name", "factor"),
    [
        ("anthropic:claude-haiku-4-5", 1.22),
        ("anthropic:claude-sonnet-4-6", 1.22),
        ("anthropic:claude-sonnet-5", 1.65),
        ("anthropic:claude-haiku-5-5", 1.65),
        ("anthropic:claude-never-seen-9", 1.65),
        ("openai:gpt-6-luna", 1.0),
        ("gemini:gemini-3.8-flash", 1.15),
        ("deepseek:deepseek-flash", 1.08),
    ],
)
def test_tokens_are_estimated_by_the_tokeniser_of_the_family(name: str, factor: float) -> None:
    assert card(name).tokens_per_o200k == factor


def test_each_vendor_is_warmed_in_its_own_way() -> None:
    rules = {
        name: (known.cache.caching, known.cache.warming)
        for name in (
            "anthropic:claude-haiku-5-5",
            "openai:gpt-6-luna",
            "gemini:gemini-3.8-flash",
            "deepseek:deepseek-flash",
            "vllm:qwen",
        )
        for known in [card(name)]
    }

    assert rules == {
        "anthropic:claude-haiku-5-5": (Caching.BREAKPOINT, Warming.ZERO_TOKENS),
        "openai:gpt-6-luna": (Caching.IMPLICIT, Warming.FIRST_CALL),
        "gemini:gemini-3.8-flash": (Caching.IMPLICIT, Warming.FIRST_CALL),
        "deepseek:deepseek-flash": (Caching.IMPLICIT, Warming.TWO_QUESTIONS),
        "vllm:qwen": (Caching.IMPLICIT, Warming.FIRST_CALL),
    }


def test_a_cache_object_is_made_only_where_its_hour_has_a_price_and_the_model_has_objects() -> None:
    stored = card("gemini:gemini-3.8-flash", storable=True).cache
    argon = card("gemini:gemini-4-argon", storable=True).cache

    assert (stored.caching, stored.warming) == (Caching.OBJECT, Warming.CREATE)
    assert stored.lifetimes == (MINUTES_5, HOUR)
    assert not stored.read_extends
    assert argon.caching is Caching.IMPLICIT


@pytest.mark.parametrize("provider", ["ollama", "vllm", "llamacpp"])
def test_an_unknown_model_of_your_own_server_is_taken_low(provider: str) -> None:
    known = card(f"{provider}:whatever-7b")

    assert known.window == UNKNOWN_WINDOW == 32_768
    assert not known.structured
    assert known.cache.caching is Caching.IMPLICIT
    assert known.max_output <= known.window // 2


def test_what_the_settings_say_of_a_provider_counts_more_than_the_table() -> None:
    assert card("vllm:qwen", window=131_072, structured=True).window == 131_072
    assert card("vllm:qwen", structured=True).structured
    assert card("openai:gpt-6-luna", window=64_000, structured=False).window == 64_000
    assert not card("openai:gpt-6-luna", structured=False).structured


def test_the_models_of_vendors_keep_to_a_schema_except_where_only_json_is_promised() -> None:
    names = ("anthropic:claude-haiku-5-5", "openai:gpt-6-luna", "gemini:gemini-3.8-flash")

    assert all(card(name).structured for name in names)
    assert not card("deepseek:deepseek-flash").structured


def test_another_vendors_model_behind_a_known_protocol_is_promised_no_lifetime() -> None:
    rules = card("anthropic:some-other-model").cache

    assert (rules.caching, rules.lifetimes) == (Caching.IMPLICIT, ())


def test_an_answer_never_takes_more_than_half_of_a_window() -> None:
    assert card("vllm:tiny", window=2_048).max_output == 1_024
