"""Hot shards through the daemon: as the provider reports them, shared, and not forgotten."""

from __future__ import annotations

import json
import os
import signal
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest

with warnings.catch_warnings():
    # The tokeniser opens its vocabulary in a way that Python 3.11 and 3.12 deprecate.
    warnings.simplefilter("ignore", DeprecationWarning)
    from ifmem.testing.anthropic_server import AnthropicServer

pytest.importorskip("anthropic", reason="the extra `anthropic` is not installed")

MODEL = "anthropic:claude-haiku-5-5"
FACT = "The retry budget of the Courier is 3 attempts."
TEXT = FACT + "\n" + "The Courier writes every attempt into its log book.\n" * 200
ANSWER = json.dumps(
    {
        "found": True,
        "quotes": [{"document": 1, "quote": FACT, "claim": FACT}],
        "answer": FACT,
        "confidence": 0.9,
        "missing": "",
    }
)


@pytest.fixture
def vendor() -> Iterator[AnthropicServer]:
    with AnthropicServer(lambda _: ANSWER) as server:
        yield server


@pytest.fixture
def hot(install: Callable[..., Any], vendor: AnthropicServer) -> Any:
    """An installation whose shards have a model, with a document."""
    ifmem = install()
    ifmem.environment["ANTHROPIC_API_KEY"] = vendor.key
    (ifmem.directory / "config.toml").write_text(
        f'[models]\ndefault = "{MODEL}"\nanswer_cache = 0\n'
        f'[[providers]]\nname = "anthropic"\nbase_url = "{vendor.url}"\n'
        f'[[prices]]\nmodel = "{MODEL}"\ninput = "0.10"\noutput = "0.50"\ncache_read = "0.01"\n'
        'cache_write = "0.125"\nas_of = "2026-11-01"\n'
    )
    ifmem("load", ifmem.write("notes/courier.md", TEXT).parent)
    return ifmem


def full(hot: Any) -> dict[str, Any]:
    """The one shard that holds the document."""
    (shard,) = [one for one in hot("shards", "--json").json["items"] if one["documents"]]
    return dict(shard)


def ask(hot: Any, question: str = "What is the retry budget of the Courier?") -> dict[str, Any]:
    return dict(hot("ask", question, "--json").json)


def test_a_shard_is_cold_until_the_provider_reports_it_and_hot_over_a_crash(
    hot: Any, vendor: AnthropicServer
) -> None:
    before = full(hot)
    assert (before["model"], before["hot"], before["why_cold"]) == (MODEL, "cold", "never asked")
    assert ask(hot)["usage"]["cache_write"] > 2_000
    asked = full(hot)
    assert (asked["hot"], asked["why_cold"]) == ("hot", None)
    assert len(asked["prefix_sha256"]) == 64
    assert asked["prefix_tokens"] > 2_000
    os.kill(hot.daemon_pid(), signal.SIGKILL)
    again = full(hot)
    assert (again["hot"], again["hot_until"]) == ("hot", asked["hot_until"])
    usage = ask(hot)["usage"]
    assert usage["cache_read"] == asked["prefix_tokens"]
    assert usage["cache_write"] == 0


def test_questions_asked_at_once_of_a_cold_shard_write_it_once(
    hot: Any, finish: Callable[[Any], Any]
) -> None:
    questions = [f"What is the retry budget of the Courier on day {n}?" for n in range(5)]
    started = [hot.start("ask", question, "--json") for question in questions]
    usages = [finish(process).json["usage"] for process in started]
    written = [usage["cache_write"] > 0 for usage in usages]
    assert sorted(written) == [False, False, False, False, True]
    assert all(usage["cache_read"] > 2_000 for usage in usages if not usage["cache_write"])


def test_the_table_says_of_each_shard_with_a_model_how_it_is(hot: Any) -> None:
    ask(hot)
    shown = hot("shards").out
    shard = full(hot)
    assert shard["prefix_sha256"][:12] in shown
    assert shard["hot_until"] in shown
    assert "never asked" in shown


def test_without_a_model_nothing_is_said_of_heat(install: Callable[..., Any]) -> None:
    plain = install()
    plain("load", plain.write("notes/courier.md", TEXT).parent)
    assert {one["hot"] for one in plain("shards", "--json").json["items"]} == {"-"}
    assert "extractive" not in plain("shards").out


def test_shards_are_warmed_ahead_where_that_is_wanted(
    hot: Any, vendor: AnthropicServer, eventually: Callable[..., Any]
) -> None:
    hot.down()
    config = hot.directory / "config.toml"
    config.write_text(config.read_text().replace("[models]", '[models]\nkeep_hot = "ahead"'))
    hot("load", hot.write("notes/more.md", "The Courier rests on Sundays.\n").parent)
    eventually(lambda: full(hot)["hot"] == "hot")
    assert ask(hot)["usage"]["cache_write"] == 0
