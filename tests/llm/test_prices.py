"""Prices: whole pico-dollars, at the moment of the call, equal to what genai-prices computes."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal

import genai_prices
import pytest
from genai_prices.types import ModelPrice, Tier, TieredPrices
from hypothesis import given, settings
from hypothesis import strategies as st

from ifmem.domain.model import ModelRef
from ifmem.domain.price import FREE, PICO, Price
from ifmem.domain.usage import TokenUsage
from ifmem.errors import ConfigError
from ifmem.llm.prices import PriceBook, _price
from ifmem.llm.providers import merged
from ifmem.model_settings import PriceEntry, ProviderEntry

NIGHT = datetime(2026, 11, 23, 22, tzinfo=UTC)
"""A Monday evening: nobody's peak."""
PEAK = datetime(2026, 11, 24, 7, tzinfo=UTC)
NEXT_YEAR = datetime(2027, 1, 1, tzinfo=UTC)
VENDORS = {"anthropic": "anthropic", "openai": "openai", "gemini": "google", "deepseek": "deepseek"}

LISTED: Mapping[str, tuple[str, str, str, str, str]] = {
    # Read 2026-11-23 from genai-prices 0.2.3: input, write (default), write for an hour, read and
    # output, in dollars per million tokens, on an evening of November 2026.
    "anthropic:claude-haiku-4-5": ("1", "1.25", "2", "0.10", "5"),
    "anthropic:claude-haiku-5-5": ("0.10", "0.125", "0.20", "0.01", "0.50"),
    "anthropic:claude-sonnet-4-6": ("3", "3.75", "6", "0.30", "15"),
    "anthropic:claude-sonnet-5": ("2", "2.50", "4", "0.20", "10"),
    "anthropic:claude-sonnet-5-5": ("2", "2.50", "4", "0.10", "10"),
    "anthropic:claude-opus-5-5": ("4", "5", "8", "0.20", "20"),
    "anthropic:claude-fable-5-2": ("8", "10", "16", "0.20", "40"),
    "openai:gpt-6-luna": ("0.10", "0.125", "0.125", "0.01", "0.50"),
    "openai:gpt-6.1-terra": ("1", "1.25", "1.25", "0.05", "5"),
    "openai:gpt-6.1-sol": ("2", "2.50", "2.50", "0.10", "10"),
    "openai:gpt-5.4-nano": ("0.20", "0.20", "0.20", "0.02", "1.25"),
    "openai:gpt-5-nano": ("0.05", "0.05", "0.05", "0.005", "0.40"),
    "gemini:gemini-3.8-flash": ("0.75", "0.75", "0.75", "0.075", "3.75"),
    "gemini:gemini-3.7-flash": ("0.75", "0.75", "0.75", "0.075", "3.75"),
    "gemini:gemini-3.6-flash": ("0.75", "0.75", "0.75", "0.075", "3.75"),
    "gemini:gemini-3.5-flash-lite": ("0.30", "0.30", "0.30", "0.03", "2.50"),
    "gemini:gemini-3.1-flash-lite": ("0.25", "0.25", "0.25", "0.025", "1.50"),
    "gemini:gemini-2.5-flash-lite": ("0.10", "0.10", "0.10", "0.01", "0.40"),
    "gemini:gemini-4-argon": ("2", "2", "2", "0.10", "10"),
    "gemini:gemini-3.1-pro-preview": ("2", "2", "2", "0.20", "12"),
    "deepseek:deepseek-flash": ("0.15", "0.15", "0.15", "0.003", "0.60"),
    "deepseek:deepseek-v4-pro": ("0.66", "0.66", "0.66", "0.022", "1.98"),
}


def book(*entries: PriceEntry, providers: tuple[ProviderEntry, ...] = ()) -> PriceBook:
    return PriceBook(entries, merged(providers))


def price(name: str, at: datetime = NIGHT) -> Price:
    found = book().price(ModelRef.parse(name), at)
    assert found is not None
    return found


def own(model: str = "openai:gpt-6-luna", **fields: str) -> PriceEntry:
    return PriceEntry(
        **{"model": model, "input": "1", "output": "5", "as_of": "2026-11-01"} | fields
    )


def per_million(rate: int) -> Decimal:
    return Decimal(rate) * 10**6 / PICO


counts = st.integers(min_value=0, max_value=400_000)
usages = st.builds(
    TokenUsage,
    uncached=counts,
    cache_write_5m=counts,
    cache_write_1h=counts,
    cache_write_other=counts,
    cache_read=counts,
    output=counts,
    reasoning=counts,
)
moments = st.integers(min_value=0, max_value=2 * 365 * 24 * 60).map(
    lambda minutes: datetime(2026, 1, 1, tzinfo=UTC) + timedelta(minutes=minutes)
)


