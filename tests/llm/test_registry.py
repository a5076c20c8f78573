"""Models by name: providers, keys, prices, and the order of what is wrapped around an adapter."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
import tomllib
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest

from ifmem import clock
from ifmem.domain.ledger import CallState
from ifmem.domain.model import Caching, ModelCall, Purpose
from ifmem.domain.price import FREE
from ifmem.domain.prompt import Prompt
from ifmem.errors import ConfigError, Invalid
from ifmem.llm.gemini_model import GeminiModel
from ifmem.llm.local_model import LocalModel
from ifmem.llm.metered import Metered
from ifmem.llm.port import LanguageModel
from ifmem.llm.registry import Models
from ifmem.llm.retrying import Retrying
from ifmem.llm.throttled import Throttled
from ifmem.model_settings import LocalSettings, PriceEntry, ProviderEntry
from ifmem.settings import Settings
from ifmem.testing.gemini_server import GeminiServer
from ifmem.testing.scripted_model import ListedAccounts

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
FAKE = "fake-" + "key-of-a-test"
KEYS = {"GEMINI_API_KEY": "fake-" + "gemini-" + "key", "OPENAI_API_KEY": FAKE}
BUILT_IN = ("anthropic", "deepseek", "gemini", "llamacpp", "ollama", "openai", "vllm")
PROMPT = Prompt(name="test", version=1, rules="Be brief.", documents="A text.", question="What?")


def models(
    *providers: ProviderEntry,
    prices: tuple[PriceEntry, ...] = (),
    environment: Mapping[str, str] = KEYS,
) -> Models:
    settings = Settings(providers=providers, prices=prices)
    return Models(settings, environment, directory=Path("unused"))


def wrapped(model: LanguageModel) -> list[object]:
    """The model and everything inside it, outermost first."""
    chain: list[object] = [model]
    while (inner := getattr(chain[-1], "_model", None)) is not None:
        chain.append(inner)
    return chain


def shown(message: str) -> dict[str, Any]:
    """The settings that a message shows."""
    return tomllib.loads(message[message.index("[[") :])


async def made(name: str, made_by: Models) -> list[object]:
    try:
        return wrapped(await made_by.model(name, ListedAccounts()))
    finally:
        await made_by.aclose()


@pytest.mark.parametrize("provider", BUILT_IN)
def test_every_built_in_provider_has_cards(provider: str) -> None:
    assert str(models().card(f"{provider}:some-model").ref) == f"{provider}:some-model"


def test_an_unknown_provider_is_told_which_there_are_and_how_to_add_it() -> None:
    with pytest.raises(Invalid) as caught:
        models().card("acme:large")

    assert all(name in caught.value.message for name in BUILT_IN)
    added = msgspec.convert(shown(caught.value.message)["providers"], tuple[ProviderEntry, ...])
    assert models(*added).card("acme:large").ref.provider == "acme"


@pytest.mark.parametrize("name", ["", "openai", "openai:", ":gpt", "gpt-6-luna"])
def test_a_name_without_provider_or_model_is_invalid(name: str) -> None:
    with pytest.raises(Invalid, match="PROVIDER:MODEL"):
        models().card(name)


def test_the_extractive_model_cannot_be_called() -> None:
    with pytest.raises(Invalid, match="no model that can be called"):
        models().card("extractive")
    with pytest.raises(Invalid, match="no model that can be called"):
        asyncio.run(models().model("extractive", ListedAccounts()))
    assert models().price("extractive", NOON) == FREE


def test_an_entry_changes_a_built_in_provider_in_what_it_says_and_nothing_else() -> None:
    changed = models(ProviderEntry(name="vllm", window=8_000))

    assert changed.card("vllm:qwen").window == 8_000
    assert changed.price("vllm:qwen", NOON) == FREE


@pytest.mark.parametrize(
    "entries",
    [
        (ProviderEntry(name="acme"),),
        (
            ProviderEntry(name="acme", protocol="openai", base_url="http://127.0.0.1:1"),
            ProviderEntry(name="acme", protocol="openai", base_url="http://127.0.0.1:2"),
        ),
    ],
)
def test_providers_that_contradict_themselves_are_refused(
    entries: tuple[ProviderEntry, ...],
) -> None:
    with pytest.raises(ConfigError, match=r"\[\[providers\]\]"):
        models(*entries)


def test_a_provider_without_an_address_is_the_vendor_by_another_name() -> None:
    team = ProviderEntry(name="team", protocol="openai", key_env="TEAM_KEY")

    assert models(team).card("team:gpt-6-luna").cache == models().card("openai:gpt-6-luna").cache
    assert models(team).price("team:gpt-6-luna", NOON) == models().price("openai:gpt-6-luna", NOON)


def test_retrying_is_around_throttling_which_is_around_the_account_and_the_adapter() -> None:
    chain = asyncio.run(made("gemini:gemini-3.8-flash", models()))

    assert [type(each) for each in chain] == [Retrying, Throttled, Metered, GeminiModel]


def test_an_adapter_is_made_once_and_a_throttle_is_that_of_the_provider() -> None:
    async def scenario() -> None:
        registry = models()
        try:
            async with asyncio.TaskGroup() as group:
                asked = [
                    group.create_task(registry.model(name, ListedAccounts()))
                    for name in ("gemini:gemini-3.8-flash",) * 4
                    + ("gemini:gemini-2.5-flash", "openai:gpt-6-luna")
                ]
            chains = [wrapped(each.result()) for each in asked]
            *same, other, foreign = chains
            assert {id(chain[-1]) for chain in same} == {id(same[0][-1])}
            assert other[-1] is not same[0][-1]
            assert throttle(other) is throttle(same[0])
            assert throttle(foreign) is not throttle(same[0])
        finally:
            await registry.aclose()

    def throttle(chain: list[object]) -> object:
        (throttled,) = (each for each in chain if isinstance(each, Throttled))
        return throttled._throttle

    asyncio.run(scenario())


def test_a_missing_key_names_its_variable_and_says_how_to_set_it() -> None:
    with pytest.raises(ConfigError) as caught:
        asyncio.run(models(environment={}).model("openai:gpt-6-luna", ListedAccounts()))

    for needed in ("OPENAI_API_KEY", "`ifmem down`", "key_file"):
        assert needed in caught.value.message
    assert caught.value.facts["variable"] == "OPENAI_API_KEY"


@pytest.mark.parametrize("content", [None, " \n", b"\xff\xfe"])
def test_a_file_that_holds_no_key_is_named(tmp_path: Path, content: str | bytes | None) -> None:
    file = tmp_path / "key"
    if content is not None:
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
    registry = models(ProviderEntry(name="gemini", key_file=str(file)))

    with pytest.raises(ConfigError, match=str(file)):
        asyncio.run(registry.model("gemini:gemini-3.8-flash", ListedAccounts()))


def test_a_key_in_a_file_is_used_and_reading_it_holds_nobody_up(tmp_path: Path) -> None:
    fifo = tmp_path / "key"
    os.mkfifo(fifo)

    def write_once_the_loop_has_turned(loop: asyncio.AbstractEventLoop) -> bool:
        with fifo.open("w") as file:  # returns when the key is being read
            turned = threading.Event()
            loop.call_soon_threadsafe(turned.set)
            was_free = turned.wait(5)
            file.write(KEYS["GEMINI_API_KEY"] + "\n")
        return was_free

    async def scenario(url: str) -> None:
        registry = models(
            ProviderEntry(name="gemini", key_file=str(fifo), base_url=url), environment={}
        )
        async with asyncio.TaskGroup() as group:
            writing = group.create_task(
                asyncio.to_thread(write_once_the_loop_has_turned, asyncio.get_running_loop())
            )
            asked = group.create_task(registry.model("gemini:gemini-3.8-flash", ListedAccounts()))
        completion = await asked.result().complete(call())
        await registry.aclose()
        assert completion.text == "Yes."
        assert writing.result()

    with GeminiServer() as server:
        asyncio.run(asyncio.wait_for(scenario(server.url), 30))


def test_a_provider_of_another_name_never_gets_the_key_of_a_vendor() -> None:
    mine = ProviderEntry(name="mine", protocol="gemini", base_url="http://127.0.0.1:1", free=True)

    with pytest.raises(ConfigError, match=r"needs a key.*`key_env`"):
        asyncio.run(models(mine).model("mine:gemini-3.8-flash", ListedAccounts()))


def test_a_model_without_a_price_is_not_made_and_the_message_shows_the_entry_to_write() -> None:
    name = "openai:gpt-99-unheard-of"

    with pytest.raises(ConfigError, match="money is never guessed") as caught:
        asyncio.run(models().model(name, ListedAccounts()))

    entries = msgspec.convert(shown(caught.value.message)["prices"], tuple[PriceEntry, ...])
    chain = asyncio.run(made(name, models(prices=entries)))
    assert len(chain) == 4


def test_your_own_server_needs_neither_key_nor_price() -> None:
    chain = asyncio.run(made("ollama:llama4", models(environment={})))

    assert len(chain) == 4


def test_the_local_model_is_known_by_its_settings_and_costs_nothing(tmp_path: Path) -> None:
    settings = Settings(local=LocalSettings(context=4_096))
    registry = Models(settings, {}, directory=tmp_path)

    assert registry.card("local").window == 4_096
    assert registry.price("local", NOON) == FREE
    chain = asyncio.run(made("local", registry))
    assert isinstance(chain[-1], LocalModel)


@pytest.mark.parametrize("name", ["local:smollm2", "extractive:bm25"])
def test_what_is_one_model_only_has_no_second_part(name: str) -> None:
    with pytest.raises(Invalid, match="alone"):
        models().price(name, NOON)


def test_a_price_for_storage_lets_objects_be_made() -> None:
    name = "gemini:gemini-3.5-flash"
    priced = PriceEntry(model=name, input="1", output="5", as_of="2026-11-01", storage_hour="1")

    assert models().card(name).cache.caching is Caching.IMPLICIT
    assert models(prices=(priced,)).card(name).cache.caching is Caching.OBJECT
    assert models().card("gemini:gemini-3.8-flash").cache.caching is Caching.OBJECT


@pytest.mark.parametrize(
    ("module", "name", "extra"),
    [("openai", "openai:gpt-6-luna", "openai"), ("httpx2", "gemini:gemini-3.8-flash", "gemini")],
)
def test_a_missing_extra_says_what_to_install(
    module: str, name: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)

    with pytest.raises(ConfigError, match=rf"pip install 'ifmem\[{extra}\]'"):
        asyncio.run(models().model(name, ListedAccounts()))


def test_starting_imports_no_vendors_package() -> None:
    script = (
        "import sys, ifmem.llm.registry as r, ifmem.settings as s, pathlib;"
        "r.Models(s.Settings(), {}, directory=pathlib.Path('.')).card('openai:gpt-6-luna');"
        "print(sorted({'openai', 'anthropic', 'google.genai', 'genai_prices', 'httpx2',"
        " 'xllamacpp'} & set(sys.modules)))"
    )

    ended = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60
    )

    assert ended.stdout.strip() == "[]"


def test_a_call_is_in_the_account_at_the_listed_price_and_the_end_closes_its_connection() -> None:
    async def scenario(server: GeminiServer) -> None:
        registry = models(ProviderEntry(name="gemini", base_url=server.url))
        accounts = ListedAccounts()
        model = await registry.model("gemini:gemini-3.8-flash", accounts)
        completion = await model.complete(call())
        (row,) = accounts.rows.values()
        assert row.state is CallState.SETTLED
        assert row.price == registry.price(
            "gemini:gemini-3.8-flash", datetime.fromisoformat(row.at)
        )
        assert row.cost == row.price.cost(completion.usage) > 0
        assert server.open_connections == 1
        await registry.aclose()
        await asyncio.to_thread(until, lambda: not server.open_connections)

    with GeminiServer() as server:
        asyncio.run(scenario(server))


def call() -> ModelCall:
    return ModelCall(call_id="call-1", prompt=PROMPT, purpose=Purpose.ANSWER, max_output=16)


def until(holds: Callable[[], bool]) -> None:
    deadline = clock.monotonic() + 10
    while not holds():
        assert clock.monotonic() < deadline, "it did not come about"
        threading.Event().wait(0.005)
