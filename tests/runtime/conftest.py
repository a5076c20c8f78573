"""A daemon's service in this process, on a real server, with models that answer by a rule."""

from __future__ import annotations

import asyncio
import contextlib
import warnings
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

with warnings.catch_warnings():
    # A conftest is read before the filters are set that let the tokeniser open its vocabulary.
    warnings.simplefilter("ignore", DeprecationWarning)
    import ifmem.tokens  # noqa: F401

from ifmem.bus.connection import connect
from ifmem.bus.embedded import stop
from ifmem.domain.model import (
    CacheRules,
    Caching,
    Completion,
    ModelCall,
    ModelCard,
    ModelRef,
    Stop,
    Warming,
)
from ifmem.domain.price import Price, Rates
from ifmem.domain.shard import Speciality
from ifmem.domain.usage import TokenUsage
from ifmem.errors import ConfigError
from ifmem.llm.metered import Metered, PrefixCounts
from ifmem.llm.port import Accounts, LanguageModel
from ifmem.model_settings import BudgetSettings, ModelSettings
from ifmem.runtime.service import Service, bus_directory
from ifmem.runtime.space import Space
from ifmem.settings import PlacementEntry, RetrievalSettings, Settings
from ifmem.wire.answers import Answer
from ifmem.wire.calls import Request

FOLDERS = dict(zip(("one", "two", "three", "four"), Speciality, strict=True))
"""A folder of documents for each of the four shards."""
PRICE = Price(
    rates=Rates(
        uncached=1_000_000,
        cache_write_5m=1_250_000,
        cache_write_1h=2_000_000,
        cache_write_other=1_250_000,
        cache_read=100_000,
        output=5_000_000,
        reasoning=5_000_000,
    ),
    source="settings",
    as_of="2026-11-01",
)
RULES = CacheRules(
    caching=Caching.BREAKPOINT,
    warming=Warming.ZERO_TOKENS,
    least_tokens=16,
    lifetimes=(timedelta(minutes=5), timedelta(hours=1)),
)

Says = Callable[[ModelCall], "str | Completion | BaseException | asyncio.Event"]


@dataclass
class RuleModel:
    """A model that answers each call by a rule and caches prefixes it has seen."""

    card: ModelCard
    says: Says
    calls: list[ModelCall] = field(default_factory=list)
    cancelled: int = 0
    _seen: set[str] = field(default_factory=set)

    async def complete(self, call: ModelCall) -> Completion:
        self.calls.append(call)
        try:
            said = self.says(call)
            if isinstance(said, asyncio.Event):
                await said.wait()
                said = "never"
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        if isinstance(said, BaseException):
            raise said
        if call.begun is not None:
            call.begun()
        done = said if isinstance(said, Completion) else completion(said)
        return replace(done, usage=self._usage(call, done.text))

    async def warm(self, call: ModelCall) -> Completion:
        return await self.complete(replace(call, max_output=0))

    async def count(self, text: str) -> int:
        return len(text) // 4

    async def drop(self, handle: str) -> None:
        return None

    async def aclose(self) -> None:
        return None

    def _usage(self, call: ModelCall, answer: str) -> TokenUsage:
        prefix = (len(call.prompt.rules) + len(call.prompt.documents)) // 4
        asked, output = len(call.prompt.question) // 4, len(answer) // 4
        digest = call.prompt.prefix_sha256
        if digest in self._seen:
            return TokenUsage(cache_read=prefix, uncached=asked, output=output)
        self._seen.add(digest)
        if not call.prompt.documents:
            return TokenUsage(uncached=prefix + asked, output=output)
        return TokenUsage(cache_write_5m=prefix, uncached=asked, output=output)


def completion(text: str, stop: Stop = Stop.END) -> Completion:
    """What a model wrote, with a usage that is put in later."""
    return Completion(
        text=text,
        stop=stop,
        usage=TokenUsage(),
        model="rule",
        first_token_ms=1.0,
        total_ms=2.0,
    )


