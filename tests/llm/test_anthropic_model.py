"""What only Anthropic's adapter does; what every adapter does is in model_contract.py."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import anthropic
import httpx2
import pytest
from anthropic import _exceptions
from anthropic.types import RawContentBlockDeltaEvent, TextDelta
from hypothesis import given
from hypothesis import strategies as st

from ifmem import clock
from ifmem.domain.model import (
    CacheRules,
    Caching,
    Completion,
    ModelCall,
    ModelCard,
    ModelRef,
    Purpose,
    Stop,
    Warming,
)
from ifmem.domain.prompt import Prompt
from ifmem.domain.usage import TokenUsage
from ifmem.errors import (
    ConfigError,
    ContextOverflow,
    Failed,
    IfMemError,
    NotFound,
    NotPermitted,
    OutcomeUnknown,
    RateLimited,
    Unavailable,
)
from ifmem.llm import anthropic_model, anthropic_request
from ifmem.llm.anthropic_answer import AnswerSoFar
from ifmem.llm.anthropic_errors import limits_left, retry_after, translated
from ifmem.llm.anthropic_model import AnthropicModel
from ifmem.llm.anthropic_usage import brought_up_to_date, token_usage
from ifmem.testing.anthropic_server import KEY, AnthropicServer, Said
from ifmem.testing.loopback import (
    Answer,
    CutStream,
    Event,
    LoopbackServer,
    Malformed,
    Request,
    Stream,
)

MINUTES_5, HOUR = timedelta(minutes=5), timedelta(hours=1)
SCHEMA = {"type": "object", "properties": {"n": {"type": "integer", "minimum": 1}}}
PAGE = "".join(f"Line {number} of the log of the harbour.\n" for number in range(500))
CARD = ModelCard(
    ref=ModelRef("anthropic", "claude-haiku-5-5"),
    window=1_000_000,
    max_output=64_000,
    cache=CacheRules(
        caching=Caching.BREAKPOINT, warming=Warming.ZERO_TOKENS, lifetimes=(MINUTES_5, HOUR)
    ),
    tokens_per_o200k=1.65,
    structured=True,
)


def asked(question: str = "When?", *, documents: str = PAGE, **changes: Any) -> ModelCall:
    schema = changes.pop("schema", None)
    prompt = Prompt(
        name="test",
        version=1,
        rules="Be brief.",
        documents=documents,
        question=question,
        schema=schema,
    )
    call = ModelCall(
        call_id="c-1",
        prompt=prompt,
        purpose=Purpose.ANSWER,
        max_output=100,
        lifetime=MINUTES_5,
        cache_key="shard-1",
    )
    return replace(call, **changes)


@asynccontextmanager
async def opened(
    says: Callable[[Request], str | Said] = lambda _: "At noon.", *, card: ModelCard = CARD
) -> AsyncIterator[tuple[AnthropicModel, AnthropicServer, list[timedelta]]]:
    """The adapter, its server, and how far the server's clock is ahead: append to move it."""
    ahead: list[timedelta] = []
    with AnthropicServer(says, clock=lambda: clock.now() + sum(ahead, timedelta(0))) as server:
        model = AnthropicModel(card, api_key=KEY, base_url=server.url, timeout_seconds=30)
        try:
            yield model, server, ahead
        finally:
            await model.aclose()


def completed(*calls: ModelCall, card: ModelCard = CARD) -> tuple[list[Completion], list[Any]]:
    """What came of the calls, one after the other, and the bodies that were sent."""

    async def run() -> tuple[list[Completion], list[Any]]:
        async with opened(card=card) as (model, server, _):
            done = [
                await (model.warm(call) if call.purpose is Purpose.WARM else model.complete(call))
                for call in calls
            ]
            return done, [request.body for request in server.requests]

    return asyncio.run(run())


def content(body: Any) -> list[dict[str, Any]]:
    return list(body["messages"][0]["content"])


