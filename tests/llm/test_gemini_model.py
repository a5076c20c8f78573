"""What only Gemini's adapter does: cache objects, their ends and storage, stops and refusals."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from google.genai import types

from ifmem.domain.model import ModelCall, ModelCard, ModelRef, Purpose, Stop
from ifmem.domain.prompt import Prompt
from ifmem.domain.usage import TokenUsage
from ifmem.errors import (
    ConfigError,
    Failed,
    IfMemError,
    NotPermitted,
    OutcomeUnknown,
    RateLimited,
    Unavailable,
)
from ifmem.llm.cards import card_of
from ifmem.llm.gemini_answer import Answer, usage_of
from ifmem.llm.gemini_model import OBJECT_GONE, OTHER_PREFIX, TOO_SMALL, GeminiModel
from ifmem.llm.providers import merged
from ifmem.testing import loopback
from ifmem.testing.gemini_server import MODELS, GeminiServer, Said, ServedModel
from ifmem.testing.loopback import HangUp, Malformed, Request

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
MINUTES_5, HOUR = timedelta(minutes=5), timedelta(hours=1)
LONG = Prompt(
    name="test",
    version=1,
    rules="Answer from the documents alone.",
    documents="The harbour has two piers.\n" * 800,
    question="How many piers are there?",
)
SHORT = replace(LONG, documents="The harbour has two piers.\n")


class Clock:
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        self.now = NOON

    def __call__(self) -> datetime:
        return self.now


def card(model: str = "gemini-3.8-flash", *, objects: bool = True) -> ModelCard:
    return card_of(ModelRef("gemini", model), merged(())["gemini"], storable=objects)


def call(prompt: Prompt = LONG, **changes: Any) -> ModelCall:
    made = ModelCall(call_id="call-1", prompt=prompt, purpose=Purpose.ANSWER, max_output=64)
    return replace(made, **changes)


@asynccontextmanager
async def adapter(
    server: GeminiServer, known: ModelCard | None = None, **changes: Any
) -> AsyncIterator[GeminiModel]:
    model = GeminiModel(
        known or card(), **{"api_key": server.key, "base_url": server.url} | changes
    )
    try:
        yield model
    finally:
        await model.aclose()


def run(
    scenario: Callable[[GeminiModel], Awaitable[Any]],
    server: GeminiServer,
    known: ModelCard | None = None,
    **changes: Any,
) -> Any:
    async def whole() -> Any:
        async with adapter(server, known, **changes) as model:
            return await scenario(model)

    return asyncio.run(whole())


def asked(server: GeminiServer) -> list[str]:
    return [f"{request.method} {request.path}" for request in server.requests]


def failed(server: GeminiServer, what: ModelCall | None = None) -> IfMemError:
    with pytest.raises(IfMemError) as caught:
        run(lambda model: model.complete(what or call()), server)
    return caught.value


def test_warming_makes_an_object_and_a_question_then_sends_itself_alone() -> None:
    async def scenario(model: GeminiModel) -> None:
        warmed = await model.warm(call(lifetime=MINUTES_5, cache_key="shard-7"))
        assert warmed.handle is not None
        assert warmed.cached_until == NOON + MINUTES_5
        assert (warmed.text, warmed.first_token_ms) == ("", None)
        held = warmed.usage.cache_write_other
        assert warmed.usage == TokenUsage(cache_write_other=held)
        assert held > 4_096

        done = await model.complete(call(handle=warmed.handle))
        assert (done.handle, done.cached_until) == (warmed.handle, warmed.cached_until)
        assert (done.usage.cache_read, done.usage.cache_write) == (held, 0)
        assert done.usage.uncached < 20

    with GeminiServer(clock=Clock()) as server:
        run(scenario, server)
        making, asking = (request.body for request in server.requests)
    assert making["displayName"] == f"ifmem {LONG.prefix_sha256[:16]} shard-7"
    assert making["systemInstruction"]["parts"][0]["text"] == LONG.rules
    assert "systemInstruction" not in asking
    assert asking["contents"] == [{"role": "user", "parts": [{"text": LONG.question}]}]


def test_an_object_without_a_lifetime_gets_the_services_own_hour() -> None:
    with GeminiServer(clock=Clock()) as server:
        warmed = run(lambda model: model.warm(call()), server)
    assert warmed.cached_until == NOON + HOUR


@pytest.mark.parametrize("missing", [403, 404])
def test_without_its_object_a_question_sends_everything_and_says_so(missing: int) -> None:
    time = Clock()

    async def scenario(model: GeminiModel) -> None:
        handle = (await model.warm(call(lifetime=MINUTES_5))).handle
        time.now += MINUTES_5
        done = await model.complete(call(handle=handle))
        assert (done.text, done.handle, done.cached_until) == ("Yes.", None, None)
        assert done.miss_reason == OBJECT_GONE
        assert done.usage.uncached > 4_096
        assert done.first_token_ms is not None
        assert done.first_token_ms <= done.total_ms

    with GeminiServer(clock=time, missing=missing) as server:
        run(scenario, server)
        *_, by_handle, whole = server.requests
    assert "cachedContent" in by_handle.body
    assert "cachedContent" not in whole.body
    assert whole.body["systemInstruction"]["parts"][0]["text"] == LONG.rules


def test_an_object_of_another_model_counts_as_none() -> None:
    async def scenario(model: GeminiModel) -> Any:
        handle = (await model.warm(call())).handle
        async with adapter(server, card("gemini-2.5-flash")) as other:
            return await other.complete(call(handle=handle))

    with GeminiServer() as server:
        assert run(scenario, server).miss_reason == OBJECT_GONE


def test_a_wrong_key_is_not_taken_for_a_lost_object() -> None:
    with GeminiServer() as server, pytest.raises(NotPermitted, match="MY_KEY"):
        run(
            lambda model: model.complete(call(handle="cachedContents/any")),
            server,
            api_key="fake-" + "wrong",
            key_name="MY_KEY",
        )


def test_warming_what_is_held_prolongs_it_without_a_token() -> None:
    time = Clock()

    async def scenario(model: GeminiModel) -> None:
        first = await model.warm(call(lifetime=MINUTES_5))
        time.now += timedelta(minutes=4)
        again = await model.warm(call(lifetime=MINUTES_5, handle=first.handle))
        assert again.usage == TokenUsage()
        assert again.handle == first.handle
        assert again.cached_until == NOON + timedelta(minutes=9)
        done = await model.complete(call(handle=first.handle))
        assert done.cached_until == again.cached_until

    with GeminiServer(clock=time) as server:
        run(scenario, server)
        assert [each.split()[0] for each in asked(server)] == ["POST", "PATCH", "POST"]


def test_warming_what_is_gone_makes_another_object() -> None:
    time = Clock()

    async def scenario(model: GeminiModel) -> None:
        first = await model.warm(call(lifetime=MINUTES_5))
        time.now += MINUTES_5
        again = await model.warm(call(lifetime=MINUTES_5, handle=first.handle))
        assert again.handle != first.handle
        assert again.usage.cache_write_other > 4_096
        assert server.objects.live == [again.handle]

    with GeminiServer(clock=time) as server:
        run(scenario, server)


def test_an_object_is_never_read_for_a_prefix_that_it_does_not_hold() -> None:
    grown = replace(LONG, documents=LONG.documents + "A third pier was opened.\n")

    async def scenario(model: GeminiModel) -> None:
        handle = (await model.warm(call())).handle
        done = await model.complete(call(grown, handle=handle))
        assert (done.handle, done.miss_reason) == (None, OTHER_PREFIX)
        assert "third pier" in server.requests[-1].body["contents"][0]["parts"][0]["text"]

    with GeminiServer() as server:
        run(scenario, server)


def test_warming_another_prefix_replaces_the_object_even_of_an_earlier_process() -> None:
    grown = replace(LONG, documents=LONG.documents + "A third pier was opened.\n")

    async def scenario(model: GeminiModel) -> None:
        async with adapter(server) as earlier:
            handle = (await earlier.warm(call())).handle
        again = await model.warm(call(grown, handle=handle))
        assert again.handle != handle
        assert server.objects.live == [again.handle]
        same = await model.warm(call(grown, handle=again.handle))
        assert same.handle == again.handle

    with GeminiServer() as server:
        run(scenario, server)


def test_a_prefix_below_the_least_is_asked_a_shortest_question_instead() -> None:
    with GeminiServer() as server:
        warmed = run(lambda model: model.warm(call(SHORT)), server)
        (request,) = server.requests
    assert (warmed.handle, warmed.miss_reason) == (None, TOO_SMALL)
    assert warmed.usage.generated <= 1
    assert request.body["generationConfig"]["maxOutputTokens"] == 1


def test_the_service_has_the_last_word_on_what_is_too_small() -> None:
    strict = {"gemini-3.8-flash": ServedModel(1_000_000, 50_000)}
    with GeminiServer(models=strict) as server:
        warmed = run(lambda model: model.warm(call()), server)
        assert len(asked(server)) == 2
        assert server.objects.live == []
    assert (warmed.handle, warmed.miss_reason) == (None, TOO_SMALL)


def test_another_refusal_of_an_object_is_an_error() -> None:
    refusal = loopback.Answer(
        400, {"error": {"code": 400, "status": "INVALID_ARGUMENT", "message": "no such field"}}
    )
    with GeminiServer() as server:
        server.fail_next(refusal)
        with pytest.raises(Failed, match="no such field"):
            run(lambda model: model.warm(call()), server)


def test_without_objects_warming_is_a_shortest_question_over_the_whole_prefix() -> None:
    async def scenario(model: GeminiModel) -> None:
        warmed = await model.warm(call())
        assert (warmed.handle, warmed.miss_reason) == (None, None)
        done = await model.complete(call())
        assert done.usage.cache_read > done.usage.prompt * 0.9

    with GeminiServer() as server:
        run(scenario, server, card(objects=False))
        assert not any("cachedContents" in each for each in asked(server))


def test_giving_up_an_object_ends_its_storage_and_twice_is_fine() -> None:
    time = Clock()

    async def scenario(model: GeminiModel) -> None:
        handle = (await model.warm(call(lifetime=HOUR))).handle
        assert handle is not None
        time.now += timedelta(minutes=15)
        await model.drop(handle)
        await model.drop(handle)
        time.now += HOUR

    with GeminiServer(clock=time) as server:
        run(scenario, server)
        (making, *_) = server.requests
        size = sum(-(-len(text) // 4) for text in (LONG.rules, LONG.documents))
        assert making.path == "/v1beta/cachedContents"
        assert server.objects.live == []
        assert server.objects.token_hours == pytest.approx(size / 4)


def test_an_object_that_could_not_be_given_up_is_told() -> None:
    broken = loopback.Answer(503, {"error": {"code": 503, "status": "UNAVAILABLE", "message": "x"}})
    with GeminiServer() as server:
        server.fail_next(broken)
        with pytest.raises(Unavailable):
            run(lambda model: model.drop("cachedContents/object-1"), server)


@pytest.mark.parametrize("body", [None, {}, {"name": "cachedContents/1"}, {"expireTime": "soon"}])
def test_an_object_whose_making_was_not_seen_may_have_been_paid(body: object) -> None:
    with GeminiServer() as server:
        server.fail_next(HangUp() if body is None else loopback.Answer(200, body))
        with pytest.raises(OutcomeUnknown):
            run(lambda model: model.warm(call()), server)


@pytest.mark.parametrize("reason", [each.value for each in types.FinishReason])
def test_every_reason_to_stop_is_an_end_a_cut_or_a_refusal(reason: str) -> None:
    expected = {
        "STOP": Stop.END,
        "MAX_TOKENS": Stop.LENGTH,
        "CONTINUATION": Stop.LENGTH,
        "MALFORMED_RESPONSE": Stop.LENGTH,
    }.get(reason, Stop.REFUSED)
    answer = Answer(0)
    answer.take(types.GenerateContentResponse.model_validate(_ended(reason)))

    assert answer.stop is expected


def test_a_prompt_that_was_held_back_is_a_refusal_with_its_usage() -> None:
    with GeminiServer(lambda _: Said("", blocked="PROHIBITED_CONTENT")) as server:
        done = run(lambda model: model.complete(call()), server)
    assert (done.stop, done.text, done.first_token_ms) == (Stop.REFUSED, "", None)
    assert done.usage.prompt > 4_096


def test_thoughts_that_are_shown_are_no_part_of_the_answer() -> None:
    answer = Answer(0)
    parts = [{"text": "Let me see.", "thought": True}, {"text": "Two."}]
    chunk = {"candidates": [{"content": {"parts": parts}, "finishReason": "STOP"}]}
    answer.take(types.GenerateContentResponse.model_validate(chunk))

    assert answer.text == ["Two."]


def test_usage_that_was_not_told_or_cannot_be_is_refused() -> None:
    told = types.GenerateContentResponseUsageMetadata
    for report in (None, told(), told(prompt_token_count=5, cached_content_token_count=6)):
        with pytest.raises(ValueError, match=r"usage|negative"):
            usage_of(report)


@pytest.mark.parametrize(
    ("model", "thinking"),
    [
        ("gemini-3.8-flash", {"thinking_level": "LOW"}),
        ("gemini-2.5-flash", {"thinking_budget": 0}),
        ("gemini-2.5-pro", {"thinking_budget": 128}),
        ("gemini-2.0-flash", None),
    ],
)
def test_a_model_is_asked_to_think_as_little_as_it_can(
    model: str, thinking: dict[str, object] | None
) -> None:
    with GeminiServer(models={model: ServedModel(100_000, 4_096)}) as server:
        run(lambda adapter: adapter.complete(call()), server, card(model))
        (request,) = server.requests
    assert request.body["generationConfig"].get("thinkingConfig") == thinking


def test_nothing_of_the_environment_changes_whom_is_asked_with_which_key(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("GOOGLE_GENAI_USE_VERTEXAI", "GOOGLE_GENAI_USE_ENTERPRISE"):
        monkeypatch.setenv(name, "true")
    monkeypatch.setenv("GOOGLE_API_KEY", "fake-" + "other")
    monkeypatch.setenv("GOOGLE_GEMINI_BASE_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("GOOGLE_GENAI_API_VERSION", "v9")

    with GeminiServer() as server:
        done = run(lambda model: model.complete(call()), server)
        assert asked(server) == ["POST /v1beta/models/gemini-3.8-flash:streamGenerateContent"]
    assert done.text == "Yes."


@pytest.mark.parametrize("key", ["", "a b", "k\n", "schlüssel"])
def test_what_is_no_key_is_refused_by_the_name_of_its_variable(key: str) -> None:
    with pytest.raises(ConfigError, match="MY_KEY"):
        GeminiModel(card(), api_key=key, key_name="MY_KEY")


def test_an_error_inside_an_answer_leaves_its_outcome_unknown() -> None:
    text = '{"error": {"code": 503, "status": "UNAVAILABLE", "message": "overloaded"}}'
    for event in (0, 1):
        with GeminiServer(lambda _: "word " * 100) as server:
            server.fail_next(Malformed(event=event, text=text))
            assert type(failed(server)) is OutcomeUnknown


@pytest.mark.parametrize("body", [b"<html>Bad gateway</html>", b"", b'"odd"', b"[]", b"[1, 2]"])
def test_a_page_instead_of_an_answer_is_an_error_like_any_other(body: bytes) -> None:
    with GeminiServer() as server:
        server.fail_next(loopback.Answer(502, body))
        error = failed(server)
    assert type(error) is Unavailable
    assert "gemini:gemini-3.8-flash" in error.message


@pytest.mark.parametrize(
    ("delay", "seconds"), [("34.07s", 34.07), ("7s", 7.0), ("7s or so", None), (None, None)]
)
def test_the_wait_is_that_of_the_retry_info(delay: str | None, seconds: float | None) -> None:
    info = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": delay}
    error = {"code": 429, "status": "RESOURCE_EXHAUSTED", "message": "q", "details": [None, info]}
    with GeminiServer() as server:
        server.fail_next(loopback.Answer(429, {"error": error}))
        refused = failed(server)
    assert type(refused) is RateLimited
    assert refused.facts["retry_after_s"] == seconds


def test_the_least_sizes_of_the_table_are_those_of_the_service() -> None:
    for name, served in MODELS.items():
        known = card(name)
        assert known.cache.least_tokens == served.least_tokens
        assert known.window <= served.window


def _ended(reason: str) -> dict[str, Any]:
    return {"candidates": [{"content": {"parts": []}, "finishReason": reason}]}


def test_half_a_character_in_a_prompt_is_an_error_of_ours() -> None:
    def says(_: Request) -> str:
        return "Yes."

    with GeminiServer(says) as server, pytest.raises(IfMemError):
        run(lambda model: model.complete(call(replace(LONG, question="\ud800"))), server)
