"""What is particular to OpenAI's protocol: its requests, its caches, its errors, its nonsense."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import openai
import pytest

from ifmem import clock
from ifmem.domain.model import (
    CacheRules,
    Caching,
    Completion,
    ModelCall,
    ModelCard,
    ModelRef,
    Purpose,
    RateLimits,
    Stop,
    Warming,
)
from ifmem.domain.prompt import Prompt
from ifmem.domain.usage import TokenUsage
from ifmem.engine.hotness import CACHE_NOT_TOLD
from ifmem.errors import (
    ConfigError,
    ContextOverflow,
    Failed,
    IfMemError,
    NotFound,
    NotPermitted,
    OutcomeUnknown,
    RateLimited,
    Refused,
    Unavailable,
)
from ifmem.llm.openai_compatible_model import OpenAICompatibleModel
from ifmem.llm.openai_dialects import DIALECTS, PROMISED, Vendor, has_breakpoints
from ifmem.llm.openai_errors import Translator
from ifmem.testing.chat_protocol import KEY, ChatServer, Script
from ifmem.testing.deepseek_server import DeepSeekServer
from ifmem.testing.loopback import (
    Answer,
    CutStream,
    Event,
    HangUp,
    Hold,
    Malformed,
    Reply,
    Request,
    Stream,
)
from ifmem.testing.openai_server import OpenAIServer
from ifmem.testing.plain_openai_server import PlainOpenAIServer

BOOK = "The lamp hangs in the hall. " * 400
SCHEMA = {
    "type": "object",
    "properties": {"found": {"type": "boolean"}},
    "required": ["found"],
    "additionalProperties": False,
}
PROMPT = Prompt(name="shard_answer", version=1, rules="Answer.", documents=BOOK, question="Where?")
HALF_AN_HOUR = timedelta(minutes=30)


def card(
    model: str, *, structured: bool = False, warming: Warming = Warming.FIRST_CALL
) -> ModelCard:
    return ModelCard(
        ref=ModelRef("somebody", model),
        window=32_768,
        max_output=4_096,
        cache=CacheRules(caching=Caching.IMPLICIT, warming=warming, least_tokens=1_024),
        tokens_per_o200k=1.0,
        structured=structured,
    )


NEW = card("gpt-6-luna", structured=True)
OLD = card("gpt-5.4-nano")
FLASH = card("deepseek-flash", warming=Warming.TWO_QUESTIONS)
SMOL = card("smol")


def call(prompt: Prompt = PROMPT, **fields: Any) -> ModelCall:
    return ModelCall(
        call_id="c",
        prompt=prompt,
        purpose=Purpose.ANSWER,
        max_output=fields.pop("max_output", 64),
        lifetime=fields.pop("lifetime", HALF_AN_HOUR),
        cache_key=fields.pop("cache_key", "shard-1"),
        **fields,
    )


def asking(prompt: str) -> ModelCall:
    return call(replace(PROMPT, question=prompt))


def using(
    server: ChatServer | Nonsense,
    vendor: Vendor,
    model_card: ModelCard,
    steps: Callable[[OpenAICompatibleModel], Coroutine[Any, Any, Any]],
    **options: Any,
) -> Any:
    """Run steps on a model of that server, and close it."""

    async def run() -> Any:
        model = OpenAICompatibleModel(
            model_card,
            vendor=vendor,
            api_key=options.pop("api_key", KEY),
            base_url=f"{server.url}/v1",
            **options,
        )
        try:
            return await steps(model)
        finally:
            await model.aclose()

    return asyncio.run(run())


def complete(
    server: ChatServer | Nonsense,
    vendor: Vendor,
    model_card: ModelCard,
    *calls: ModelCall,
    **options: Any,
) -> list[Completion]:
    async def steps(model: OpenAICompatibleModel) -> list[Completion]:
        return [await model.complete(each) for each in calls]

    answers: list[Completion] = using(server, vendor, model_card, steps, **options)
    return answers


def refusal(
    server: ChatServer | Nonsense, vendor: Vendor, model_card: ModelCard, **options: Any
) -> IfMemError:
    with pytest.raises(IfMemError) as caught:
        complete(server, vendor, model_card, call(), **options)
    return caught.value


@pytest.fixture
def openai_server() -> Iterator[OpenAIServer]:
    with OpenAIServer() as server:
        yield server


@pytest.fixture
def vllm_server() -> Iterator[PlainOpenAIServer]:
    with PlainOpenAIServer() as server:
        yield server


# --- what is sent ---


def test_a_new_model_gets_its_breakpoint_behind_the_documents(openai_server: OpenAIServer) -> None:
    complete(openai_server, "openai", NEW, call())
    body = openai_server.requests[0].body
    assert body["messages"] == [
        {"role": "system", "content": "Answer."},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": BOOK, "prompt_cache_breakpoint": {"mode": "explicit"}},
                {"type": "text", "text": "Where?"},
            ],
        },
    ]
    assert body["prompt_cache_options"] == {"mode": "explicit", "ttl": "30m"}
    assert body["prompt_cache_key"] == "shard-1"
    assert body["max_completion_tokens"] == 64


def test_a_call_that_is_not_to_be_kept_has_no_breakpoint_and_pays_no_write(
    openai_server: OpenAIServer,
) -> None:
    answers = complete(openai_server, "openai", NEW, *[call(lifetime=None)] * 2)
    assert [answer.usage.cache_write + answer.usage.cache_read for answer in answers] == [0, 0]
    assert [answer.cached_until for answer in answers] == [None, None]


def test_an_older_model_gets_no_field_it_would_refuse(openai_server: OpenAIServer) -> None:
    cold, hot = complete(openai_server, "openai", OLD, asking("What?"), asking("Where?"))
    assert "prompt_cache_options" not in openai_server.requests[0].body
    assert (cold.usage.cache_read, hot.usage.cache_read > 1_024) == (0, True)
    assert (cold.usage.cache_write, hot.cached_until) == (0, None)


def test_a_long_cache_key_is_shortened_and_stays_the_same(openai_server: OpenAIServer) -> None:
    long = call(cache_key="space/" * 40)
    cold, hot = complete(openai_server, "openai", NEW, long, long)
    keys = {request.body["prompt_cache_key"] for request in openai_server.requests}
    assert [len(key) for key in keys] == [64]
    assert (cold.usage.cache_read, hot.usage.cache_read > 0) == (0, True)


def test_a_schema_is_sent_where_it_is_kept_and_left_out_where_not(
    openai_server: OpenAIServer,
) -> None:
    with_schema = call(replace(PROMPT, schema=SCHEMA))
    complete(openai_server, "openai", NEW, with_schema)
    complete(openai_server, "openai", OLD, with_schema)
    first, second = (request.body.get("response_format") for request in openai_server.requests)
    assert first["json_schema"] == {"name": "shard_answer", "schema": SCHEMA, "strict": True}
    assert second is None


@pytest.mark.parametrize(
    ("model", "has"),
    [
        ("gpt-5.6", True),
        ("gpt-5.6-luna", True),
        ("gpt-6-luna", True),
        ("gpt-6.1-sol", True),
        ("ft:gpt-6-luna:somebody", True),
        ("gpt-5", False),
        ("gpt-5-2025-08-07", False),
        ("gpt-5.5-pro", False),
        ("gpt-4.1", False),
        ("gpt-4o", False),
        ("gpt-35-turbo", False),
        ("gpt-oss-120b", False),
        ("o3", False),
        ("mistral-gpt-6", False),
    ],
)
def test_breakpoints_begin_with_gpt_5_6(model: str, has: bool) -> None:
    assert has_breakpoints(model) is has


@pytest.mark.parametrize("vendor", ["vllm", "llamacpp", ""])
def test_other_servers_get_one_string_and_only_fields_they_know(vendor: Vendor) -> None:
    with PlainOpenAIServer(strict=True) as server:
        complete(server, vendor, SMOL, call())
    body = server.requests[0].body
    assert body["messages"][1]["content"] == f"{BOOK}\n\nWhere?"
    assert body["max_tokens"] == 64


def test_a_prompt_without_documents_is_its_question(vllm_server: PlainOpenAIServer) -> None:
    complete(vllm_server, "vllm", SMOL, call(replace(PROMPT, documents="")))
    assert vllm_server.requests[0].body["messages"][1]["content"] == "Where?"


def test_no_more_output_is_asked_for_than_the_model_has(vllm_server: PlainOpenAIServer) -> None:
    complete(vllm_server, "vllm", SMOL, call(max_output=100_000), call(max_output=0))
    assert [each.body["max_tokens"] for each in vllm_server.requests] == [4_096, 1]


def test_openais_environment_is_not_told_to_other_servers(
    vllm_server: PlainOpenAIServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-" + "fake-and-secret")
    monkeypatch.setenv("OPENAI_ORG_ID", "org-secret")
    monkeypatch.setenv("OPENAI_PROJECT_ID", "proj-secret")
    monkeypatch.setenv("OPENAI_CUSTOM_HEADERS", "Authorization: Bearer secret\nX-Mine: secret")
    complete(vllm_server, "vllm", SMOL, call(), api_key="")
    headers = vllm_server.requests[0].headers
    assert not [name for name, value in headers.items() if "secret" in value]


# --- caches ---


def test_what_a_breakpoint_wrote_is_priced_as_written_and_promised_for_thirty_minutes(
    openai_server: OpenAIServer,
) -> None:
    before = clock.now()
    cold, hot = complete(openai_server, "openai", NEW, asking("What?"), asking("Where then?"))
    assert (cold.usage.cache_write_other, cold.usage.cache_read) == (hot.usage.cache_read, 0)
    assert hot.usage.cache_write == 0
    assert hot.usage.cache_read > 2_000
    assert cold.usage.uncached == 2  # the question
    for answer in (cold, hot):
        assert answer.cached_until is not None
        assert PROMISED <= answer.cached_until - before <= PROMISED + timedelta(minutes=1)


def test_a_prefix_too_short_to_be_kept_is_promised_nothing(openai_server: OpenAIServer) -> None:
    short = call(replace(PROMPT, documents=BOOK[:1_000]))
    (answer,) = complete(openai_server, "openai", NEW, short)
    assert "prompt_cache_breakpoint" in openai_server.requests[0].body["messages"][1]["content"][0]
    assert (answer.usage.cache_write, answer.cached_until) == (0, None)


def test_warming_lets_the_first_question_read_also_under_a_schema(
    openai_server: OpenAIServer,
) -> None:
    with_schema = call(replace(PROMPT, schema=SCHEMA))

    async def steps(model: OpenAICompatibleModel) -> tuple[Completion, Completion]:
        return await model.warm(with_schema), await model.complete(with_schema)

    warm, first = using(openai_server, "openai", NEW, steps)
    assert warm.usage.cache_write == first.usage.cache_read > 2_000
    assert openai_server.requests[0].body["max_completion_tokens"] == 64


def test_deepseek_is_warm_after_two_questions_whose_usage_is_summed() -> None:
    async def steps(model: OpenAICompatibleModel) -> tuple[Completion, Completion]:
        return await model.warm(call()), await model.complete(call())

    with DeepSeekServer() as server:
        warm, first = using(server, "deepseek", FLASH, steps)
    questions = [chat.question.removeprefix(BOOK) for chat in server.chats]
    assert len(set(questions)) == len(server.chats) == 3
    assert warm.usage.cache_read == 0
    assert warm.usage.uncached > 2 * first.usage.cache_read > 5_000
    assert first.usage.uncached < 10


def test_warming_a_model_that_does_not_think_takes_one_token(
    vllm_server: PlainOpenAIServer,
) -> None:
    warm = using(vllm_server, "vllm", SMOL, lambda model: model.warm(call()))
    assert warm.usage.generated == 1


def test_one_question_would_not_have_warmed_deepseek() -> None:
    with DeepSeekServer() as server:
        _, second = complete(server, "deepseek", FLASH, asking("What?"), asking("Where?"))
    assert second.usage.cache_read == 0


def test_two_warming_questions_make_the_prefix_readable_at_the_second() -> None:
    begun_after: list[int] = []
    with DeepSeekServer() as server:
        asked = call(begun=lambda: begun_after.append(len(server.requests)))
        using(server, "deepseek", FLASH, lambda model: model.warm(asked))
    assert begun_after == [2]


def test_a_second_warming_question_that_is_refused_leaves_the_firsts_usage() -> None:
    with DeepSeekServer(credit=1) as server:
        warm = using(server, "deepseek", FLASH, lambda model: model.warm(call()))
    assert warm.usage.uncached > 2_000
    assert "no credit" in warm.miss_reason


def test_a_second_warming_question_whose_end_is_unknown_is_unknown() -> None:
    with DeepSeekServer() as server:
        server.fail_next(Malformed(99), CutStream(after=2))
        with pytest.raises(OutcomeUnknown):
            using(server, "deepseek", FLASH, lambda model: model.warm(call()))
    assert len(server.requests) == 2


def test_a_server_that_does_not_tell_of_its_cache_is_neither_hot_nor_cold() -> None:
    with PlainOpenAIServer(reports_cache=False) as server:
        for answer in complete(server, "vllm", SMOL, call(), call()):
            assert answer.usage.cache_read == 0
            assert answer.miss_reason == CACHE_NOT_TOLD


def test_a_server_that_told_once_and_then_says_nothing_says_nought(
    vllm_server: PlainOpenAIServer,
) -> None:
    other = call(replace(PROMPT, documents="Something else entirely. " * 50))
    unknown, hot, cold = complete(vllm_server, "vllm", SMOL, call(), call(), other)
    assert [each.miss_reason for each in (unknown, hot, cold)] == [CACHE_NOT_TOLD, None, None]
    assert (hot.usage.cache_read > 2_000, cold.usage.cache_read) == (True, 0)


def test_llama_cpps_cache_is_read_from_what_it_reports() -> None:
    with PlainOpenAIServer(flavour="llamacpp") as server:
        cold, hot = complete(server, "llamacpp", SMOL, call(), call())
    assert (cold.usage.cache_read, cold.miss_reason) == (0, None)
    assert hot.usage.cache_read > 2_000


# --- what comes back ---


def test_thoughts_are_a_bucket_of_their_own(openai_server: OpenAIServer) -> None:
    openai_server.reply_next(Script(text="Yes.", reasoning=40))
    (answer,) = complete(openai_server, "openai", NEW, call())
    assert (answer.usage.reasoning, answer.usage.output) == (40, 1)


@pytest.mark.parametrize(
    ("script", "stop", "text"),
    [
        (Script(text="Yes."), Stop.END, "Yes."),
        (Script(text="word " * 100), Stop.LENGTH, ("word " * 100)[:256]),
        (Script(refusal="I will not."), Stop.REFUSED, "I will not."),
        (Script(text="", finish="content_filter"), Stop.REFUSED, ""),
        (Script(text="Half", finish="insufficient_system_resource"), Stop.LENGTH, "Half"),
        (Script(text="", reasoning=64, finish="length"), Stop.LENGTH, ""),
    ],
)
def test_every_end_has_its_stop_and_is_billed(
    openai_server: OpenAIServer, script: Script, stop: Stop, text: str
) -> None:
    openai_server.reply_next(script)
    (answer,) = complete(openai_server, "openai", NEW, call())
    assert (answer.stop, answer.text) == (stop, text)
    assert answer.usage.prompt > 2_000
    assert (answer.first_token_ms is not None) is bool(text)


def test_the_headers_limits_and_the_request_id_are_kept(openai_server: OpenAIServer) -> None:
    (answer,) = complete(openai_server, "openai", NEW, call())
    assert answer.request_id == "req_0"
    assert isinstance(answer.limits, RateLimits)
    assert answer.limits.requests_left == 9_999
    assert answer.limits.resets_in is not None


def test_the_first_token_is_told_as_it_comes_and_once() -> None:
    told: list[int] = []
    hold = Hold(after=2)
    with OpenAIServer() as server:
        server.fail_next(hold)

        async def steps(model: OpenAICompatibleModel) -> Completion:
            begun = asyncio.Event()

            def begin() -> None:
                told.append(len(told))
                begun.set()

            async with asyncio.timeout(30), asyncio.TaskGroup() as group:
                asked = group.create_task(model.complete(call(begun=begin)))
                await begun.wait()
                assert not asked.done()
                hold.release.set()
            return asked.result()

        answer = using(server, "openai", NEW, steps)
    assert told == [0]
    assert answer.first_token_ms < answer.total_ms


def test_a_deepseek_that_keeps_us_waiting_is_waited_for() -> None:
    with DeepSeekServer(waits=True) as server:
        (answer,) = complete(server, "deepseek", FLASH, call())
    assert answer.text == "It is on the shelf."


# --- errors ---


def body(**fields: object) -> dict[str, object]:
    return {"error": {"message": "no", "type": "t", "code": None, "param": None} | fields}


QUOTA = body(code="insufficient_quota", type="insufficient_quota")
LONG = "Input tokens exceed the configured limit of 272000 tokens. Your messages resulted in 289650"


@pytest.mark.parametrize(
    ("status", "answer", "kind"),
    [
        (400, body(), Failed),
        (400, body(code="context_length_exceeded"), ContextOverflow),
        (400, body(message=LONG), ContextOverflow),
        (401, body(), NotPermitted),
        (402, body(), NotPermitted),
        (403, body(), NotPermitted),
        (404, body(), NotFound),
        (400, body(code="model_not_found"), NotFound),
        (400, body(message="Model Not Exist", code="invalid_request_error"), NotFound),
        (408, body(), Unavailable),
        (409, body(), Unavailable),
        (413, body(), Failed),
        (418, body(), Failed),
        (422, body(), Failed),
        (429, body(), RateLimited),
        (429, QUOTA, NotPermitted),
        (429, body(message="Request too large for it on tokens per min"), Refused),
        (500, body(), Unavailable),
        (502, b"<html>bad gateway</html>", Unavailable),
        (503, {"detail": "loading"}, Unavailable),
        (529, [], Unavailable),
    ],
)
def test_each_status_is_the_error_of_the_port(
    openai_server: OpenAIServer, status: int, answer: object, kind: type[IfMemError]
) -> None:
    openai_server.fail_next(Answer(status, answer))
    error = refusal(openai_server, "openai", NEW)
    assert type(error) is kind
    assert KEY not in error.message
    assert len(openai_server.requests) == 1


@pytest.mark.parametrize("headers", [{"retry-after": "3"}, {"retry-after-ms": "3000"}])
def test_a_time_to_wait_is_told_in_seconds(
    openai_server: OpenAIServer, headers: dict[str, str]
) -> None:
    openai_server.fail_next(Answer(429, body(), headers))
    assert refusal(openai_server, "openai", NEW).facts["retry_after_s"] == 3.0


def test_a_429_without_a_time_says_none(openai_server: OpenAIServer) -> None:
    openai_server.fail_next(Answer(429, body()))
    assert refusal(openai_server, "openai", NEW).facts["retry_after_s"] is None


def test_an_account_without_credit_is_not_waited_for() -> None:
    with DeepSeekServer(credit=0) as server:
        error = refusal(server, "deepseek", FLASH, key_name="DEEPSEEK_API_KEY")
    assert isinstance(error, NotPermitted)
    assert "DEEPSEEK_API_KEY" in error.message


@pytest.mark.parametrize("flavour", ["vllm", "llamacpp"])
def test_an_overflow_says_both_sizes_as_the_server_told_them(flavour: Any) -> None:
    with PlainOpenAIServer(flavour=flavour, models={"smol": 1_000}) as server:
        error = refusal(server, flavour, SMOL)
    assert isinstance(error, ContextOverflow)
    assert error.facts["window"] == 1_000
    assert isinstance(error.facts["needed"], int)
    assert error.facts["needed"] > 2_000


@pytest.mark.parametrize("status", [400, 401, 404])
def test_a_key_that_the_server_repeats_is_not_shown(
    openai_server: OpenAIServer, status: int
) -> None:
    openai_server.fail_next(Answer(status, body(message=f"the key {KEY} is wrong")))
    error = refusal(openai_server, "openai", NEW)
    assert KEY not in error.message + repr(error.facts)


def test_a_servers_page_of_an_error_is_cut_to_a_line(openai_server: OpenAIServer) -> None:
    openai_server.fail_next(Answer(400, body(message="all the words\n" * 1_000)))
    message = refusal(openai_server, "openai", NEW).message
    assert len(message) < 500
    assert "\n" not in message


def test_every_error_of_the_sdk_is_translated() -> None:
    import httpx2

    request = httpx2.Request("POST", "http://127.0.0.1/")
    translators = [
        Translator(NEW, DIALECTS[vendor], "OPENAI_API_KEY") for vendor in ("openai", "vllm")
    ]
    walked = 0
    for kind in _kinds(openai.OpenAIError):
        error = kind.__new__(kind)
        error.message, error.code, error.type, error.body = "no", None, None, None
        error.request = request
        status = getattr(kind, "status_code", 500)
        error.status_code = status if isinstance(status, int) else 500
        error.response = httpx2.Response(error.status_code, request=request)
        for translator in translators:
            assert isinstance(translator.translate(error), IfMemError), kind
        walked += 1
    assert walked >= 15


def _kinds(kind: Any) -> Iterator[Any]:
    yield kind
    for below in kind.__subclasses__():
        yield from _kinds(below)


# --- ends that come too early, and nonsense ---


@pytest.mark.parametrize("fault", [CutStream(3), CutStream(3, cleanly=True), HangUp()])
@pytest.mark.parametrize("vendor", ["vllm", "llamacpp", ""])
def test_an_answer_that_breaks_off_is_unknown_from_every_server(
    vllm_server: PlainOpenAIServer, vendor: Vendor, fault: Any
) -> None:
    vllm_server.fail_next(fault)
    assert type(refusal(vllm_server, vendor, SMOL)) is OutcomeUnknown


def test_a_cut_before_the_usage_is_unknown_though_the_answer_is_whole(
    openai_server: OpenAIServer,
) -> None:
    openai_server.reply_next(Script(text="Yes."))
    openai_server.fail_next(CutStream(3, cleanly=True))  # role, word, end; no usage
    error = refusal(openai_server, "openai", NEW)
    assert type(error) is OutcomeUnknown
    assert "usage" in error.message


def test_a_server_that_may_bill_is_not_estimated() -> None:
    with PlainOpenAIServer(reports_usage=False) as server:
        assert type(refusal(server, "", SMOL)) is OutcomeUnknown


def test_ones_own_server_without_usage_is_counted_here() -> None:
    with PlainOpenAIServer(reports_usage=False) as server:
        (answer,) = complete(server, "vllm", SMOL, call())
    assert answer.text == "It is on the shelf."
    assert answer.usage.uncached > 2_000
    assert answer.usage.output > 0
    assert answer.miss_reason == CACHE_NOT_TOLD


def test_a_server_that_does_not_answer_in_time_is_unknown_and_let_go() -> None:
    hold = Hold()
    with OpenAIServer() as server:
        server.fail_next(hold)
        error = refusal(server, "openai", NEW, timeout_seconds=1.0)
        assert hold.abandoned.wait(30)
    assert type(error) is OutcomeUnknown


def test_an_answer_that_never_ends_ends_in_time() -> None:
    """Each piece comes in time; their sum does not."""
    stop = threading.Event()

    def dripping() -> Iterator[Event]:
        while not stop.wait(0.05):
            yield Event({"choices": [{"index": 0, "delta": {"content": "drip "}}]})

    with Nonsense(lambda: Stream(dripping())) as server:
        error = refusal(server, "openai", NEW, timeout_seconds=0.5)
        stop.set()
    assert type(error) is OutcomeUnknown


def test_a_server_that_is_not_there_cost_nothing() -> None:
    with OpenAIServer() as gone:
        url = gone.url

    async def ask() -> None:
        model = OpenAICompatibleModel(NEW, vendor="openai", api_key=KEY, base_url=url)
        try:
            await model.complete(call())
        finally:
            await model.aclose()

    with pytest.raises(Unavailable) as caught:
        asyncio.run(ask())
    assert type(caught.value) is Unavailable


class Nonsense(ChatServer):
    """Answers whatever it was given, to every request."""

    def __init__(self, answer: Callable[[], Reply | Stream]) -> None:
        super().__init__(models={})
        self._made = answer

    def answer(self, request: Request) -> Reply | Stream:
        return self._made()


SAID = {"choices": [{"index": 0, "delta": {"content": "Yes."}, "finish_reason": "stop"}]}


@pytest.mark.parametrize(
    "chunks",
    [
        ['{"cut'],
        ["5"],
        ["[]"],
        ["null"],
        ["[" * 5_000],
        [{}],
        [{"choices": None}],
        [{"choices": "no"}],
        [{"choices": [5]}],
        [{"choices": [{"delta": "no"}]}],
        [{"choices": [{"delta": {"content": 5}}]}],
        [{"error": {"message": "overloaded"}}],
        [SAID, {"error": {"message": "overloaded"}}],
        [SAID],
        [SAID, {"choices": [], "usage": "no"}],
        [
            {"choices": [{"delta": {}, "finish_reason": ["stop"]}]},
            {"choices": [], "usage": {"prompt_tokens": 5, "completion_tokens": 1}},
        ],
        [SAID, {"choices": [], "usage": {"prompt_tokens": 5}}],
        [SAID, {"choices": [], "usage": {"prompt_tokens": -5, "completion_tokens": 1}}],
        [
            SAID,
            {
                "choices": [],
                "usage": {
                    "prompt_tokens": 5,
                    "completion_tokens": 1,
                    "prompt_tokens_details": {"cached_tokens": 6},
                },
            },
        ],
        [],
    ],
    ids=str,
)
def test_nonsense_in_a_billed_stream_is_unknown(chunks: list[object]) -> None:
    with Nonsense(lambda: Stream([Event(chunk) for chunk in chunks])) as server:
        assert type(refusal(server, "openai", NEW)) is OutcomeUnknown


def test_a_whole_answer_where_a_stream_was_asked_for_is_unknown() -> None:
    with Nonsense(lambda: Reply({"choices": [{"message": {"content": "Yes."}}]})) as server:
        assert type(refusal(server, "openai", NEW)) is OutcomeUnknown


def test_half_a_character_is_refused_before_anything_is_sent(openai_server: OpenAIServer) -> None:
    with pytest.raises(Failed, match="half a character"):
        complete(openai_server, "openai", NEW, asking("\ud800"))
    assert openai_server.requests == []


# --- before a call ---


@pytest.mark.parametrize(
    ("vendor", "options", "words"),
    [
        ("openai", {"api_key": ""}, "set MY_KEY"),
        ("deepseek", {"api_key": ""}, "set MY_KEY"),
        ("openai", {"api_key": "two words"}, "MY_KEY"),
        ("openai", {"api_key": "a\n"}, "MY_KEY"),
        ("openai", {"api_key": "schlüssel"}, "MY_KEY"),
        ("vllm", {"api_key": ""}, "base_url"),
        ("", {"api_key": ""}, "base_url"),
        ("vllm", {"api_key": "", "base_url": "http://[::"}, "no address"),
    ],
)
def test_a_wrong_setting_is_said_at_once(
    vendor: Vendor, options: dict[str, str], words: str
) -> None:
    with pytest.raises(ConfigError, match=words) as caught:
        OpenAICompatibleModel(NEW, vendor=vendor, key_name="MY_KEY", **options)
    assert "two words" not in caught.value.message


def test_counting_is_o200k_by_the_cards_factor(openai_server: OpenAIServer) -> None:
    text = "The lamp hangs in the hall."
    exact = using(openai_server, "openai", NEW, lambda model: model.count(text))
    scaled = using(
        openai_server, "openai", replace(NEW, tokens_per_o200k=1.5), lambda model: model.count(text)
    )
    assert (exact, scaled) == (7, 11)


def test_dropping_and_closing_are_harmless(openai_server: OpenAIServer) -> None:
    async def steps(model: OpenAICompatibleModel) -> None:
        await model.drop("anything")
        await model.aclose()

    using(openai_server, "openai", NEW, steps)
    assert openai_server.requests == []


def test_usage_in_every_chunk_is_taken_from_the_last() -> None:
    def usage(said: int) -> dict[str, object]:
        return {"usage": {"prompt_tokens": 10, "completion_tokens": said}}

    chunks = [SAID | usage(1), SAID | usage(2)]
    with Nonsense(lambda: Stream([Event(chunk) for chunk in chunks])) as server:
        (answer,) = complete(server, "", SMOL, call())
    assert answer.usage == TokenUsage(uncached=10, output=2)


def test_a_moment_of_promise_is_aware(openai_server: OpenAIServer) -> None:
    (answer,) = complete(openai_server, "openai", NEW, call())
    assert isinstance(answer.cached_until, datetime)
    assert answer.cached_until.tzinfo is UTC
