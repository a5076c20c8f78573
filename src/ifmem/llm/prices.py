"""What a model costs at a moment: a person's own entry, then nothing, then genai-prices.

genai-prices carries its data inside the package; nothing is fetched here, ever. Its figures are
dollars per million tokens, with prices by date and hour and steps by prompt length.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from importlib.metadata import version
from types import MappingProxyType
from typing import TYPE_CHECKING

from ifmem.domain.model import EXTRACTIVE, LOCAL, ModelRef
from ifmem.domain.price import FREE, Price, Rates, Tier, pico
from ifmem.errors import ConfigError
from ifmem.model_settings import PriceEntry, ProviderEntry

if TYPE_CHECKING:
    from genai_prices.types import ModelPrice

_MILLION = 10**6
_PACKAGE = "genai-prices"

_VENDORS: Mapping[str, str] = MappingProxyType(
    {"anthropic": "anthropic", "openai": "openai", "gemini": "google", "deepseek": "deepseek"}
)
"""Our built-in providers, as genai-prices names them."""

_READ_ON: Mapping[str, str] = MappingProxyType({"0.2.3": "2026-11"})
"""When the prices of a release were read; its data names no date of its own."""

_TEXT_KEYS = (
    "input",
    "cache_write",
    "cache_write_5m",
    "cache_write_1h",
    "cache_read",
    "output",
    "output_reasoning",
)

_GEMINI_STORAGE: Mapping[str, str] = MappingProxyType(
    {f"gemini-3.{minor}-flash": "0.50" for minor in (6, 7, 8)}
)
"""Dollars per million tokens and hour of a cache object. From the comments of genai-prices 0.2.3
on these models, read 2026-11-23: the package has no unit for it, and of others nobody says."""


class PriceBook:
    """The price of every model at every moment.

    Args:
        entries: prices from the settings; they win.
        providers: by name; one that is ``free`` costs nothing.

    Raises:
        ConfigError: an entry names no model, or one twice, or is no whole price.
    """

    def __init__(
        self, entries: Sequence[PriceEntry], providers: Mapping[str, ProviderEntry]
    ) -> None:
        self._providers = dict(providers)
        self._own: dict[str, Price] = {}
        for entry in entries:
            ref = _named(entry)
            if str(ref) in self._own:
                raise ConfigError(f"[[prices]] has two entries for {ref}: remove one of them")
            self._own[str(ref)] = _own_price(entry, ref, self._providers.get(ref.provider))

    def price(self, ref: ModelRef, at: datetime) -> Price | None:
        """The price of a model at a moment; None when nobody knows it.

        Raises:
            ConfigError: genai-prices is needed and not installed, or has a price that is no whole
                number of pico-dollars per token.
        """
        own = self._own.get(str(ref))
        if own is not None:
            return own
        provider = self._providers.get(ref.provider)
        if ref.provider in {LOCAL, EXTRACTIVE} or (provider is not None and provider.free):
            return FREE
        return None if provider is None else _listed(ref, provider, at)

    def storable(self, ref: ModelRef) -> bool:
        """Whether the hour of a cache object of this model has a known price."""
        own = self._own.get(str(ref))
        listed = _listed_storage(ref, self._providers.get(ref.provider))
        return bool(listed if own is None else own.storage)


def _named(entry: PriceEntry) -> ModelRef:
    try:
        return ModelRef.parse(entry.model)
    except ValueError as error:
        raise ConfigError(f"[[prices]]: {error}", model=entry.model) from error


def _own_price(entry: PriceEntry, ref: ModelRef, provider: ProviderEntry | None) -> Price:
    def rate(field: str, dollars: str | None) -> int:
        return _per_token(Decimal(entry.input if dollars is None else dollars), ref, field)

    written = rate("cache_write", entry.cache_write)
    output = rate("output", entry.output)
    return Price(
        rates=Rates(
            uncached=rate("input", entry.input),
            cache_write_5m=written,
            cache_write_1h=written,
            cache_write_other=written,
            cache_read=rate("cache_read", entry.cache_read),
            output=output,
            reasoning=output,
        ),
        # An entry that says nothing of storage does not make it free.
        storage=rate("storage_hour", entry.storage_hour) or _listed_storage(ref, provider),
        source=entry.source,
        as_of=entry.as_of,
    )


def _listed(ref: ModelRef, provider: ProviderEntry, at: datetime) -> Price | None:
    try:
        from genai_prices import data_snapshot
    except ImportError as error:
        raise ConfigError(
            f"the price of {ref} is looked up in {_PACKAGE}, which is not installed: "
            f"pip install '{_PACKAGE}', or write it into the settings as [[prices]]",
            model=str(ref),
        ) from error
    vendor = _vendor(provider)
    try:
        _, model = data_snapshot.get_snapshot().find_provider_model(
            ref.model, None, vendor, None if vendor else provider.base_url
        )
    except LookupError:
        return None
    return _price(model.get_prices(at), ref, storage=_listed_storage(ref, provider))


def _vendor(provider: ProviderEntry) -> str | None:
    """Whose list counts; None: that of the server's address."""
    if provider.name in _VENDORS:
        return _VENDORS[provider.name]
    if provider.base_url or provider.protocol is None:
        return None
    return _VENDORS[provider.protocol]


