"""Anthropic's adapter under the contract."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from datetime import datetime, timedelta
from typing import Any

from hypothesis import strategies as st
from model_contract import PATIENCE_S, PLAIN, Answered, Has, Opened, Sent, Trouble, UsageLaw

from ifmem import clock
from ifmem.domain.model import CacheRules, Caching, ModelCard, ModelRef, Stop, Warming
from ifmem.llm.anthropic_model import AnthropicModel
from ifmem.llm.anthropic_usage import token_usage
from ifmem.testing.anthropic_server import AnthropicServer, Said
from ifmem.testing.loopback import Answer, Fault, Request

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
def reports(draw: st.DrawFn) -> dict[str, Any]:
    hour, minutes, output = draw(counts), draw(counts), draw(counts)
    report: dict[str, Any] = {
        "input_tokens": draw(counts),
        "cache_creation_input_tokens": hour + minutes,
        "cache_read_input_tokens": draw(counts | st.none()),
        "output_tokens": output,
    }
    if draw(st.booleans()):
        report["cache_creation"] = {
            "ephemeral_1h_input_tokens": hour,
            "ephemeral_5m_input_tokens": minutes,
        }
    if draw(st.booleans()):
        report["output_tokens_details"] = {"thinking_tokens": draw(st.integers(0, output))}
    return report


class _Anthropic:
    name = "anthropic"
    lacks: frozenset[Has] = frozenset()
    unavailable = ""
    key_name = "ANTHROPIC_API_KEY"
    prefix_tokens = 6_000
    overflow_tokens = 201_000
    usage = UsageLaw(
        reports=reports(),
        normalise=token_usage,
        # SDK types/message.py: "Total input tokens … is the summation of" the three.
        prompt=lambda report: (
            report["input_tokens"]
            + report["cache_creation_input_tokens"]
            + (report["cache_read_input_tokens"] or 0)
        ),
        generated=lambda report: report["output_tokens"],
    )

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
        stop = "refusal" if answer.stop is Stop.REFUSED else "end_turn"
        said = Said(answer.text, stop, answer.reasoning)
        with ExitStack() as stack:
            server = None
            if url is None:
                server = stack.enter_context(
                    AnthropicServer(
                        lambda _: said,
                        clock=time,
                        requests_per_minute=1_000,
                        input_tokens_per_minute=10_000_000,
                    )
                )
            adapter = AnthropicModel(
                card(model or "claude-haiku-4-5", structured=structured),
                api_key=AnthropicServer().key if key is None else key,
                base_url=server.url if server is not None else url or "",
                timeout_seconds=timeout_seconds,
            )
            try:
                yield Opened(model=adapter, server=server, pass_time=time.move)
            finally:
                await adapter.aclose()

    def fault(self, trouble: Trouble) -> Fault:
        status, kind, words = {
            Trouble.WRONG_KEY: (401, "authentication_error", "invalid x-api-key"),
            Trouble.FORBIDDEN: (403, "permission_error", "not allowed"),
            Trouble.NO_MODEL: (404, "not_found_error", "model: claude-1"),
            Trouble.OVERFLOW: (
                400,
                "invalid_request_error",
                "prompt is too long: 210000 tokens > 200000 maximum",
            ),
            Trouble.RATE_LIMITED: (429, "rate_limit_error", "slow down"),
            Trouble.RATE_LIMITED_7_S: (429, "rate_limit_error", "slow down"),
            Trouble.BROKEN: (500, "api_error", "Internal server error"),
            Trouble.OVERLOADED: (529, "overloaded_error", "Overloaded"),
            Trouble.BAD_REQUEST: (400, "invalid_request_error", "messages: too few"),
        }[trouble]
        headers = {"retry-after": "7"} if trouble is Trouble.RATE_LIMITED_7_S else {}
        body = {"type": "error", "error": {"type": kind, "message": words}}
        return Answer(status, body, {"request-id": "req_fault", **headers})

    def sent(self, request: Request) -> Sent:
        body = request.body
        system = "".join(block["text"] for block in body.get("system", []))
        content = [block for message in body["messages"] for block in message["content"]]
        marked = [number for number, block in enumerate(content) if "cache_control" in block]
        before = content[: marked[-1] + 1] if marked else []
        return Sent(
            system=system,
            before=system + "".join(block["text"] for block in before),
            whole=system + "".join(block["text"] for block in content),
            schema=body.get("output_config", {}).get("format", {}).get("schema"),
        )


def card(model: str, *, structured: bool = False, exact_count: bool = False) -> ModelCard:
    return ModelCard(
        ref=ModelRef("anthropic", model),
        window=200_000,
        max_output=64_000,
        cache=CacheRules(
            caching=Caching.BREAKPOINT,
            warming=Warming.ZERO_TOKENS,
            least_tokens=4_096,
            lifetimes=(timedelta(minutes=5), timedelta(hours=1)),
        ),
        tokens_per_o200k=1.22,
        structured=structured,
        exact_count=exact_count,
    )


SUBJECT = _Anthropic()