class RuleModels:
    """Models by name, each with a rule; a name without one has no key."""

    def __init__(self) -> None:
        self.models: dict[str, RuleModel] = {}
        self._counts = PrefixCounts()

    def add(
        self, name: str, says: Says | str, *, structured: bool = True, window: int = 100_000
    ) -> RuleModel:
        card = _card(name, structured=structured, window=window)
        rule: Says = (lambda call: says) if isinstance(says, str) else says
        self.models[name] = RuleModel(card, rule)
        return self.models[name]

    def card(self, name: str) -> ModelCard:
        return self.models[name].card if name in self.models else _card(name)

    def price(self, name: str, at: datetime) -> Price | None:
        return PRICE

    async def model(self, name: str, accounts: Accounts) -> LanguageModel:
        return Metered(self._known(name), accounts, lambda at: PRICE, counts=self._counts)

    async def once(self, name: str, accounts: Accounts) -> LanguageModel:
        return await self.model(name, accounts)

    def remove_saved(self) -> None:
        return None

    async def aclose(self) -> None:
        return None

    def _known(self, name: str) -> RuleModel:
        if name not in self.models:
            raise ConfigError(f"the key of {name} is not set: set SOME_KEY", model=name)
        return self.models[name]


def _card(name: str, *, structured: bool = True, window: int = 100_000) -> ModelCard:
    return ModelCard(
        ref=ModelRef.parse(name),
        window=window,
        max_output=4_000,
        cache=RULES,
        tokens_per_o200k=1.0,
        structured=structured,
    )


@dataclass
class Desk:
    """A service with its default space, and a folder to load from."""

    service: Service
    space: Space
    models: RuleModels
    folder: Path

    async def load(self, texts: Mapping[str, str]) -> None:
        """Write files below the folder and load them: ``one/a.md`` goes to shard 1."""
        for name, text in texts.items():
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        await self.call("load", paths=[str(self.folder)])

    async def call(self, method: str, **params: Any) -> Any:
        if method == "load":
            entries = msgspec.to_builtins(self.service.settings.placement)
            params = {**params, "placement": entries}
        raw = msgspec.Raw(msgspec.json.encode(params))
        return await self.service.call(Request(1, method, self.space.name, raw), _unheard)

    async def ask(self, question: str, **params: Any) -> Answer:
        answer = await self.call("ask", question=question, **params)
        assert isinstance(answer, Answer)
        return answer


class _Unheard:
    def __call__(self, event: dict[str, Any]) -> None:
        return None

    async def drained(self) -> None:
        return None


_unheard = _Unheard()


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Callable[..., contextlib.AbstractAsyncContextManager[Desk]]]:
    """Opens a desk with the models of these settings."""
    directories: list[Path] = []

    @contextlib.asynccontextmanager
    async def open_desk(
        models: ModelSettings | None = None,
        *,
        budget: BudgetSettings | None = None,
        **more: Any,
    ) -> AsyncIterator[Desk]:
        settings = Settings(
            home=str(tmp_path / "home"),
            models=models or ModelSettings(default="rule:a", keep_hot="off"),
            budget=budget or BudgetSettings(),
            retrieval=RetrievalSettings(semantic="off"),
            placement=tuple(
                PlacementEntry(speciality, paths=(f"{name}/",))
                for name, speciality in FOLDERS.items()
            ),
            **more,
        )
        directories.append(bus_directory(settings))
        server = await connect(settings.redis, bus_directory(settings))
        rules = RuleModels()
        async with asyncio.TaskGroup() as tasks:
            service = Service(
                settings,
                server,
                worker_id="desk-1",
                version="0",
                tasks=tasks,
                models=rules,  # type: ignore[arg-type]
            )
            try:
                space = await service.space(settings.space)
                yield Desk(service, space, rules, tmp_path / "docs")
            finally:
                await service.close()

    yield open_desk
    for directory in directories:
        stop(directory)