# The request.


@pytest.mark.parametrize(
    ("lifetime", "ttl", "written"),
    [
        (MINUTES_5, "5m", "cache_write_5m"),
        (timedelta(seconds=1), "5m", "cache_write_5m"),
        (timedelta(minutes=6), "1h", "cache_write_1h"),
        (HOUR, "1h", "cache_write_1h"),
    ],
)
def test_the_documents_are_marked_for_the_lifetime_that_was_asked_for(
    lifetime: timedelta, ttl: str, written: str
) -> None:
    (done,), (body,) = completed(asked(lifetime=lifetime))
    documents, question = content(body)
    assert documents["cache_control"] == {"type": "ephemeral", "ttl": ttl}
    assert "cache_control" not in question
    assert "cache_control" not in body["system"][0]
    assert getattr(done.usage, written) == done.usage.cache_write > 4_000
    assert done.cached_until is not None
    kept = MINUTES_5 if ttl == "5m" else HOUR
    assert abs(done.cached_until - clock.now() - kept) < timedelta(seconds=30)


def test_without_a_lifetime_nothing_is_marked_and_nothing_promised() -> None:
    (done,), (body,) = completed(asked(lifetime=None))
    assert "cache_control" not in str(body)
    assert "diagnostics" not in body
    assert done.usage.cache_write == 0
    assert done.cached_until is None


def test_a_prefix_too_short_for_the_cache_promises_nothing() -> None:
    (done,), _ = completed(asked(documents="One line.\n"))
    assert done.usage.cache_write == 0
    assert done.cached_until is None


def test_empty_parts_are_left_out_because_the_api_refuses_them() -> None:
    bare = Prompt(name="test", version=1, rules="", documents="", question="When?")
    (done,), (body,) = completed(asked(prompt=bare))
    assert done.text == "At noon."
    assert "system" not in body
    assert [block["text"] for block in content(body)] == ["When?"]


def test_what_is_appended_to_a_long_shard_is_all_that_is_written_anew() -> None:
    long = PAGE * 12
    (cold, grown, hot), bodies = completed(
        asked(documents=long),
        asked(documents=long + "The last line of the log.\n"),
        asked("Why?", documents=long + "The last line of the log.\n"),
    )
    assert cold.usage.cache_read == 0
    assert grown.usage.cache_read > 0.8 * cold.usage.prompt
    assert 0 < grown.usage.cache_write < 0.2 * cold.usage.prompt
    assert hot.usage.cache_read == grown.usage.cache_read + grown.usage.cache_write
    marks = ["cache_control" in block for block in content(bodies[0])]
    assert marks.count(True) == 2 and marks[-3:] == [True, True, False]


lines = st.lists(st.sampled_from(["a line\n", "another, longer line\n", "no end", "\n", "  \n"]))


@given(lines, lines)
def test_where_documents_are_cut_depends_on_what_is_before_alone(
    held: list[str], more: list[str]
) -> None:
    before = "".join(held) * 900
    old = list(anthropic_request.cut(before))
    new = list(anthropic_request.cut(before + "a line\n" + "".join(more) * 900))
    assert "".join(old) == before
    assert new[: max(0, len(old) - 1)] == old[:-1]
    assert all(block for block in old + new)


def test_white_space_after_a_long_shard_is_no_block_of_its_own() -> None:
    (done,), (body,) = completed(asked(documents=PAGE * 2 + "\n" * 65_536 + " \n\n"))
    assert done.text == "At noon."
    assert all(block["text"].strip() for block in content(body))


def test_a_schema_is_sent_closed_and_without_bounds_as_the_api_takes_it() -> None:
    _, (body,) = completed(asked(schema=SCHEMA))
    schema = body["output_config"]["format"]["schema"]
    assert schema["additionalProperties"] is False
    assert "minimum" not in schema["properties"]["n"]


# Warming.


