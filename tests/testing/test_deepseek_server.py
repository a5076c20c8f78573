"""The stand-in for DeepSeek: prefixes are whole units, asked with a client that is not ours."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from ifmem.testing.chat_client import Said, ask, part, post
from ifmem.testing.chat_protocol import Script
from ifmem.testing.deepseek_server import LEAST_TOKENS, UNUSED, DeepSeekServer, PrefixUnits

MODEL = "deepseek-flash"
A = "The lamp hangs in the hall. " * 100
"""700 tokens."""
NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)


def hit(said: Said) -> int:
    return int(said.usage["prompt_cache_hit_tokens"])


def test_a_prefix_two_requests_shared_is_hit_by_the_third_and_not_by_the_second() -> None:
    with DeepSeekServer() as server:
        first, second, third = (ask(server.url, MODEL, A + end) for end in ("Bee", "Cow", "Dog"))
    assert (hit(first), hit(second)) == (0, 0)
    assert hit(third) >= 700


def test_the_same_request_again_is_a_hit_of_all_its_input() -> None:
    with DeepSeekServer() as server:
        ask(server.url, MODEL, A + "Bee")
        again = ask(server.url, MODEL, A + "Bee")
    assert hit(again) == again.usage["prompt_tokens"]
    assert again.usage["prompt_cache_miss_tokens"] == 0


def test_a_conversation_that_goes_on_hits_the_unit_at_the_end_of_the_input() -> None:
    turns = [{"role": "user", "content": A}]
    body = {"model": MODEL, "stream": True, "stream_options": {"include_usage": True}}
    with DeepSeekServer() as server:
        post(f"{server.url}/chat/completions", body | {"messages": turns})
        turns += [{"role": "assistant", "content": "Yes."}, {"role": "user", "content": "And?"}]
        second = post(f"{server.url}/chat/completions", body | {"messages": turns})
    assert hit(second) >= 700


def test_a_question_that_begins_like_both_before_it_hits_and_one_that_does_not_misses() -> None:
    with DeepSeekServer() as server:
        for end in ("What is it?", "What was it?"):
            ask(server.url, MODEL, A + end)
        alike, unlike = (ask(server.url, MODEL, A + end) for end in ("What else?", "Who?"))
    assert (hit(alike) > 0, hit(unlike)) == (True, 0)


def test_long_input_has_units_at_fixed_intervals() -> None:
    with DeepSeekServer(interval=256) as server:
        ask(server.url, MODEL, A + "Bee")
        second = ask(server.url, MODEL, A + "Cow")
    assert hit(second) == 512


def test_units_end_when_they_are_not_used() -> None:
    moment = NOON
    with DeepSeekServer(clock=lambda: moment) as server:
        for end in ("Bee", "Cow"):
            ask(server.url, MODEL, A + end)
        moment += UNUSED - timedelta(seconds=1)
        assert hit(ask(server.url, MODEL, A + "Dog")) > 0
        moment += UNUSED
        assert hit(ask(server.url, MODEL, A + "Eel")) == 0


def test_models_do_not_share_units() -> None:
    with DeepSeekServer() as server:
        ask(server.url, MODEL, A)
        assert hit(ask(server.url, "deepseek-v4-pro", A)) == 0


def test_parts_and_schemas_are_refused_and_so_is_who_has_no_credit() -> None:
    with DeepSeekServer(credit=3) as server:
        parts = ask(server.url, MODEL, part(A), part("What?"))
        schema = ask(server.url, MODEL, A, response_format={"type": "json_schema"})
        served = ask(server.url, MODEL, A)
        refused = ask(server.url, MODEL, A)
    assert [said.status for said in (parts, schema, served, refused)] == [422, 400, 200, 402]


def test_an_unknown_model_and_too_long_a_prompt_differ_by_their_words_only() -> None:
    with DeepSeekServer(models={MODEL: 100}) as server:
        said = ask(server.url, "deepseek-r1", "What?"), ask(server.url, MODEL, A)
    assert [(each.status, each.error["code"]) for each in said] == [
        (400, "invalid_request_error")
    ] * 2
    assert "Model Not Exist" in said[0].error["message"]
    assert "maximum context length is 100 tokens" in said[1].error["message"]


def test_a_keep_alive_comes_before_the_answer_and_is_none() -> None:
    with DeepSeekServer(waits=True) as server:
        server.reply_next(Script(text="Yes."))
        assert ask(server.url, MODEL, A).text == "Yes."


@given(
    texts=st.lists(st.binary(min_size=4 * LEAST_TOKENS, max_size=600), min_size=1, max_size=6),
    output=st.binary(max_size=20),
)
def test_a_hit_never_exceeds_what_some_request_before_shares(
    texts: list[bytes], output: bytes
) -> None:
    units = PrefixUnits(lambda: NOON, interval=100)
    for number, text in enumerate(texts):
        most = max(
            (
                length
                for earlier in texts[:number]
                for length in range(len(text) + 1)
                if (earlier + output).startswith(text[:length])
            ),
            default=0,
        )
        assert units.hit(text) * 4 < most + 4
        units.store(text, output)
