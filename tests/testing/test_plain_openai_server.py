"""The stand-in for one's own server: a block cache without promises."""

from __future__ import annotations

import pytest

from ifmem.testing.chat_client import ask, part
from ifmem.testing.plain_openai_server import BLOCK, BlockCache, PlainOpenAIServer

MODEL = "smol"
BOOK = "The lamp hangs in the hall. " * 100
OTHER = "A boat lies at the quay now. " * 100


def test_full_blocks_are_shared_by_every_question() -> None:
    with PlainOpenAIServer() as server:
        cold, hot = ask(server.url, MODEL, BOOK + "What?"), ask(server.url, MODEL, BOOK + "Where?")
    assert (cold.cached, hot.cached % BLOCK) == (0, 0)
    assert hot.usage["prompt_tokens"] - 2 * BLOCK < hot.cached < hot.usage["prompt_tokens"]


def test_the_last_token_of_a_repeated_prompt_is_computed_again() -> None:
    cache = BlockCache(100)
    prompt = b"x" * 4 * BLOCK * 3
    assert cache.read(prompt) == 0
    cache.keep(prompt)
    assert cache.read(prompt) == 2 * BLOCK


def test_the_prefix_unused_longest_goes_when_there_is_no_room() -> None:
    with PlainOpenAIServer(blocks=60) as server:
        for text in (BOOK, OTHER):
            ask(server.url, MODEL, text)
        again = ask(server.url, MODEL, BOOK)
    assert again.cached < 300  # of 700: the other's blocks stand where its own were


def test_what_was_used_again_outlives_what_was_not() -> None:
    cache = BlockCache(6)
    first, second, third = (letter * 4 * BLOCK * 3 for letter in (b"a", b"b", b"c"))
    for prompt in (first, second, first, third):
        cache.keep(prompt)
    assert (cache.read(first), cache.read(second)) == (2 * BLOCK, 0)


@pytest.mark.parametrize("reports", [True, False])
def test_cached_tokens_are_told_only_when_asked_for_and_never_as_zero(reports: bool) -> None:
    with PlainOpenAIServer(reports_cache=reports) as server:
        cold, hot = ask(server.url, MODEL, BOOK), ask(server.url, MODEL, BOOK)
    assert "prompt_tokens_details" not in cold.usage
    assert ("prompt_tokens_details" in hot.usage) is reports


def test_llama_cpp_tells_of_a_cold_cache_too() -> None:
    with PlainOpenAIServer(flavour="llamacpp") as server:
        cold = ask(server.url, MODEL, BOOK)
    assert cold.usage["prompt_tokens_details"] == {"cached_tokens": 0}


def test_a_strict_server_refuses_what_it_does_not_know() -> None:
    with PlainOpenAIServer(strict=True) as server:
        assert ask(server.url, MODEL, BOOK, prompt_cache_key="k").status == 400
        assert ask(server.url, MODEL, BOOK, max_tokens=5).status == 200


def test_parts_are_refused() -> None:
    with PlainOpenAIServer() as server:
        assert ask(server.url, MODEL, part("a"), part("b")).status == 400


def test_each_flavour_has_its_own_error_for_a_prompt_too_long() -> None:
    with PlainOpenAIServer(models={MODEL: 100}) as vllm:
        refused = ask(vllm.url, MODEL, BOOK, max_tokens=5)
    with PlainOpenAIServer(models={MODEL: 100}, flavour="llamacpp") as llamacpp:
        typed = ask(llamacpp.url, MODEL, BOOK, max_tokens=5)
    assert (refused.status, refused.error["code"]) == (400, 400)
    assert (typed.status, typed.error["type"]) == (400, "exceed_context_size_error")
    assert (typed.error["n_ctx"], typed.error["n_prompt_tokens"] > 700) == (100, True)