def test_warming_generates_nothing_and_asks_nothing() -> None:
    warm = asked(purpose=Purpose.WARM, max_output=0)
    (warmed, done), (body, _) = completed(warm, asked())
    assert (body["max_tokens"], body.get("stream")) == (0, None)
    assert [block["text"] for block in content(body)] == [PAGE]
    assert (warmed.text, warmed.usage.generated, warmed.first_token_ms) == ("", 0, None)
    assert warmed.cached_until is not None
    assert done.usage.cache_read == warmed.usage.cache_write > 4_000


def test_warming_for_a_structured_answer_takes_one_token_because_none_is_refused() -> None:
    warm = asked(purpose=Purpose.WARM, max_output=0, schema=SCHEMA)
    (warmed, done, other), (body, _, _) = completed(warm, asked(schema=SCHEMA), asked())
    assert (body["max_tokens"], body["stream"]) == (1, True)
    assert warmed.usage.generated == 1
    assert done.usage.cache_read == warmed.usage.cache_write > 4_000
    assert other.usage.cache_read == 0  # the schema is part of the prefix


# Why a prefix was not read.


def test_the_vendor_says_why_a_changed_prefix_was_not_read() -> None:
    changed = asked(documents="A new first line.\n" + PAGE)
    (first, second, hot), bodies = completed(asked(), changed, changed)
    assert [body["diagnostics"]["previous_message_id"] is None for body in bodies] == [
        True,
        False,
        False,
    ]
    assert (first.miss_reason, second.miss_reason, hot.miss_reason) == (
        None,
        "messages_changed",
        None,
    )


def test_a_prefix_that_was_mostly_read_was_not_missed() -> None:
    long = PAGE * 12
    (_, tail), _ = completed(
        asked(documents=long + "The last line.\n"), asked(documents=long + "Another one.\n")
    )
    assert tail.usage.cache_read > tail.usage.cache_write > 0
    assert tail.miss_reason is None


def test_each_shard_is_compared_with_its_own_last_message() -> None:
    _, bodies = completed(asked(), asked(cache_key="shard-2"), asked(), asked(cache_key="shard-2"))
    previous = [body["diagnostics"]["previous_message_id"] for body in bodies]
    assert previous[:2] == [None, None]
    assert len({previous[2], previous[3], None}) == 3


def test_changed_rules_are_the_systems_change() -> None:
    rules = replace(asked().prompt, rules="Be long.")
    (_, second), _ = completed(asked(), asked(prompt=rules))
    assert second.miss_reason == "system_changed"


def test_a_lapsed_prefix_has_no_reason_though_the_question_differs() -> None:
    async def run() -> Completion:
        async with opened() as (model, _, ahead):
            await model.complete(asked())
            ahead.append(timedelta(minutes=6))
            return await model.complete(asked("Where?"))

    late = asyncio.run(run())
    assert late.usage.cache_read == 0
    assert late.miss_reason is None


# What came back.


def test_pieces_are_joined_and_only_text_is_the_answer() -> None:
    class Thinking(LoopbackServer):
        def answer(self, request: Request) -> Stream:
            usage = {"input_tokens": 3, "output_tokens": 1}
            message = {"id": "msg_1", "model": "claude-x", "usage": usage}
            deltas = [
                {"type": "thinking_delta", "thinking": "Hm."},
                {"type": "text_delta", "text": ""},
                {"type": "text_delta", "text": "At "},
                {"type": "text_delta", "text": "noon."},
            ]
            stop = {"stop_reason": "pause_turn"}
            late = {"output_tokens": 30, "output_tokens_details": {"thinking_tokens": 25}}
            return Stream(
                Event({"type": kind, **rest}, kind)
                for kind, rest in [
                    ("message_start", {"message": message}),
                    *[("content_block_delta", {"index": 0, "delta": d}) for d in deltas],
                    ("message_delta", {"delta": stop, "usage": late}),
                    ("message_stop", {}),
                ]
            )

    async def run() -> Completion:
        with Thinking() as server:
            model = AnthropicModel(CARD, api_key=KEY, base_url=server.url)
            try:
                return await model.complete(asked())
            finally:
                await model.aclose()

    done = asyncio.run(run())
    assert (done.text, done.stop, done.model) == ("At noon.", Stop.END, "claude-x")
    assert done.usage == TokenUsage(uncached=3, output=5, reasoning=25)


