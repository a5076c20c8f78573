"""The stand-in for OpenAI: each rule of its docstring, asked with a client that is not ours."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest

from ifmem.testing.chat_client import ask, part
from ifmem.testing.chat_protocol import Script
from ifmem.testing.loopback import Hold
from ifmem.testing.openai_server import STEP, TTL, UNUSED, OpenAIServer

BOOK = "The lamp hangs in the hall. " * 400
"""2,800 tokens, as the stand-in counts them."""
OLD, NEW = "gpt-5.4-nano", "gpt-6-luna"
EXPLICIT = {"mode": "explicit"}


class Clock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.moment = datetime(2026, 11, 23, 12, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.moment

    def pass_(self, duration: timedelta) -> None:
        self.moment += duration


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def server(clock: Clock) -> Iterator[OpenAIServer]:
    with OpenAIServer(clock=clock) as server:
        yield server


def test_an_older_model_reads_in_steps_and_writes_for_nothing(server: OpenAIServer) -> None:
    cold, hot = ask(server.url, OLD, BOOK + "What?"), ask(server.url, OLD, BOOK + "Where?")
    assert (cold.cached, cold.written, hot.written) == (0, 0, 0)
    assert hot.cached % STEP == 0
    assert hot.usage["prompt_tokens"] - STEP < hot.cached < hot.usage["prompt_tokens"]


@pytest.mark.parametrize("model", [OLD, NEW])
def test_a_short_prompt_is_never_cached(server: OpenAIServer, model: str) -> None:
    short = BOOK[:4_000]
    said = [ask(server.url, model, part(short, marked=model == NEW)) for _ in range(2)]
    assert [(each.cached, each.written) for each in said] == [(0, 0), (0, 0)]


def test_a_byte_that_differs_ends_the_match(server: OpenAIServer) -> None:
    ask(server.url, OLD, BOOK + "What?")
    assert ask(server.url, OLD, "x" + BOOK + "What?").cached == 0


def test_an_older_entry_ends_when_it_is_not_used(server: OpenAIServer, clock: Clock) -> None:
    ask(server.url, OLD, BOOK + "1")
    clock.pass_(UNUSED - timedelta(seconds=1))
    assert ask(server.url, OLD, BOOK + "2").cached > 0
    clock.pass_(UNUSED - timedelta(seconds=1))
    assert ask(server.url, OLD, BOOK + "3").cached > 0
    clock.pass_(UNUSED)
    assert ask(server.url, OLD, BOOK + "4").cached == 0


def test_a_breakpoint_is_read_to_the_exact_token_by_another_question(server: OpenAIServer) -> None:
    marked = part(BOOK, marked=True)
    cold = ask(server.url, NEW, marked, part("What?"), prompt_cache_options=EXPLICIT)
    hot = ask(server.url, NEW, marked, part("And where?"), prompt_cache_options=EXPLICIT)
    assert (cold.cached, hot.written) == (0, 0)
    assert hot.cached == cold.written == cold.usage["prompt_tokens"] - 2  # the question's


def test_without_a_breakpoint_a_new_model_reads_nothing_for_another_question(
    server: OpenAIServer,
) -> None:
    first = ask(server.url, NEW, BOOK, part("What?"))
    other = ask(server.url, NEW, BOOK, part("And where?"))
    same = ask(server.url, NEW, BOOK, part("And where?"))
    assert first.written == first.usage["prompt_tokens"]
    assert (other.cached, other.written) == (0, other.usage["prompt_tokens"])
    assert same.cached == same.usage["prompt_tokens"]


def test_a_prefix_is_not_matched_where_the_request_has_no_breakpoint(server: OpenAIServer) -> None:
    more = part(BOOK + "More.", marked=True)
    ask(server.url, NEW, part(BOOK, marked=True), part("?"), prompt_cache_options=EXPLICIT)
    unmarked = ask(server.url, NEW, BOOK, more, part("?"), prompt_cache_options=EXPLICIT)
    marked = ask(server.url, NEW, part(BOOK, marked=True), part("?"), prompt_cache_options=EXPLICIT)
    assert (unmarked.cached, marked.cached > 0) == (0, True)


def test_the_implicit_breakpoint_pays_for_the_question_at_every_call(server: OpenAIServer) -> None:
    marked = part(BOOK, marked=True)
    ask(server.url, NEW, marked, part("What?"))
    hot = ask(server.url, NEW, marked, part("And where?"))
    assert hot.written == hot.usage["prompt_tokens"] - hot.cached > 0


def test_explicit_without_a_breakpoint_keeps_nothing(server: OpenAIServer) -> None:
    for _ in range(2):
        said = ask(server.url, NEW, BOOK, prompt_cache_options=EXPLICIT)
        assert (said.cached, said.written) == (0, 0)


def test_at_most_four_breakpoints_are_written(server: OpenAIServer) -> None:
    parts = [part(BOOK + str(number), marked=True) for number in range(5)]
    ask(server.url, NEW, *parts, prompt_cache_options=EXPLICIT)
    first = ask(server.url, NEW, parts[0], part("?"), prompt_cache_options=EXPLICIT)
    second = ask(server.url, NEW, *parts[:2], part("?"), prompt_cache_options=EXPLICIT)
    assert (first.cached, second.cached > 0) == (0, True)


def test_another_cache_key_is_another_machine(server: OpenAIServer) -> None:
    for key, expected in (("a", False), ("b", False), ("a", True)):
        said = ask(
            server.url,
            NEW,
            part(BOOK, marked=True),
            part("What?"),
            prompt_cache_options=EXPLICIT,
            prompt_cache_key=key,
        )
        assert (said.cached > 0) is expected


def test_what_a_breakpoint_wrote_lasts_thirty_minutes(server: OpenAIServer, clock: Clock) -> None:
    for pause, expected in (
        (timedelta(0), False),
        (TTL - timedelta(seconds=1), True),
        (TTL, False),
    ):
        clock.pass_(pause)
        said = ask(
            server.url, NEW, part(BOOK, marked=True), part("?"), prompt_cache_options=EXPLICIT
        )
        assert (said.cached > 0) is expected


def test_a_schema_is_part_of_the_prefix(server: OpenAIServer) -> None:
    form = {"type": "json_schema", "json_schema": {"name": "a", "schema": {"type": "string"}}}
    marked = part(BOOK, marked=True)
    ask(server.url, NEW, marked, part("?"), prompt_cache_options=EXPLICIT)
    with_schema = ask(
        server.url, NEW, marked, part("?"), prompt_cache_options=EXPLICIT, response_format=form
    )
    assert with_schema.cached == 0


def test_an_entry_is_not_readable_before_the_answer_begins(server: OpenAIServer) -> None:
    hold = Hold()
    server.fail_next(hold)
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(ask, server.url, OLD, BOOK + "What?")
        assert hold.reached.wait(30)
        meanwhile = ask(server.url, OLD, BOOK + "Where?")
        hold.release.set()
        assert (first.result().cached, meanwhile.cached) == (0, 0)
    assert ask(server.url, OLD, BOOK + "When?").cached > 0


@pytest.mark.parametrize(
    ("model", "field", "value", "code"),
    [
        (NEW, "max_tokens", 5, "unsupported_parameter"),
        (NEW, "prompt_cache_key", "k" * 65, "string_above_max_length"),
        (OLD, "prompt_cache_options", EXPLICIT, "unsupported_parameter"),
        ("gpt-4o-mini", "reasoning_effort", "low", "unsupported_parameter"),
        (
            NEW,
            "response_format",
            {
                "type": "json_schema",
                "json_schema": {
                    "name": "a",
                    "strict": True,
                    "schema": {"type": "object", "properties": {"a": {"type": "string"}}},
                },
            },
            "invalid_json_schema",
        ),
    ],
)
def test_what_openai_does_not_take_is_refused(
    server: OpenAIServer, model: str, field: str, value: object, code: str
) -> None:
    said = ask(server.url, model, "What?", **{field: value})
    assert (said.status, said.error["code"]) == (400, code)


def test_a_wrong_key_an_unknown_model_and_too_long_a_prompt_have_their_errors() -> None:
    with OpenAIServer(models={NEW: 3_000}) as server:
        wrong = ask(server.url, NEW, "What?", key="no")
        gone = ask(server.url, "gpt-3", "What?")
        long = ask(server.url, NEW, BOOK * 2, max_completion_tokens=10)
    assert (wrong.status, wrong.error["code"]) == (401, "invalid_api_key")
    assert (gone.status, gone.error["code"]) == (404, "model_not_found")
    assert (long.status, long.error["code"]) == (400, "context_length_exceeded")


def test_the_minute_is_counted_down_in_the_headers_and_then_refused(clock: Clock) -> None:
    with OpenAIServer(clock=clock, requests_per_minute=1) as server:
        first, second = ask(server.url, NEW, "What?"), ask(server.url, NEW, "What?")
        clock.pass_(timedelta(minutes=1))
        third = ask(server.url, NEW, "What?")
    assert first.headers["x-ratelimit-remaining-requests"] == "0"
    assert (second.status, second.headers["retry-after"]) == (429, "60")
    assert third.status == 200


def test_a_request_above_the_minutes_tokens_is_refused_without_a_time_to_wait() -> None:
    with OpenAIServer(tokens_per_minute=1_000) as server:
        said = ask(server.url, NEW, BOOK)
    assert (said.status, "retry-after" in said.headers) == (429, False)
    assert "too large" in said.error["message"]


def test_an_answer_ends_where_its_tokens_end_and_thoughts_count(server: OpenAIServer) -> None:
    server.reply_next(Script(text="word " * 20, reasoning=8))
    said = ask(server.url, NEW, "What?", max_completion_tokens=10)
    assert (said.text, said.finish) == ("word wor", "length")
    assert said.usage["completion_tokens"] == 10
    assert said.usage["completion_tokens_details"] == {"reasoning_tokens": 8}