@pytest.mark.parametrize("name", LISTED)
def test_a_listed_price_is_the_one_that_was_read(name: str) -> None:
    rates = price(name).rates

    assert [
        per_million(rate)
        for rate in (
            rates.uncached,
            rates.cache_write_other,
            rates.cache_write_1h,
            rates.cache_read,
            rates.output,
        )
    ] == [Decimal(dollars) for dollars in LISTED[name]]
    assert rates.cache_write_5m == rates.cache_write_other
    assert rates.reasoning == rates.output


@given(name=st.sampled_from(sorted(LISTED)), usage=usages, at=moments)
@settings(max_examples=400, deadline=None)
def test_every_call_costs_what_genai_prices_says_to_the_last_digit(
    name: str, usage: TokenUsage, at: datetime
) -> None:
    ref = ModelRef.parse(name)
    theirs = genai_prices.calc_price(
        genai_prices.Usage(
            input_tokens=usage.prompt,
            cache_write_tokens=usage.cache_write,
            cache_write_5m_tokens=usage.cache_write_5m,
            cache_write_1h_tokens=usage.cache_write_1h,
            cache_read_tokens=usage.cache_read,
            output_tokens=usage.generated,
            output_reasoning_tokens=usage.reasoning,
        ),
        ref.model,
        provider_id=VENDORS[ref.provider],
        genai_request_timestamp=at,
    )

    assert Decimal(price(name, at).cost(usage)) / PICO == theirs.total_price


def test_one_token_over_a_step_multiplies_the_whole_prompt() -> None:
    haiku = price("anthropic:claude-haiku-5-5")

    assert haiku.cliff == 100_000
    assert haiku.cost(TokenUsage(uncached=100_000)) == PICO // 100
    assert haiku.cost(TokenUsage(uncached=100_001)) == 100_001 * 500_000
    assert price("openai:gpt-6-luna").cliff == 272_000
    assert price("anthropic:claude-sonnet-5").cliff is None


def test_a_price_is_that_of_the_hour_and_the_day() -> None:
    assert price("deepseek:deepseek-flash", PEAK).rates.uncached == 300_000
    assert price("deepseek:deepseek-flash", NIGHT).rates.uncached == 150_000
    assert price("gemini:gemini-3.8-flash", NEXT_YEAR).rates.output == 7_500_000


def test_a_moment_counts_in_utc_wherever_it_was_read() -> None:
    there = PEAK.astimezone(timezone(timedelta(hours=-9)))

    assert price("deepseek:deepseek-flash", there) == price("deepseek:deepseek-flash", PEAK)


def test_a_listed_price_says_where_it_was_read() -> None:
    listed = price("openai:gpt-6-luna")

    assert listed.source == f"genai-prices {genai_prices.__version__}"
    assert listed.as_of in {"2026-11", f"release {genai_prices.__version__}"}


def test_the_hour_of_an_object_is_priced_where_it_is_known_and_only_there() -> None:
    stored = ("gemini:gemini-3.6-flash", "gemini:gemini-3.7-flash", "gemini:gemini-3.8-flash")
    others = sorted(set(LISTED) - set(stored))

    assert {price(name).storage for name in stored} == {500_000}
    assert {price(name).storage for name in others} == {0}
    assert all(book().storable(ModelRef.parse(name)) for name in stored)
    assert not any(book().storable(ModelRef.parse(name)) for name in others)


def test_a_second_account_pays_for_storage_too_and_a_server_of_your_own_does_not() -> None:
    team = ProviderEntry(name="team", protocol="gemini")
    mine = ProviderEntry(name="mine", protocol="gemini", base_url="http://127.0.0.1:1", free=True)
    prices = book(providers=(team, mine))

    assert prices.price(ModelRef("team", "gemini-3.8-flash"), NIGHT) == price(
        "gemini:gemini-3.8-flash"
    )
    assert prices.storable(ModelRef("team", "gemini-3.8-flash"))
    assert not prices.storable(ModelRef("mine", "gemini-3.8-flash"))
    assert not prices.storable(ModelRef("nobody", "gemini-3.8-flash"))
    unpaid = book(providers=(ProviderEntry(name="gemini", free=True),))
    assert not unpaid.storable(ModelRef("gemini", "gemini-3.8-flash"))


def test_an_entry_of_the_settings_wins_and_what_it_leaves_out_is_priced_as_input() -> None:
    entry = own(cache_read="0.1", source="invoice")

    found = book(entry).price(ModelRef.parse(entry.model), NIGHT)

    assert found is not None
    assert (found.source, found.as_of, found.tiers) == ("invoice", "2026-11-01", ())
    assert found.rates.cache_write_1h == found.rates.uncached == 1_000_000
    assert found.rates.cache_read == 100_000
    assert found.rates.reasoning == found.rates.output == 5_000_000