def test_the_first_token_is_the_first_that_says_something() -> None:
    def delta(text: str) -> Any:
        piece = TextDelta(type="text_delta", text=text)
        return RawContentBlockDeltaEvent(type="content_block_delta", index=0, delta=piece)

    answer = AnswerSoFar(clock.stopwatch_ns())
    answer.take(delta(""))
    assert answer.first_token_ms is None
    answer.take(delta("At "))
    first = answer.first_token_ms
    assert first is not None
    answer.take(delta("noon."))
    assert (answer.first_token_ms, answer.text) == (first, "At noon.")


def test_what_was_written_for_a_time_that_is_not_told_is_other() -> None:
    usage = token_usage({"input_tokens": 1, "cache_creation_input_tokens": 9})
    assert usage == TokenUsage(uncached=1, cache_write_other=9)
    split = {"ephemeral_5m_input_tokens": 4, "ephemeral_1h_input_tokens": 3}
    usage = token_usage({"cache_creation_input_tokens": 9, "cache_creation": split})
    assert usage == TokenUsage(cache_write_5m=4, cache_write_1h=3, cache_write_other=2)


def test_a_null_in_the_last_report_does_not_undo_the_first() -> None:
    start = {"input_tokens": 3, "cache_read_input_tokens": 7, "output_tokens": 1}
    late = {"input_tokens": None, "cache_read_input_tokens": None, "output_tokens": 9}
    usage = token_usage(brought_up_to_date(start, late))
    assert usage == TokenUsage(uncached=3, cache_read=7, output=9)


def test_an_answer_whose_stop_was_told_is_whole_though_the_farewell_is_missing() -> None:
    async def run() -> list[Completion]:
        async with opened() as (model, server, _):
            # message_start, block start, ping, delta, block stop, message_delta; not message_stop
            server.fail_next(CutStream(after=6), CutStream(after=6, cleanly=True))
            return [await model.complete(asked()) for _ in range(2)]

    assert [done.text for done in asyncio.run(run())] == ["At noon.", "At noon."]


def test_a_cut_answer_tells_the_usage_that_was_seen() -> None:
    async def run() -> None:
        async with opened() as (model, server, _):
            server.fail_next(CutStream(after=5), CutStream(after=0))
            with pytest.raises(OutcomeUnknown) as begun:
                await model.complete(asked())
            assert begun.value.facts["usage"]["cache_write_5m"] > 4_000  # type: ignore[index]
            assert begun.value.facts["request_id"]
            with pytest.raises(OutcomeUnknown) as unbegun:
                await model.complete(asked())
            assert unbegun.value.facts["usage"] is None

    asyncio.run(run())


@pytest.mark.parametrize(
    ("kind", "raised"),
    [
        ("overloaded_error", Unavailable),
        ("rate_limit_error", RateLimited),
        ("something_new", Unavailable),
    ],
)
def test_an_error_told_in_a_stream_counts_as_billed_only_after_the_answer_began(
    kind: str, raised: type[IfMemError]
) -> None:
    error = Event({"type": "error", "error": {"type": kind, "message": "Sorry"}}, "error")
    start = {"id": "msg_1", "model": "m", "usage": {"input_tokens": 3, "output_tokens": 1}}

    class Failing(LoopbackServer):
        events = (error,)

        def answer(self, request: Request) -> Stream:
            return Stream(self.events)

    async def run() -> None:
        with Failing() as server:
            model = AnthropicModel(CARD, api_key=KEY, base_url=server.url)
            try:
                with pytest.raises(IfMemError) as early:
                    await model.complete(asked())
                begun = Event({"type": "message_start", "message": start}, "message_start")
                server.events = (begun, error)  # type: ignore[assignment]
                with pytest.raises(IfMemError) as late:
                    await model.complete(asked())
            finally:
                await model.aclose()
        assert type(early.value) is raised
        assert type(late.value) is OutcomeUnknown

    asyncio.run(run())