def _price(listed: ModelPrice, ref: ModelRef, *, storage: int = 0) -> Price | None:
    by_the_token = listed.input_mtok is not None and listed.output_mtok is not None
    if listed.requests_kcount or not by_the_token:
        # Paid by the request, or not by tokens of text: no price that we could account for.
        return None
    steps = sorted({step for key in _TEXT_KEYS for step in _steps(listed, key)})
    release = version("genai_prices")
    return Price(
        rates=_rates(listed, ref, 0),
        tiers=tuple(Tier(above=step, rates=_rates(listed, ref, step + 1)) for step in steps),
        storage=storage,
        source=f"{_PACKAGE} {release}",
        as_of=_READ_ON.get(release, f"release {release}"),
    )


def _steps(listed: ModelPrice, key: str) -> tuple[int, ...]:
    tiers = getattr(getattr(listed, f"{key}_mtok"), "tiers", ())
    return tuple(tier.start for tier in tiers)


def _rates(listed: ModelPrice, ref: ModelRef, prompt: int) -> Rates:
    """The rates of a prompt of this length.

    What a vendor does not charge apart is charged as what contains it: a write as input, a write
    for an hour as any write, reasoning as output.
    """

    def rate(key: str, otherwise: int | None = None) -> int:
        dollars = _dollars(listed, key, prompt)
        if dollars is None and otherwise is not None:
            return otherwise
        return _per_token(dollars or Decimal(0), ref, key)

    uncached, output = rate("input"), rate("output")
    written = rate("cache_write", uncached)
    return Rates(
        uncached=uncached,
        cache_write_5m=rate("cache_write_5m", written),
        cache_write_1h=rate("cache_write_1h", written),
        cache_write_other=written,
        cache_read=rate("cache_read", uncached),
        output=output,
        reasoning=rate("output_reasoning", output),
    )


def _dollars(listed: ModelPrice, key: str, prompt: int) -> Decimal | None:
    listing = getattr(listed, f"{key}_mtok", None)
    if listing is None or isinstance(listing, Decimal):
        return listing
    reached = [tier.price for tier in listing.tiers if prompt > tier.start]
    price: Decimal = reached[-1] if reached else listing.base
    return price


def _listed_storage(ref: ModelRef, provider: ProviderEntry | None) -> int:
    """Pico-dollars per token and hour; 0 where nobody says."""
    if provider is None or provider.free or _vendor(provider) != "google":
        return 0
    return _per_token(Decimal(_GEMINI_STORAGE.get(ref.model, "0")), ref, "storage_hour")


def _per_token(dollars_per_million: Decimal, ref: ModelRef, field: str) -> int:
    try:
        return pico(dollars_per_million / _MILLION)
    except ValueError as error:
        raise ConfigError(
            f"the price of {ref} ({field}: ${dollars_per_million:f} per million tokens) is no "
            f"whole number of pico-dollars per token: round it up to six decimals in [[prices]]",
            model=str(ref),
        ) from error
