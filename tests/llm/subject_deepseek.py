"""OpenAI's protocol under the contract, on DeepSeek; and what all subjects of it share.

This is the first of them in the alphabet, so the others find it imported.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from hypothesis import strategies as st
from model_contract import PATIENCE_S, PLAIN, Answered, Has, Opened, Sent, Trouble, UsageLaw

from ifmem import clock
from ifmem.domain.model import CacheRules, Caching, ModelCard, ModelRef, Stop, Warming
from ifmem.llm.openai_compatible_model import OpenAICompatibleModel
from ifmem.llm.openai_dialects import Vendor
from ifmem.llm.openai_usage import usage_of
from ifmem.testing.chat_protocol import KEY, Chat, ChatServer, Script
from ifmem.testing.deepseek_server import DeepSeekServer
from ifmem.testing.loopback import Answer, Fault, Request

WINDOW = 30_000
counts = st.integers(0, 10**7)


class MovableClock:
    """The vendor's clock: now, and as much later as a law wants."""

    def __init__(self) -> None:
        self._ahead = timedelta(0)

    def __call__(self) -> datetime:
        return clock.now() + self._ahead

    def move(self, by: timedelta) -> None:
        self._ahead += by


@dataclass(frozen=True, kw_only=True)
class ChatSubject:
    """A server of the protocol under the contract."""

    name: str
    vendor: Vendor
    model: str
    lacks: frozenset[Has]
    serve: Callable[[Callable[[], datetime]], ChatServer]
    usage: UsageLaw
    key_name: str = ""
    warming: Warming = Warming.FIRST_CALL
    least_tokens: int = 1_024
    lifetimes: tuple[timedelta, ...] = ()
    faults: Mapping[Trouble, tuple[int, object]] = field(default_factory=dict)
    """Where the vendor answers otherwise than most."""
    unavailable: str = ""
    prefix_tokens: int = 6_000
    overflow_tokens: int = WINDOW + 1_000

    @asynccontextmanager
    async def open(
        self,
        *,
        answer: Answered = PLAIN,
        key: str | None = None,
        url: str | None = None,
        model: str | None = None,
        timeout_seconds: float = PATIENCE_S,
        structured: bool = False,
    ) -> AsyncIterator[Opened]:
        time = MovableClock()
        with ExitStack() as stack:
            server = None
            if url is None:
                server = stack.enter_context(self.serve(time))
                server.script = lambda chat: _said(answer, chat)
            adapter = OpenAICompatibleModel(
                self._card(model or self.model, structured=structured),
                vendor=self.vendor,
                api_key=KEY if key is None else key,
                base_url=f"{url or server.url}/v1",
                key_name=self.key_name,
                timeout_seconds=timeout_seconds,
            )
            try:
                yield Opened(model=adapter, server=server, pass_time=time.move)
            finally:
                await adapter.aclose()

    def fault(self, trouble: Trouble) -> Fault:
        usual: Mapping[Trouble, tuple[int, object]] = {
            Trouble.WRONG_KEY: (401, error("Incorrect API key provided.", "invalid_api_key")),
            Trouble.FORBIDDEN: (403, error("Country not supported.", "unsupported_country")),
            Trouble.NO_MODEL: (404, error("The model does not exist.", "model_not_found")),
            Trouble.OVERFLOW: (
                400,
                error(
                    "This model's maximum context length is 30000 tokens. However, your messages"
                    " resulted in 31000 tokens.",
                    "context_length_exceeded",
                ),
            ),
            Trouble.RATE_LIMITED: (429, error("Rate limit reached.", "rate_limit_exceeded")),
            Trouble.RATE_LIMITED_7_S: (429, error("Rate limit reached.", "rate_limit_exceeded")),
            Trouble.BROKEN: (500, error("The server had an error.", None)),
            Trouble.OVERLOADED: (503, error("The engine is overloaded.", None)),
            Trouble.BAD_REQUEST: (400, error("Invalid value: 'rules'.", "invalid_value")),
        }
        status, body = (usual | dict(self.faults))[trouble]
        headers = {"retry-after": "7"} if trouble is Trouble.RATE_LIMITED_7_S else {}
        return Answer(status, body, headers)

    def sent(self, request: Request) -> Sent:
        system, user = (message["content"] for message in request.body["messages"])
        if isinstance(user, str):
            # The question is what follows the last empty line.
            before, whole = user.rpartition("\n\n")[0], user
        else:
            before, whole = user[0]["text"], "".join(part["text"] for part in user)
        form = request.body.get("response_format") or {}
        return Sent(
            system=system,
            before=system + before,
            whole=system + whole,
            schema=form.get("json_schema", {}).get("schema"),
        )

    def _card(self, model: str, *, structured: bool) -> ModelCard:
        return ModelCard(
            ref=ModelRef(self.name, model),
            window=WINDOW,
            max_output=4_096,
            cache=CacheRules(
                caching=Caching.IMPLICIT,
                warming=self.warming,
                least_tokens=self.least_tokens,
                lifetimes=self.lifetimes,
            ),
            tokens_per_o200k=1.0,
            structured=structured,
        )


def error(message: str, code: str | None) -> dict[str, object]:
    return {
        "error": {"message": message, "type": "invalid_request_error", "param": None, "code": code}
    }


def _said(answer: Answered, chat: Chat) -> Script:
    if "one word" in chat.question:
        return Script(text="yes")  # it does as it is told
    if answer.stop is Stop.REFUSED:
        return Script(text=answer.text, finish="content_filter")
    return Script(text=answer.text, reasoning=answer.reasoning)


@st.composite
def reports(draw: st.DrawFn) -> dict[str, Any]:
    hit, missed, thought, said = (draw(counts) for _ in range(4))
    report = {
        "prompt_tokens": hit + missed,
        "prompt_cache_hit_tokens": hit,
        "prompt_cache_miss_tokens": missed,
        "completion_tokens": thought + said,
        "total_tokens": hit + missed + thought + said,
    }
    if draw(st.booleans()):
        report["prompt_tokens_details"] = {"cached_tokens": hit}
    if thought or draw(st.booleans()):
        report["completion_tokens_details"] = {"reasoning_tokens": thought}
    return report


def usage_law(strategy: st.SearchStrategy[Any]) -> UsageLaw:
    """Prompt and completion are totals: everything else is inside them."""
    return UsageLaw(
        reports=strategy,
        normalise=lambda report: usage_of(report).usage,
        prompt=lambda report: report["prompt_tokens"],
        generated=lambda report: report["completion_tokens"],
    )


SUBJECT = ChatSubject(
    name="deepseek",
    vendor="deepseek",
    model="deepseek-flash",
    lacks=frozenset({Has.LIFETIME, Has.MISS_REASON, Has.LIMITS, Has.STRUCTURED}),
    serve=lambda time: DeepSeekServer(models={"deepseek-flash": WINDOW}, clock=time),
    usage=usage_law(reports()),
    key_name="DEEPSEEK_API_KEY",
    warming=Warming.TWO_QUESTIONS,
    least_tokens=64,
    faults={
        Trouble.NO_MODEL: (400, error("Model Not Exist", "invalid_request_error")),
        Trouble.OVERFLOW: (
            400,
            error(
                "This model's maximum context length is 30000 tokens. However, you requested"
                " 31000 tokens (30400 in the messages, 600 in the completion).",
                "invalid_request_error",
            ),
        ),
        Trouble.BAD_REQUEST: (422, error("Failed to deserialize the JSON body", None)),
    },
)