@pytest.mark.parametrize("data", ["5", "[]", "{}", '{"type": "message_start"}', '{"cut'])
def test_events_that_are_not_the_protocols_are_of_unknown_outcome(data: str) -> None:
    async def run() -> None:
        async with opened() as (model, server, _):
            server.fail_next(Malformed(event=0, text=data))
            with pytest.raises(OutcomeUnknown):
                await model.complete(asked())

    asyncio.run(run())


def test_a_call_that_shall_not_be_kept_is_not_compared_with_later() -> None:
    _, bodies = completed(asked(), asked(lifetime=None), asked())
    assert "diagnostics" not in bodies[1]
    _, kept = completed(asked(), asked())
    assert bodies[2]["diagnostics"] == kept[1]["diagnostics"]


@pytest.mark.parametrize("body", [b"<html>", b"[]", b'"text"', b"{}", b'{"id": "msg_1"}'])
def test_a_warming_answer_that_is_not_the_protocols_is_of_unknown_outcome(body: bytes) -> None:
    async def run() -> None:
        async with opened() as (model, server, _):
            server.fail_next(Answer(200, body))
            with pytest.raises(OutcomeUnknown, match="base_url"):
                await model.warm(asked(purpose=Purpose.WARM, max_output=0))

    asyncio.run(run())


