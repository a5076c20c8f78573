"""Models behind OpenAI's chat protocol: OpenAI, DeepSeek, vLLM, llama.cpp's server and others.

What a server wants differently is in ``openai_dialects``, what its numbers mean in
``openai_usage``, and what its errors mean in ``openai_errors``.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ifmem import clock, tokens
from ifmem.domain.model import Completion, ModelCall, ModelCard, Stop, Warming
from ifmem.domain.usage import TokenUsage
from ifmem.engine.hotness import CACHE_NOT_TOLD
from ifmem.errors import ConfigError, Failed, IfMemError, OutcomeUnknown
from ifmem.llm.openai_answer import StreamedAnswer
from ifmem.llm.openai_dialects import (
    DIALECTS,
    PROMISED,
    Vendor,
    chat_request,
    is_marked,
    warming_output,
)
from ifmem.llm.openai_errors import Translator
from ifmem.llm.openai_headers import limits_of
from ifmem.llm.openai_usage import ReportedUsage, usage_of

if TYPE_CHECKING:
    from openai import AsyncOpenAI

_CONNECT_SECONDS = 10.0
_WARMING_QUESTIONS = ("Answer with one word: ready.", "Now say yes, in one word.")
"""They differ from the first word on, so that two prompts share exactly the prefix."""

_STOPS: Mapping[str, Stop] = {
    "stop": Stop.END,
    "length": Stop.LENGTH,
    "content_filter": Stop.REFUSED,
    # DeepSeek gave up for lack of resources: what came is cut off, and was billed.
    "insufficient_system_resource": Stop.LENGTH,
}


class OpenAICompatibleModel:
    """A ``LanguageModel`` on the official SDK's chat completions, always streamed.

    Args:
        vendor: whose ways the server has; empty for one that is none of these.
        api_key: may be empty for one's own server.
        base_url: with its ``/v1``, where the server has that; empty only for OpenAI and DeepSeek.
        key_name: where the key was looked for, to say in errors.
        timeout_seconds: of one request, from the connection to the end of its answer.

    Raises:
        ConfigError: no key or no address, or the extra `openai` is not installed.
    """

    def __init__(
        self,
        card: ModelCard,
        *,
        vendor: Vendor,
        api_key: str,
        base_url: str = "",
        key_name: str = "OPENAI_API_KEY",
        timeout_seconds: float = 600,
    ) -> None:
        dialect = DIALECTS[vendor]
        if dialect.needs_key and not api_key:
            raise ConfigError(f"{dialect.title} needs a key for {card.ref}: set {key_name}")
        if not (api_key.isascii() and api_key.isprintable() and " " not in api_key):
            raise ConfigError(f"{key_name} holds what no key does: a space or a special character")
        if not base_url and not dialect.base_url:
            raise ConfigError(f"{card.ref} has no address: give its provider a base_url")
        self._card = card
        self._dialect = dialect
        self._timeout_seconds = timeout_seconds
        self._errors = Translator(card, dialect, key_name, api_key)
        self._client = _client(
            api_key or "none",
            base_url or dialect.base_url,
            timeout_seconds,
            ambient=vendor == "openai",
        )
        self._cache_was_told = False

    @property
    def card(self) -> ModelCard:
        """What is known of it before a call."""
        return self._card

    async def complete(self, call: ModelCall) -> Completion:
        """The answer; see ``LanguageModel``."""
        return await self._ask(call, call.prompt.question, call.max_output)

    async def warm(self, call: ModelCall) -> Completion:
        """Have the prefix held: by one short question, or by two that differ.

        Where two are needed (DeepSeek) the first is cold and so is the second: what both share is
        stored because both shared it. The first's usage is not lost when the second is refused:
        then ``miss_reason`` says so.
        """
        most = warming_output(self._card.ref.model) if self._dialect.cache_hints else 1
        if self._card.cache.warming is not Warming.TWO_QUESTIONS:
            return await self._ask(call, _WARMING_QUESTIONS[0], most)
        # The first of two makes nothing readable.
        first = await self._ask(replace(call, begun=None), _WARMING_QUESTIONS[0], most)
        try:
            second = await self._ask(call, _WARMING_QUESTIONS[1], most)
        except OutcomeUnknown:
            raise
        except IfMemError as error:
            return replace(first, miss_reason=f"only one of two questions was answered: {error}")
        return replace(
            second,
            usage=first.usage + second.usage,
            first_token_ms=first.first_token_ms,
            total_ms=first.total_ms + second.total_ms,
        )

    async def count(self, text: str) -> int:
        """o200k's count by the card's factor, rounded up."""
        return await asyncio.to_thread(self._estimate, text)

    async def drop(self, handle: str) -> None:
        """Nothing: these servers keep no prefix by name."""

    async def aclose(self) -> None:
        """Close all connections."""
        await self._client.close()

    async def _ask(self, call: ModelCall, question: str, max_output: int) -> Completion:
        import openai

        request = chat_request(
            self._card, self._dialect, call, question=question, max_output=max_output
        )
        answer = StreamedAnswer(clock.stopwatch_ns(), call.begun)
        try:
            async with asyncio.timeout(self._timeout_seconds):
                await self._stream(request, answer)
        except openai.OpenAIError as error:
            raise self._errors.translate(error) from error
        except TimeoutError as error:
            raise self._errors.cut_short(
                f"gave no whole answer within {self._timeout_seconds:g} s"
            ) from error
        except UnicodeEncodeError as error:
            raise Failed(
                "half a character (a lone surrogate) in the prompt cannot be sent:"
                f" take it out before asking {self._card.ref}"
            ) from error
        except (ValueError, RecursionError) as error:
            raise self._errors.cut_short("sent a piece of answer that is no JSON") from error
        return self._completion(call, request, answer)

    async def _stream(self, request: dict[str, Any], answer: StreamedAnswer) -> None:
        create: Any = self._client.chat.completions.with_raw_response.create
        response = await create(**request)
        answer.headers = {name.lower(): value for name, value in response.headers.items()}
        stream = response.parse()
        try:
            async for chunk in stream:
                answer.take(chunk)
        finally:
            await stream.close()

    def _completion(
        self, call: ModelCall, request: Mapping[str, Any], answer: StreamedAnswer
    ) -> Completion:
        total_ms = clock.milliseconds_since(answer.started_ns)
        if not answer.finish:
            raise self._errors.cut_short("ended its answer in the middle")
        usage, miss_reason = self._usage(request, answer)
        marked = is_marked(self._card, self._dialect, call)
        kept = usage.cache_write or (usage.cache_read and self._card.cache.read_extends)
        return Completion(
            text="".join(answer.text or answer.refusal),
            stop=Stop.REFUSED if answer.refusal else _STOPS.get(answer.finish, Stop.END),
            usage=usage,
            model=answer.model or self._card.ref.model,
            first_token_ms=answer.first_token_ms,
            total_ms=total_ms,
            request_id=answer.headers.get("x-request-id"),
            cached_until=clock.now() + PROMISED if marked and kept else None,
            miss_reason=miss_reason,
            limits=limits_of(answer.headers),
        )

    def _usage(
        self, request: Mapping[str, Any], answer: StreamedAnswer
    ) -> tuple[TokenUsage, str | None]:
        """What was used, and why nobody knows whether the prefix is hot."""
        try:
            reported = usage_of(answer.usage, answer.timings)
        except ValueError as error:
            if not self._dialect.own:
                raise self._errors.cut_short(
                    f"did not tell a usage that can be: {error}"
                ) from error
            prompt = "".join(_texts(request["messages"]))
            reported = ReportedUsage(
                TokenUsage(
                    uncached=self._estimate(prompt), output=self._estimate("".join(answer.text))
                ),
                cache_told=False,
            )
        self._cache_was_told |= reported.cache_told
        # vLLM tells of its cache, where it was told to, and leaves out a zero.
        return reported.usage, None if self._cache_was_told else CACHE_NOT_TOLD

    def _estimate(self, text: str) -> int:
        return math.ceil(tokens.count(text) * self._card.tokens_per_o200k)


def _texts(messages: list[dict[str, Any]]) -> list[str]:
    return [
        text
        for message in messages
        for text in (
            [message["content"]]
            if isinstance(message["content"], str)
            else [part["text"] for part in message["content"]]
        )
    ]


def _client(api_key: str, base_url: str, timeout_seconds: float, *, ambient: bool) -> AsyncOpenAI:
    """The SDK's client; without ``ambient``, nothing of it comes from OpenAI's environment."""
    try:
        import httpx2
        from openai import AsyncOpenAI
    except ImportError as error:
        raise ConfigError(
            "models of OpenAI's protocol need an extra: pip install 'ifmem[openai]'"
        ) from error
    try:
        client = AsyncOpenAI(
            api_key=api_key,
            base_url=base_url,
            max_retries=0,  # every attempt has a row of its own in the account
            timeout=httpx2.Timeout(timeout_seconds, connect=min(_CONNECT_SECONDS, timeout_seconds)),
        )
    except httpx2.InvalidURL as error:
        raise ConfigError(f"{base_url!r} is no address of a server: {error}") from error
    if not ambient:
        # OPENAI_ORG_ID, OPENAI_PROJECT_ID and OPENAI_CUSTOM_HEADERS, which may hold a key, are
        # OpenAI's business and nobody else's.
        client.organization = client.project = None
        client._custom_headers = {}
    return client
