"""Gemini's adapter under the contract, with its prefixes in cache objects."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from datetime import datetime, timedelta
from typing import Any

from google.genai.types import GenerateContentResponseUsageMetadata
from hypothesis import strategies as st
from model_contract import PATIENCE_S, PLAIN, Answered, Has, Opened, Sent, Trouble, UsageLaw

from ifmem import clock
from ifmem.domain.model import Caching, ModelCard, ModelRef, Stop
from ifmem.llm.cards import card_of
from ifmem.llm.gemini_answer import usage_of
from ifmem.llm.gemini_model import GeminiModel
from ifmem.llm.providers import merged
from ifmem.model_settings import ProviderEntry
from ifmem.testing.gemini_server import KEY, GeminiServer, Said, ServedModel
from ifmem.testing.loopback import Answer, Fault, Request

MODEL = "gemini-3.8-flash"
SMALL = {MODEL: ServedModel(100_000, 4_096)}
"""A smaller window than the real one, so that passing it takes no four megabytes."""
counts = st.integers(0, 10**7)


class MovableClock:
    """The vendor's clock: now, and as much later as a law wants."""

    def __init__(self) -> None:
        self._ahead = timedelta(0)

    def __call__(self) -> datetime:
        return clock.now() + self._ahead

    def move(self, by: timedelta) -> None:
        self._ahead += by


@st.composite
def reports(draw: st.DrawFn) -> GenerateContentResponseUsageMetadata:
    prompt, output = draw(counts), draw(counts)
    thoughts, tools = draw(counts | st.none()), draw(counts | st.none())
    return GenerateContentResponseUsageMetadata(
        prompt_token_count=prompt,
        cached_content_token_count=draw(st.integers(0, prompt) | st.none()),
        candidates_token_count=output,
        thoughts_token_count=thoughts,
        tool_use_prompt_token_count=tools,
        total_token_count=prompt + output + (thoughts or 0) + (tools or 0),
    )


def generated(report: GenerateContentResponseUsageMetadata) -> int:
    return (report.candidates_token_count or 0) + (report.thoughts_token_count or 0)


class Gemini:
    """The adapter, with objects or with what the service finds again by itself."""

    unavailable = ""
    key_name = "GEMINI_API_KEY"
    prefix_tokens = 6_000
    overflow_tokens = 101_000
    usage = UsageLaw(
        reports=reports(),
        normalise=usage_of,
        # SDK types: the total is the sum of prompt, candidates, tools' results and thoughts.
        prompt=lambda report: report.total_token_count - generated(report),
        generated=generated,
    )

    def __init__(self, name: str, lacks: frozenset[Has], *, objects: bool) -> None:
        self.name = name
        self.lacks = lacks
        self._objects = objects

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
        finish = "SAFETY" if answer.stop is Stop.REFUSED else "STOP"
        said = Said(answer.text, finish, answer.reasoning)
        with ExitStack() as stack:
            server = None
            if url is None:
                fresh = GeminiServer(lambda _: said, models=SMALL, clock=time)
                server = stack.enter_context(fresh)
                url = server.url
            adapter = GeminiModel(
                card(model or MODEL, structured=structured, objects=self._objects),
                api_key=KEY if key is None else key,
                base_url=url,
                timeout_seconds=timeout_seconds,
            )
            try:
                yield Opened(model=adapter, server=server, pass_time=time.move)
            finally:
                await adapter.aclose()

    def fault(self, trouble: Trouble) -> Fault:
        code, status, words, detail = {
            Trouble.WRONG_KEY: (
                400,
                "INVALID_ARGUMENT",
                "API key not valid. Please pass a valid API key.",
                {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "API_KEY_INVALID"},
            ),
            Trouble.FORBIDDEN: (403, "PERMISSION_DENIED", "The caller lacks the permission.", {}),
            Trouble.NO_MODEL: (404, "NOT_FOUND", "models/gemini-1 is not found.", {}),
            Trouble.OVERFLOW: (
                400,
                "INVALID_ARGUMENT",
                "The input token count (210000) exceeds the maximum number of tokens allowed "
                "(100000).",
                {},
            ),
            Trouble.RATE_LIMITED: (429, "RESOURCE_EXHAUSTED", "Quota exceeded.", {}),
            Trouble.RATE_LIMITED_7_S: (
                429,
                "RESOURCE_EXHAUSTED",
                "Quota exceeded.",
                {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "7s"},
            ),
            Trouble.BROKEN: (500, "INTERNAL", "An internal error has occurred.", {}),
            Trouble.OVERLOADED: (503, "UNAVAILABLE", "The model is overloaded.", {}),
            Trouble.BAD_REQUEST: (400, "INVALID_ARGUMENT", "contents is not specified", {}),
        }[trouble]
        error: dict[str, Any] = {"code": code, "status": status, "message": words}
        if detail:
            error["details"] = [detail]
        return Answer(code, {"error": error})

    def sent(self, request: Request) -> Sent:
        body = request.body
        system = _text(body.get("systemInstruction"))
        parts = [_text({"parts": [part]}) for each in body["contents"] for part in each["parts"]]
        return Sent(
            system=system,
            before=system + "".join(parts[:-1]),
            whole=system + "".join(parts),
            schema=body["generationConfig"].get("responseJsonSchema"),
        )


def _text(content: Any) -> str:
    return "".join(part["text"] for part in (content or {"parts": []})["parts"])


def card(model: str, *, structured: bool = False, objects: bool = True) -> ModelCard:
    entry = merged((ProviderEntry(name="gemini", structured=structured),))["gemini"]
    known = card_of(ModelRef("gemini", model), entry, storable=objects)
    assert (known.cache.caching is Caching.OBJECT) is objects or model != MODEL
    return known


SUBJECT = Gemini(
    "gemini",
    # docs caching and rate-limits: no reason for a miss, and no headers of what is left.
    frozenset({Has.MISS_REASON, Has.LIMITS}),
    objects=True,
)