def test_the_vendor_counts_where_the_card_says_it_does() -> None:
    async def run(card: ModelCard) -> tuple[int, list[str]]:
        async with opened(card=card) as (model, server, _):
            return await model.count(PAGE), [request.path for request in server.requests]

    exact, paths = asyncio.run(run(replace(CARD, exact_count=True)))
    assert (exact, paths) == (-(-len(PAGE) // 4), ["/v1/messages/count_tokens"])
    estimated, paths = asyncio.run(run(CARD))
    assert estimated != exact and paths == []


# What goes wrong.

RAISED: dict[str, type[IfMemError]] = {
    "AnthropicError": Failed,
    "APIError": Failed,
    "APIResponseValidationError": OutcomeUnknown,
    "APIWebhookValidationError": Failed,
    "APIStatusError": Failed,
    "APIConnectionError": OutcomeUnknown,
    "APITimeoutError": OutcomeUnknown,
    "RetryableError": Unavailable,
    "CredentialsError": ConfigError,
    "IdentityTokenFileError": ConfigError,
    "BadRequestError": Failed,
    "AuthenticationError": NotPermitted,
    "PaymentRequiredError": NotPermitted,
    "PermissionDeniedError": NotPermitted,
    "NotFoundError": NotFound,
    "RequestTimeoutError": Unavailable,
    "ConflictError": Unavailable,
    "PreconditionFailedError": Failed,
    "ContentTooLargeError": ContextOverflow,
    "UnprocessableEntityError": Failed,
    "RateLimitError": RateLimited,
    "RequestHeaderFieldsTooLargeError": Failed,
    "ClientClosedRequestError": OutcomeUnknown,
    "InternalServerError": Unavailable,
    "HTTPNotImplementedError": Unavailable,
    "ServiceUnavailableError": Unavailable,
    "GatewayTimeoutError": Unavailable,
    "OverloadedError": Unavailable,
}
"""Every root class of the SDK; a new one fails the test below until somebody decides. The many with
an ``error_code`` of their own are subclasses, and told by their status."""
UNUSED = {"StreamAlreadyConsumed"}
STATUS_WITHOUT_ONE = {"APIStatusError": 418, "InternalServerError": 500}


def classes(root: type[Exception]) -> list[type[Exception]]:
    return [root, *(found for kind in root.__subclasses__() for found in classes(kind))]


def test_every_exception_class_of_the_sdk_has_a_class_of_ours() -> None:
    found = classes(anthropic.AnthropicError)
    roots = {kind for kind in vars(_exceptions).values() if kind in found}
    assert {kind.__name__ for kind in roots} == RAISED.keys()
    for kind in found:
        nearest = next(base.__name__ for base in kind.__mro__ if base.__name__ in RAISED)
        if kind.__module__.startswith("anthropic.lib.") or kind.__name__ in UNUSED:
            continue  # of parts of the SDK that are not used here
        assert kind in roots or issubclass(kind, anthropic.APIStatusError), kind
        ours = translated(instance(kind), model="m", key=KEY, key_name="K")
        assert type(ours) is RAISED[nearest], kind
        assert ours.message and KEY not in ours.message


def test_a_limit_of_spending_is_nothing_to_wait_for() -> None:
    async def run() -> None:
        async with opened() as (model, server, _):
            for code in ("enforced_spend_limit_reached", "contract_spend_limit_reached"):
                details = {"error_code": code}
                error = {"type": "rate_limit_error", "message": "Enough.", "details": details}
                server.fail_next(Answer(429, {"type": "error", "error": error}))
                with pytest.raises(NotPermitted, match="Enough"):
                    await model.complete(asked())

    asyncio.run(run())


def instance(kind: type[Exception]) -> anthropic.AnthropicError:
    request = httpx2.Request("POST", "http://127.0.0.1/v1/messages")
    if issubclass(kind, anthropic.APIStatusError):
        status = STATUS_WITHOUT_ONE.get(kind.__name__) or kind.status_code
        response = httpx2.Response(status, request=request)
        return kind(f"it said {KEY}", response=response, body=None)
    if issubclass(kind, anthropic.APIResponseValidationError):
        return kind(httpx2.Response(200, request=request), None)
    if issubclass(kind, anthropic.APIConnectionError):
        return kind(request=request)
    if issubclass(kind, anthropic.APIError):
        return kind(f"it said {KEY}", request, body=None)
    assert issubclass(kind, anthropic.AnthropicError)
    return kind(f"it said {KEY}")


@pytest.mark.parametrize(
    ("cause", "raised"),
    [
        (httpx2.ConnectError, Unavailable),
        (httpx2.ConnectTimeout, Unavailable),
        (httpx2.PoolTimeout, Unavailable),
        (httpx2.ReadTimeout, OutcomeUnknown),
        (httpx2.ReadError, OutcomeUnknown),
        (httpx2.WriteError, OutcomeUnknown),
        (httpx2.RemoteProtocolError, OutcomeUnknown),
    ],
)
def test_only_what_was_surely_not_sent_is_surely_not_billed(
    cause: type[httpx2.HTTPError], raised: type[IfMemError]
) -> None:
    error = anthropic.APIConnectionError(request=httpx2.Request("POST", "http://127.0.0.1/"))
    error.__cause__ = cause("lost")
    assert type(translated(error, model="m", key=KEY, key_name="K")) is raised


def test_an_overflow_says_how_many_tokens_and_how_many_fit() -> None:
    async def run() -> None:
        async with opened(card=replace(CARD, ref=ModelRef("anthropic", "claude-haiku-4-5"))) as (
            model,
            server,
            _,
        ):
            with pytest.raises(ContextOverflow, match="200000") as first:
                await model.complete(asked(documents="x" * 800_400 + "\n"))
            assert first.value.facts["needed"] == 200_106
            assert first.value.facts["window"] == 200_000
            words = "input length and `max_tokens` exceed context limit: 190000 + 20000 > 200000"
            body = {"type": "error", "error": {"type": "invalid_request_error", "message": words}}
            server.fail_next(Answer(400, body))
            with pytest.raises(ContextOverflow) as second:
                await model.complete(asked())
            assert second.value.facts["needed"] == 210_000

    asyncio.run(run())


def test_words_of_the_vendor_are_bounded_and_the_key_is_taken_out() -> None:
    async def run() -> None:
        async with opened() as (model, server, _):
            words = f"the key {KEY} is wrong. " + "x" * 10_000
            body = {"type": "error", "error": {"type": "permission_error", "message": words}}
            server.fail_next(Answer(403, body))
            with pytest.raises(NotPermitted, match="the key \\[key\\] is wrong") as caught:
                await model.complete(asked())
            assert KEY not in caught.value.message + repr(caught.value.facts)
            assert len(caught.value.message) < 500

    asyncio.run(run())


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "12"}, 12.0),
        ({"retry-after": "0.5"}, 0.5),
        ({"retry-after-ms": "1500", "retry-after": "9"}, 1.5),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "-3"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": format_datetime(datetime(2020, 1, 1, tzinfo=UTC), usegmt=True)}, 0.0),
    ],
)
def test_the_time_to_wait_is_read_in_every_form(
    headers: dict[str, str], seconds: float | None
) -> None:
    assert retry_after(headers) == seconds