def test_an_entry_wins_over_a_free_provider_too() -> None:
    assert book(own("vllm:qwen")).price(ModelRef("vllm", "qwen"), NIGHT) != FREE


def test_an_entry_that_says_nothing_of_storage_does_not_make_it_free() -> None:
    flash, lite = "gemini:gemini-3.8-flash", "gemini:gemini-3.5-flash-lite"
    prices = book(own(flash), own(lite, storage_hour="1"))

    stored, given_by_hand = (prices.price(ModelRef.parse(name), NIGHT) for name in (flash, lite))

    assert stored is not None
    assert given_by_hand is not None
    assert (stored.storage, given_by_hand.storage) == (500_000, 1_000_000)
    assert prices.storable(ModelRef.parse(lite))


@pytest.mark.parametrize("name", ["local", "extractive", "ollama:llama4", "vllm:qwen", "mine:any"])
def test_what_runs_here_costs_nothing(name: str) -> None:
    mine = ProviderEntry(name="mine", protocol="openai", base_url="http://127.0.0.1:1", free=True)

    assert book(providers=(mine,)).price(ModelRef.parse(name), NIGHT) == FREE


@pytest.mark.parametrize(
    "name", ["openai:gpt-99-unheard-of", "nobody:gpt-6-luna", "mine:gpt-6-luna"]
)
def test_a_model_that_nobody_prices_has_no_price(name: str) -> None:
    mine = ProviderEntry(name="mine", protocol="openai", base_url="http://127.0.0.1:1")

    assert book(providers=(mine,)).price(ModelRef.parse(name), NIGHT) is None


def test_a_provider_of_another_name_is_priced_by_its_address() -> None:
    second = ProviderEntry(name="work", protocol="openai", base_url="https://api.openai.com/v1")
    plain = ProviderEntry(name="team", protocol="anthropic")
    prices = book(providers=(second, plain))

    assert prices.price(ModelRef("work", "gpt-6-luna"), NIGHT) == price("openai:gpt-6-luna")
    assert prices.price(ModelRef("team", "claude-haiku-5-5"), NIGHT) == price(
        "anthropic:claude-haiku-5-5"
    )


def test_a_fraction_of_a_pico_dollar_is_refused_by_the_name_of_its_model() -> None:
    with pytest.raises(ConfigError, match=r"openai:gpt-6-luna \(output: \$0\.0000001 "):
        book(own(output="0.0000001"))


def test_a_listed_fraction_of_a_pico_dollar_is_refused_too() -> None:
    listed = ModelPrice(input_mtok=Decimal(1), output_mtok=Decimal("0.12345678"))

    with pytest.raises(ConfigError, match=r"0\.12345678"):
        _price(listed, ModelRef("openai", "odd"))


@given(usage=usages)
@settings(deadline=None)
def test_several_steps_are_counted_as_genai_prices_counts_them(usage: TokenUsage) -> None:
    steps = [Tier(start=500_000, price=Decimal(3)), Tier(start=900_000, price=Decimal(7))]
    listed = ModelPrice(
        input_mtok=TieredPrices(base=Decimal(1), tiers=steps),
        output_mtok=TieredPrices(base=Decimal(2), tiers=steps[1:]),
    )
    ours = _price(listed, ModelRef("openai", "stepped"))

    assert ours is not None
    assert [tier.above for tier in ours.tiers] == [500_000, 900_000]
    theirs = listed.calc_price(
        genai_prices.Usage(input_tokens=usage.prompt, output_tokens=usage.generated)
    )
    assert Decimal(ours.cost(usage)) / PICO == theirs["total_price"]


def test_a_model_paid_by_the_request_has_no_price_by_the_token() -> None:
    listed = ModelPrice(input_mtok=Decimal(1), output_mtok=Decimal(1), requests_kcount=Decimal(5))

    assert _price(listed, ModelRef("openai", "odd")) is None


@pytest.mark.parametrize("entries", [(own(), own(input="2")), (own("gpt-6-luna"),)])
def test_entries_that_name_no_model_or_one_twice_are_refused(
    entries: tuple[PriceEntry, ...],
) -> None:
    with pytest.raises(ConfigError, match=r"\[\[prices\]\]"):
        book(*entries)


def test_without_the_table_of_prices_the_error_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "genai_prices", None)
    prices = book(own())

    assert prices.price(ModelRef("openai", "gpt-6-luna"), NIGHT) is not None
    assert prices.price(ModelRef("local"), NIGHT) == FREE
    with pytest.raises(ConfigError, match="pip install"):
        prices.price(ModelRef("openai", "gpt-5-nano"), NIGHT)
