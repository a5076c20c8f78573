"""Models by name: what is known of one, what it costs, and the wrapped adapter that calls it."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

from ifmem import clock
from ifmem.domain.model import EXTRACTIVE, LOCAL, ModelCard, ModelRef
from ifmem.domain.price import Price
from ifmem.errors import ConfigError, Invalid
from ifmem.llm.cards import card_of
from ifmem.llm.local_saved_slots import remove_all
from ifmem.llm.metered import Metered, PrefixCounts
from ifmem.llm.port import Accounts, LanguageModel
from ifmem.llm.prices import PriceBook
from ifmem.llm.providers import key_of, merged, provider_of
from ifmem.llm.retrying import Retrying
from ifmem.llm.throttled import Throttle, Throttled
from ifmem.model_settings import ProviderEntry
from ifmem.settings import Settings

_LOCAL_PROVIDER = ProviderEntry(name=LOCAL, free=True)


class Models:
    """Every model that the settings allow, by name.

    Args:
        environment: where keys are looked up.
        directory: where the local engine keeps its saved slots.

    Raises:
        ConfigError: ``[[providers]]`` or ``[[prices]]`` contradict themselves.
    """

    def __init__(
        self, settings: Settings, environment: Mapping[str, str], *, directory: Path
    ) -> None:
        self._settings = settings
        self._environment = environment
        self._directory = directory
        self._providers = merged(settings.providers)
        self._prices = PriceBook(settings.prices, self._providers)
        self._counts = PrefixCounts()
        self._throttles: dict[str, Throttle] = {}
        self._adapters: dict[ModelRef, LanguageModel] = {}
        self._being_made: defaultdict[ModelRef, asyncio.Lock] = defaultdict(asyncio.Lock)

    def card(self, name: str) -> ModelCard:
        """What is known of a model before it is called.

        Raises:
            Invalid: no model has that name, or ``extractive``, which is none.
        """
        return self._card(_callable(name))

    def price(self, name: str, at: datetime) -> Price | None:
        """What a model costs at a moment; None when nobody knows.

        Raises:
            Invalid: no model has that name.
            ConfigError: the table of prices is not installed.
        """
        ref = _parsed(name)
        self._provider(ref)
        return self._prices.price(ref, at)

    async def model(self, name: str, accounts: Accounts) -> LanguageModel:
        """The model of a name, ready to be called; every attempt is a row of ``accounts``.

        Raises:
            Invalid: no model has that name, or ``extractive``, which is not called.
            ConfigError: its key, its extra or its price is missing.
        """
        return Retrying(await self.once(name, accounts))

    async def once(self, name: str, accounts: Accounts) -> LanguageModel:
        """The same, whose calls are never repeated: each is one request that may be counted.

        Raises:
            Invalid, ConfigError: as ``model``.
        """
        ref = _callable(name)
        provider = self._provider(ref)
        # What a call costs is known before anything is made that could call.
        await asyncio.to_thread(self._require_price, ref)
        adapter = await self._adapter(ref, provider)
        metered = Metered(
            adapter, accounts, lambda at: self._prices.price(ref, at), counts=self._counts
        )
        return Throttled(metered, self._throttle(provider))

    def remove_saved(self) -> None:
        """Remove what the local engine has saved of shards; they are computed again when needed."""
        remove_all(self._directory)

    async def aclose(self) -> None:
        """Close the clients of every model that was asked for."""
        async with asyncio.TaskGroup() as closing:
            while self._adapters:
                _, adapter = self._adapters.popitem()
                closing.create_task(adapter.aclose())

    def _provider(self, ref: ModelRef) -> ProviderEntry:
        if ref.provider in {LOCAL, EXTRACTIVE}:
            return _LOCAL_PROVIDER
        return provider_of(self._providers, ref.provider)

    def _card(self, ref: ModelRef) -> ModelCard:
        provider = self._provider(ref)
        if ref.provider == LOCAL:
            from ifmem.llm.local_model import local_card

            return local_card(self._settings.local)
        return card_of(ref, provider, storable=self._prices.storable(ref))

    def _require_price(self, ref: ModelRef) -> None:
        if self._prices.price(ref, clock.now()) is None:
            raise ConfigError(
                f"nobody knows what {ref} costs, and money is never guessed: write it into the "
                f"settings, in dollars per million tokens:\n[[prices]]\n"
                f'model = "{ref}"\ninput = "1.00"\noutput = "5.00"\ncache_read = "0.10"\n'
                f'cache_write = "1.25"\nas_of = "{clock.stamp(clock.now())[:10]}"',
                model=str(ref),
            )

    def _throttle(self, provider: ProviderEntry) -> Throttle:
        """One for all models of a provider: its limits are those of the account."""
        if provider.name not in self._throttles:
            self._throttles[provider.name] = Throttle(
                requests_per_minute=provider.requests_per_minute,
                tokens_per_minute=provider.tokens_per_minute,
            )
        return self._throttles[provider.name]

    async def _adapter(self, ref: ModelRef, provider: ProviderEntry) -> LanguageModel:
        async with self._being_made[ref]:
            if ref not in self._adapters:
                # Importing an SDK takes seconds; nobody else shall wait for it.
                self._adapters[ref] = await asyncio.to_thread(self._made, ref, provider)
            return self._adapters[ref]

    def _made(self, ref: ModelRef, provider: ProviderEntry) -> LanguageModel:
        card = self._card(ref)
        if ref.provider == LOCAL:
            from ifmem.llm.local_model import LocalModel

            return LocalModel(self._settings.local, directory=self._directory)
        key = key_of(provider, self._environment)
        named = provider.key_file or provider.key_env or "`key_env` in its entry of [[providers]]"
        if provider.protocol == "anthropic":
            from ifmem.llm.anthropic_model import AnthropicModel

            return AnthropicModel(card, api_key=key, base_url=provider.base_url, key_name=named)
        if provider.protocol == "gemini":
            from ifmem.llm.gemini_model import GeminiModel

            return GeminiModel(card, api_key=key, base_url=provider.base_url, key_name=named)
        from ifmem.llm.openai_compatible_model import OpenAICompatibleModel

        return OpenAICompatibleModel(
            card,
            vendor=provider.vendor,
            api_key=key,
            base_url=provider.base_url,
            key_name=named,
        )


def _parsed(name: str) -> ModelRef:
    try:
        ref = ModelRef.parse(name)
    except ValueError as error:
        raise Invalid(str(error), model=name) from error
    if ref.model and ref.provider in {LOCAL, EXTRACTIVE}:
        raise Invalid(
            f"{name!r} names no model: write `{ref.provider}` alone; the weights of the local "
            f"model are set by `weights` in [local]",
            model=name,
        )
    return ref


def _callable(name: str) -> ModelRef:
    ref = _parsed(name)
    if ref.provider == EXTRACTIVE:
        raise Invalid(
            f"`{EXTRACTIVE}` is no model that can be called: it answers with sentences of the "
            f"sources, so name another one here",
            model=name,
        )
    return ref