def test_limits_are_what_the_headers_say_and_nothing_when_they_say_nothing() -> None:
    head = "anthropic-ratelimit-"
    assert limits_left({}) is None
    assert limits_left({f"{head}requests-remaining": "many"}) is None
    told = limits_left(
        {
            f"{head}requests-remaining": "9",
            f"{head}tokens-remaining": "70",
            f"{head}input-tokens-remaining": "50",
            f"{head}requests-reset": "2020-01-01T00:00:00Z",
        }
    )
    assert told is not None
    assert (told.requests_left, told.tokens_left, told.resets_in) == (9, 50, timedelta(0))
    only = limits_left({f"{head}tokens-remaining": "70"})
    assert only is not None and (only.tokens_left, only.resets_in) == (70, None)


# The key, and where it goes.


@pytest.mark.parametrize("key", ["", "  ", "fake\nkey", "fäke-key"])
def test_a_key_that_cannot_be_one_is_a_setting_to_change(key: str) -> None:
    with pytest.raises(ConfigError, match="MY_KEY"):
        AnthropicModel(CARD, api_key=key, key_name="MY_KEY")


def test_a_line_end_after_the_key_does_no_harm() -> None:
    async def run() -> Completion:
        with AnthropicServer() as server:
            model = AnthropicModel(CARD, api_key=f"{KEY}\n", base_url=server.url)
            try:
                return await model.complete(asked())
            finally:
                await model.aclose()

    assert asyncio.run(run()).text == "Yes."


def test_a_missing_sdk_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "anthropic", None)
    with pytest.raises(ConfigError, match=r"pip install 'ifmem\[anthropic\]'"):
        AnthropicModel(CARD, api_key=KEY)


def test_variables_of_the_environment_send_the_key_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTHROPIC_BASE_URL", "http://127.0.0.1:9/")
    monkeypatch.setenv("ANTHROPIC_AUTH_TOKEN", "fake-" + "token")
    model = AnthropicModel(CARD, api_key=KEY)
    assert str(model._client.base_url).rstrip("/") == anthropic_model.BASE_URL
    assert model._client.auth_token is None
    asyncio.run(model.aclose())


def test_neither_the_key_nor_the_prompt_is_logged_on_a_plain_run(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.INFO):
        completed(asked())
    assert KEY not in caplog.text and "harbour" not in caplog.text
    caplog.clear()
    with caplog.at_level(logging.DEBUG):
        completed(asked())
    assert KEY not in caplog.text
